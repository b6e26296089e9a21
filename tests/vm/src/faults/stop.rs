//! A machine is paused and let go on: its clocks stood still, and it cannot know until it hears from the others.

use std::time::{Duration, Instant};

use anyhow::Result;
use heartbeat_tests::events::{LINK_LOST, LOCAL_STALL};

use super::{
    Seen, VICTIM,
    cluster::{INTERVAL, LOST_AFTER, Machines, Told},
};

/// Intervals until a link is late, the program's default.
const LATE_AFTER: u32 = 2;

const NODE_REMOVED: u64 = 1135;
const SUSPENDED: u64 = 9009;

/// From going on to the first fresh heartbeats is an interval; the rest is for emulated processors that share one.
const NOTICING: Duration = Duration::from_secs(20);
/// The others have given it up by the time it goes on, or never do; they may be told of it a little later.
const REMOVING: Duration = Duration::from_secs(30);
/// A node that was removed has to join: a handshake with each, a request, a regroup.
const COMING_BACK: Duration = Duration::from_secs(90);
/// A wrong verdict gets this time to come.
const SETTLING: Duration = Duration::from_secs(8);
/// What delays of emulated machines add to the estimate, or take from it.
const ESTIMATE_ERROR: Duration = Duration::from_millis(500);

pub(super) fn play(machines: &mut Machines<'_>, pause: Duration) -> Result<Seen> {
    // A heartbeat is up to one interval old when the machine stops, and the next comes up to one after it goes on.
    let surely_silent = pause > INTERVAL * LOST_AFTER + 2 * INTERVAL;
    let before = state(machines);
    let place = machines.place();
    machines.stop(VICTIM)?;
    machines.listen(pause)?;
    machines.go_on(VICTIM)?;
    let resumed = Instant::now();

    let knows = |machines: &Machines<'_>| machines.since(place).iter().any(stopped_clock);
    machines.wait_until(NOTICING, "9001 of the clock that stood still", knows)?;
    if surely_silent {
        let both = |machines: &Machines<'_>| removals(machines.since(place), VICTIM).len() == 2;
        machines.wait_until(REMOVING, "1135 at both others", both)?;
    }
    machines.wait_until_whole(COMING_BACK)?;
    machines.listen(SETTLING)?;
    machines.wait_until_whole(COMING_BACK)?;

    let after = state(machines);
    let told = machines.since(place);
    let mut seen = Seen::default();

    let parts: Vec<&Told> = told.iter().filter(|told| stopped_clock(told)).collect();
    let estimate: Duration = parts.iter().filter_map(|told| length(told)).sum();
    let error = estimate.abs_diff(pause);
    seen.require(error <= ESTIMATE_ERROR, || format!("it says {estimate:?}, and it was {pause:?}"));
    let first = parts.iter().map(|told| told.at).min().unwrap_or(resumed).saturating_duration_since(resumed);
    seen.at_the_machine.push(format!(
        "9001 after {:.1} s: stood still for {:.1} s, told in {} events",
        first.as_secs_f64(),
        estimate.as_secs_f64(),
        parts.len()
    ));

    let suspended =
        told.iter().filter(|told| told.event.id() == SUSPENDED && told.event.node() == u64::from(VICTIM)).count();
    let stopped =
        told.iter().any(|told| [1177, 1006].contains(&told.event.id()) && told.event.node() == u64::from(VICTIM));
    seen.require(suspended > 0 || stopped, || "its lease was not void".to_owned());
    seen.at_the_machine.push(if stopped { "stopped acting" } else { "lease void, then renewed" }.to_owned());

    let accusations: Vec<&Told> = told.iter().filter(|told| accuses_the_innocent(told)).collect();
    seen.require(accusations.is_empty(), || format!("somebody innocent is accused: {:?}", texts(&accusations)));
    seen.at_the_machine.push("accuses nobody".to_owned());

    let removed_by = removals(told, VICTIM);
    if surely_silent {
        seen.require(stopped, || "it has not stopped, and the others had removed it".to_owned());
        seen.require(after.incarnation > before.incarnation, || "it came back as the same incarnation".to_owned());
        seen.at_the_others.push("1135, then back as a new incarnation".to_owned());
    } else {
        seen.require(removed_by.is_empty(), || format!("removed by {removed_by:?}"));
        seen.require(!stopped, || "it gave up a place that nobody had taken from it".to_owned());
        seen.require(after == before, || format!("{before:?} became {after:?}"));
        let missed = told.iter().filter(|told| told.event.id() == LINK_LOST).count();
        let surely_late = pause > INTERVAL * LATE_AFTER + INTERVAL;
        seen.require(missed == 2 || !surely_late, || format!("{missed} x 1123: both others should have missed it"));
        seen.at_the_others.push(format!("{missed} x 1123, not removed, same view"));
    }
    Ok(seen)
}

