//! A machine loses its power, and is started again.

use std::time::{Duration, Instant};

use anyhow::Result;
use heartbeat_tests::events::LINK_LOST;

use super::{
    STARTING, Seen, VICTIM,
    cluster::{Machines, NODES},
};

const NODE_REMOVED: u64 = 1135;
const REMOVAL_SAFE: u64 = 9008;

/// Silent after 7.35 s, and a regroup.
const REMOVING: Duration = Duration::from_secs(60);
/// The lease, the grace, and what the hooks may take.
const SAFE: Duration = Duration::from_secs(120);

pub(super) fn play(machines: &mut Machines<'_>) -> Result<Seen> {
    let incarnation = |machines: &Machines<'_>| machines.status(VICTIM)?["node"]["incarnation"].as_u64();
    let before = incarnation(machines);
    let place = machines.place();
    machines.cut_power(VICTIM)?;
    let begin = Instant::now();
    let told_by = |machines: &Machines<'_>, id: u64| -> Vec<(u64, Instant)> {
        let about = machines
            .since(place)
            .iter()
            .filter(|told| told.event.id() == id && told.event.peer() == Some(VICTIM.into()));
        about.map(|told| (told.event.node(), told.at)).collect()
    };
    let both = |machines: &Machines<'_>| told_by(machines, NODE_REMOVED).len() == NODES.len() - 1;
    machines.wait_until(REMOVING, "1135 at both others", both)?;
    let is_safe = |machines: &Machines<'_>| !told_by(machines, REMOVAL_SAFE).is_empty();
    machines.wait_until(SAFE, "9008 about it", is_safe)?;

    let mut seen = Seen::default();
    for (id, name) in [(NODE_REMOVED, "1135"), (REMOVAL_SAFE, "9008")] {
        let latest = told_by(machines, id).into_iter().map(|(_, at)| at).max();
        let after = latest.map_or(0.0, |at| at.saturating_duration_since(begin).as_secs_f64());
        seen.at_the_others.push(format!("{name} after {after:.1} s"));
    }

    machines.boot(VICTIM)?;
    machines.wait_until_whole(STARTING)?;
    let after = incarnation(machines);
    seen.require(after > before, || format!("incarnation {before:?} became {after:?}"));
    seen.at_the_machine.push("back as a new incarnation, its state lost".to_owned());
    let innocent = machines.since(place).iter().filter(|told| {
        [LINK_LOST, NODE_REMOVED].contains(&told.event.id()) && told.event.peer() != Some(VICTIM.into())
    });
    let innocent: Vec<&str> = innocent.map(|told| told.event.text()).collect();
    seen.require(innocent.is_empty(), || format!("somebody innocent is accused: {innocent:?}"));
    Ok(seen)
}
