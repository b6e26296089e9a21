//! One repetition: a node is cut off on every network, removed, healed, and in again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use heartbeat_tests::{
    cluster::Cluster,
    events::{Event, LINK_LOST},
};
use serde::Serialize;
use serde_json::{Value, json};

const NODE_REMOVED: u64 = 1135;
const VIEW_INSTALLED: u64 = 9007;

/// Between two questions for the view, where no event says that all agree.
const PAUSE: Duration = Duration::from_millis(20);

/// Timing of a cluster.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    /// As the configuration has it.
    pub(super) interval: &'static str,
    pub(super) interval_ns: u64,
    pub(super) lost_after: u32,
    /// For a removal, and for a return; a bound for failures, not a measure.
    patience: Duration,
}

impl Timing {
    pub(super) const FAST: Self =
        Self { interval: "10ms", interval_ns: 10_000_000, lost_after: 3, patience: Duration::from_secs(20) };
    pub(super) const DEFAULT: Self =
        Self { interval: "1200ms", interval_ns: 1_200_000_000, lost_after: 6, patience: Duration::from_secs(90) };

    /// From a stamp to the verdict that falls due without another.
    fn silent_ns(self) -> u64 {
        u64::from(self.lost_after) * self.interval_ns + (self.interval_ns / 8).max(1_000_000)
    }
}

/// What was measured, on the clock that all namespaces share.
#[derive(Serialize)]
pub(super) struct Round {
    victim: u16,
    /// Newest stamp that any survivor had of the node.
    pub(super) last_heard_ns: u64,
    /// When the last survivor had installed the view without it.
    pub(super) installed_ns: u64,
    /// From that stamp to the last survivor's 1135.
    pub(super) detection_ns: u64,
    /// From the time at which the last survivor's verdict fell due to the view on all of them.
    pub(super) agreement_ns: u64,
    /// 1135 about anybody else.
    pub(super) false_removals: usize,
}

/// Cuts `victim` off, measures, heals, and waits until it is in again.
pub(super) fn cut_off(cluster: &Cluster, timing: Timing, victim: u16) -> Result<Round> {
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
    let events = cluster
        .events()
        .wait_until(place, timing.patience, "1135 and 9007 on all survivors", |events| {
            everywhere(events, &removed) && everywhere(events, &installed)
        })
        .with_context(|| format!("node {victim} is cut off"))?;

    let newest_on = |node: u64| newest_stamp(&events, node, victim);
    let stamps: Vec<u64> = survivors.iter().map(|node| newest_on(*node)).collect::<Result<_>>()?;
    let last_heard_ns = stamps.into_iter().max().context("a cluster has survivors")?;
    let last = |fits: &dyn Fn(&Event) -> bool| {
        let times = events.iter().filter(|event| survivors.contains(&event.node()) && fits(event)).map(Event::mono_ns);
        times.max().unwrap_or_default()
    };
    let (removed_ns, installed_ns) = (last(&removed), last(&installed));
    let due_ns = last_heard_ns + timing.silent_ns();
    ensure!(removed_ns > last_heard_ns && installed_ns > due_ns, "1135 before its time: {last_heard_ns}, {removed_ns}");

    for network in cluster.topology().network_ids() {
        cluster.topology().heal_all(network)?;
    }
    wait_for_view(cluster, timing)?;
    let everything = cluster.events().since(place);
    Ok(Round {
        victim,
        last_heard_ns,
        installed_ns,
        detection_ns: removed_ns - last_heard_ns,
        agreement_ns: installed_ns - due_ns,
        false_removals: everything
            .iter()
            .filter(|event| event.id() == NODE_REMOVED && !removed(event) && event.node() != u64::from(victim))
            .count(),
    })
}

/// The newest stamp that a survivor had of the node over all networks, as its 1123 tell.
fn newest_stamp(events: &[Event], node: u64, victim: u16) -> Result<u64> {
    let lost =
        |event: &&Event| event.id() == LINK_LOST && event.node() == node && event.peer() == Some(u64::from(victim));
    let stamps = events.iter().filter(lost).filter_map(|event| event.detail()["stamp_ns"].as_u64());
    stamps.max().with_context(|| format!("node {node} has no 1123 about node {victim}"))
}

/// Waits until all nodes are in one view and may act.
pub(super) fn wait_for_view(cluster: &Cluster, timing: Timing) -> Result<()> {
    let all: Vec<u16> = cluster.topology().node_ids().collect();
    let deadline = Instant::now() + timing.patience;
    loop {
        // A node that has only just been started does not answer yet.
        let view =
            |node: &u16| cluster.node(*node).request(&json!({"request": "status"})).unwrap_or_default()["view"].take();
        let views: Vec<Value> = all.iter().map(view).collect();
        let agrees = |view: &Value| {
            view["number"] == views[0]["number"] && view["members"] == json!(all) && view["quorate"] == true
        };
        if views.iter().all(agrees) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no view of all nodes within {:?}: {views:?}", timing.patience);
        std::thread::sleep(PAUSE);
    }
}