/// What must stay as it is where nobody was removed.
#[derive(Debug, PartialEq, Eq)]
struct State {
    incarnation: Option<u64>,
    view: Option<u64>,
}

fn state(machines: &Machines<'_>) -> State {
    let number = |name: &str, field: &str| machines.status(VICTIM)?[name][field].as_u64();
    State { incarnation: number("node", "incarnation"), view: number("view", "number") }
}

/// 9001 of the machine that was paused, about its clock.
fn stopped_clock(told: &Told) -> bool {
    told.event.id() == LOCAL_STALL && told.event.node() == u64::from(VICTIM) && told.event.detail()["source"] == "clock"
}

/// Stalls that come close together share an event, which has their sum.
fn length(told: &Told) -> Option<Duration> {
    let number = |field: &str| told.event.detail()[field].as_u64();
    number("total_ms").map(Duration::from_millis).or_else(|| number("length_ns").map(Duration::from_nanos))
}

/// Who has removed the node.
fn removals(told: &[Told], node: u16) -> Vec<u64> {
    let about =
        told.iter().filter(|told| told.event.id() == NODE_REMOVED && told.event.peer() == Some(u64::from(node)));
    about.map(|told| told.event.node()).collect()
}

/// Only the machine that was paused was away.
fn accuses_the_innocent(told: &Told) -> bool {
    [LINK_LOST, NODE_REMOVED].contains(&told.event.id()) && told.event.peer() != Some(u64::from(VICTIM))
}

fn texts(told: &[&Told]) -> Vec<String> {
    told.iter().map(|told| format!("node {}: {}", told.event.node(), told.event.text())).collect()
}

#[cfg(test)]
mod tests {
    use heartbeat_tests::events::Event;
    use serde_json::json;

    use super::*;

    fn told(id: u64, node: u16, peer: u16, source: &str) -> Told {
        let event =
            json!({"id": id, "node": node, "peer": peer, "mono_ns": 1, "detail": {"source": source, "length_ns": 7}});
        Told { at: Instant::now(), event: Event::from_value(event).unwrap() }
    }

    #[test]
    fn only_the_machine_that_was_paused_may_be_missed() {
        assert!(!accuses_the_innocent(&told(LINK_LOST, 1, VICTIM, "")));
        assert!(!accuses_the_innocent(&told(NODE_REMOVED, 2, VICTIM, "")));
        assert!(accuses_the_innocent(&told(LINK_LOST, VICTIM, 1, "")));
        assert!(accuses_the_innocent(&told(NODE_REMOVED, 1, 2, "")));
        assert_eq!(removals(&[told(NODE_REMOVED, 1, VICTIM, ""), told(NODE_REMOVED, 1, 2, "")], VICTIM), [1]);
    }

    #[test]
    fn a_stall_of_the_controller_is_no_stop_of_the_clock() {
        assert!(stopped_clock(&told(LOCAL_STALL, VICTIM, 0, "clock")));
        assert!(!stopped_clock(&told(LOCAL_STALL, VICTIM, 0, "controller")));
        assert!(!stopped_clock(&told(LOCAL_STALL, 1, 0, "clock")));
        assert_eq!(length(&told(LOCAL_STALL, VICTIM, 0, "clock")), Some(Duration::from_nanos(7)));
        let together = json!({"id": LOCAL_STALL, "node": 3, "mono_ns": 1, "detail": {"length_ns": 7, "total_ms": 9}});
        let together = Told { at: Instant::now(), event: Event::from_value(together).unwrap() };
        assert_eq!(length(&together), Some(Duration::from_millis(9)));
    }
}
