//! What the survivors of a cluster told of a node that was cut off: when, and after which last heartbeat.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use heartbeat_tests::{
    cluster::Cluster,
    events::{Event, LINK_LOST},
};
use serde_json::json;

pub(crate) const NODE_REMOVED: u64 = 1135;
const VIEW_INSTALLED: u64 = 9007;

/// A removal, on the clock that all namespaces share.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Removal {
    /// Who was removed.
    pub victim: u16,
    /// Newest stamp that any survivor had of the node.
    pub last_heard_ns: u64,
    /// The last survivor's 1135.
    pub removed_ns: u64,
    /// The last survivor's view without the node.
    pub installed_ns: u64,
    /// From the newest stamp to the last survivor's 1135.
    pub detection_ns: u64,
    /// From the time at which the last survivor's verdict fell due to the view on all of them.
    pub agreement_ns: u64,
}

impl Removal {
    /// Cuts `victim` off on every network, and waits until every survivor has told of it. `silent_ns` is the time from
    /// a stamp to the verdict that falls due without another.
    pub(crate) fn cut_off(cluster: &Cluster, victim: u16, silent_ns: u64, patience: Duration) -> Result<Self> {
        let place = cluster.events().len();
        for network in cluster.topology().network_ids() {
            cluster.topology().cut(victim, network)?;
        }
        let survivors: Vec<u64> = cluster.topology().node_ids().filter(|id| *id != victim).map(u64::from).collect();
        let removed = |event: &Event| event.id() == NODE_REMOVED && event.peer() == Some(victim.into());
        let installed = |event: &Event| event.id() == VIEW_INSTALLED && event.detail()["members"] == json!(survivors);
        let everywhere = |events: &[Event], fits: &dyn Fn(&Event) -> bool| {
            survivors.iter().all(|node| events.iter().any(|event| event.node() == *node && fits(event)))
        };
        let told = |events: &[Event]| everywhere(events, &removed) && everywhere(events, &installed);
        let events = cluster.events().wait_until(place, patience, "1135 and 9007 on all survivors", told);
        let events = events.with_context(|| format!("node {victim} is cut off"))?;

        let stamps: Vec<u64> =
            survivors.iter().map(|node| newest_stamp(&events, *node, victim)).collect::<Result<_>>()?;
        let last_heard_ns = stamps.into_iter().max().context("a cluster has survivors")?;
        let last = |fits: &dyn Fn(&Event) -> bool| {
            let of_survivors = events.iter().filter(|event| survivors.contains(&event.node()) && fits(event));
            of_survivors.map(Event::mono_ns).max().unwrap_or_default()
        };
        let (removed_ns, installed_ns) = (last(&removed), last(&installed));
        let due_ns = last_heard_ns + silent_ns;
        ensure!(
            removed_ns > last_heard_ns && installed_ns > due_ns,
            "node {victim} was removed at {removed_ns} and {installed_ns}, but heard at {last_heard_ns}"
        );
        Ok(Self {
            victim,
            last_heard_ns,
            removed_ns,
            installed_ns,
            detection_ns: removed_ns - last_heard_ns,
            agreement_ns: installed_ns - due_ns,
        })
    }
}

/// The newest stamp that a survivor had of the node over all networks, as its 1123 tell.
fn newest_stamp(events: &[Event], node: u64, victim: u16) -> Result<u64> {
    let lost =
        |event: &&Event| event.id() == LINK_LOST && event.node() == node && event.peer() == Some(u64::from(victim));
    let stamps = events.iter().filter(lost).filter_map(|event| event.detail()["stamp_ns"].as_u64());
    stamps.max().with_context(|| format!("node {node} has no 1123 about node {victim}"))
}
