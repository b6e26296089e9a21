//! Nodes that are really gone while the load goes on: cut off, or killed.

use std::time::Duration;

use anyhow::Result;
use heartbeat_tests::{cluster::Cluster, events::Event};
use heartbeat_user::clock;

use super::climb::{PATIENCE, Plan, forget_removals};
use crate::{
    detect::round::wait_for_view,
    removal::{NODE_REMOVED, Removal},
};

/// Cuts the highest node off, again and again as the plan says; it is in again between two times, and not after the last.
/// `removals` gets those that came about, also where this fails.
///
/// # Errors
/// When it is not removed, or does not come back, each within `patience`.
pub(super) fn cut_off(cluster: &Cluster, plan: &Plan, patience: Duration, removals: &mut Vec<Removal>) -> Result<()> {
    for round in 0..plan.removals {
        if round > 0 {
            rejoin(cluster, plan, patience)?;
        }
        removals.push(Removal::cut_off(cluster, plan.nodes, plan.silent_ns(), patience)?);
    }
    Ok(())
}

/// Kills the highest node's controller for good; from there to the last survivor's 1135. A kernel that beats on counts as a
/// controller that hangs, so this takes `hang_timeout` then.
///
/// # Errors
/// When it does not come back from being cut off, or is not removed.
pub(super) fn kill(cluster: &mut Cluster, plan: &Plan) -> Result<Duration> {
    rejoin(cluster, plan, PATIENCE)?;
    let place = cluster.events().len();
    let killed_ns = clock::monotonic_ns();
    cluster.node_mut(plan.nodes).kill()?;
    let survivors: Vec<u64> = cluster.topology().node_ids().filter(|id| *id != plan.nodes).map(u64::from).collect();
    let removed = |event: &Event| event.id() == NODE_REMOVED && event.peer() == Some(plan.nodes.into());
    let everywhere = |events: &[Event]| {
        survivors.iter().all(|node| events.iter().any(|event| event.node() == *node && removed(event)))
    };
    let events = cluster.events().wait_until(place, PATIENCE, "1135 about the killed controller", everywhere)?;
    let last_ns = events.iter().filter(|event| removed(event)).map(Event::mono_ns).max().unwrap_or(killed_ns);
    Ok(Duration::from_nanos(last_ns.saturating_sub(killed_ns)))
}

fn rejoin(cluster: &Cluster, plan: &Plan, patience: Duration) -> Result<()> {
    for network in cluster.topology().network_ids() {
        cluster.topology().heal_all(network)?;
    }
    forget_removals(cluster, plan.nodes);
    wait_for_view(cluster, patience)
}
