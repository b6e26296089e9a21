//! One repetition: a node is cut off on every network, removed, healed, and in again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use heartbeat_tests::{cluster::Cluster, events::Event};
use serde::Serialize;
use serde_json::{Value, json};

use crate::removal::{NODE_REMOVED, Removal};

/// Between two questions for the view, where no event says that all agree.
const PAUSE: Duration = Duration::from_millis(20);

/// Timing of a cluster.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    /// As the configuration has it.
    pub(crate) interval: &'static str,
    pub(crate) interval_ns: u64,
    pub(crate) lost_after: u32,
    /// For a removal, and for a return; a bound for failures, not a measure.
    pub(crate) patience: Duration,
}

impl Timing {
    pub(crate) const FAST: Self =
        Self { interval: "10ms", interval_ns: 10_000_000, lost_after: 3, patience: Duration::from_secs(20) };
    pub(crate) const DEFAULT: Self =
        Self { interval: "1200ms", interval_ns: 1_200_000_000, lost_after: 6, patience: Duration::from_secs(90) };

    /// From a stamp to the verdict that falls due without another.
    pub(crate) fn silent_ns(self) -> u64 {
        u64::from(self.lost_after) * self.interval_ns + (self.interval_ns / 8).max(1_000_000)
    }
}

/// What was measured.
#[derive(Serialize)]
pub(super) struct Round {
    #[serde(flatten)]
    pub(super) removal: Removal,
    /// 1135 about anybody else.
    pub(super) false_removals: usize,
}

/// Cuts `victim` off, measures, heals, and waits until it is in again.
pub(super) fn cut_off(cluster: &Cluster, timing: Timing, victim: u16) -> Result<Round> {
    let place = cluster.events().len();
    let removal = Removal::cut_off(cluster, victim, timing.silent_ns(), timing.patience)?;
    for network in cluster.topology().network_ids() {
        cluster.topology().heal_all(network)?;
    }
    wait_for_view(cluster, timing.patience)?;
    // The node that is cut off removes the others, if anybody.
    let is_false = |event: &&Event| {
        event.id() == NODE_REMOVED && event.peer() != Some(victim.into()) && event.node() != u64::from(victim)
    };
    Ok(Round { removal, false_removals: cluster.events().since(place).iter().filter(is_false).count() })
}

/// Waits until all nodes are in one view and may act.
pub(crate) fn wait_for_view(cluster: &Cluster, patience: Duration) -> Result<()> {
    let all: Vec<u16> = cluster.topology().node_ids().collect();
    let deadline = Instant::now() + patience;
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
        ensure!(Instant::now() < deadline, "no view of all nodes within {patience:?}: {views:?}");
        std::thread::sleep(PAUSE);
    }
}
