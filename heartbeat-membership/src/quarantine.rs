//! Nodes that were removed again and again are kept out for a while, so that they do not regroup the others for ever.
//!
//! Counted by each node for itself, in memory: the leader that saw a node flap keeps it out. A node is never kept out
//! if the configured nodes without it, and without those that are kept out already, could not have quorum.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;
use crate::nodeset::NodeSet;
use crate::quorum::Votes;
use crate::time::{Now, SECOND_NS};

/// Removals within [`WINDOW_NS`] that quarantine a node.
const REMOVALS: usize = 3;

const WINDOW_NS: u64 = 3_600 * SECOND_NS;

const DURATION_NS: u64 = 7_200 * SECOND_NS;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    /// When each node was removed without having left; at most [`REMOVALS`], newest last.
    removals: BTreeMap<NodeId, Vec<u64>>,
    until_ns: BTreeMap<NodeId, u64>,
}

impl Quarantine {
    /// A node was removed without having left; until when it is kept out if that was once too often.
    pub(crate) fn removed(&mut self, id: NodeId, configured: &NodeSet, votes: &Votes, now: Now) -> Option<u64> {
        let recent = self.removals.entry(id).or_default();
        recent.retain(|at_ns| at_ns.saturating_add(WINDOW_NS) > now.mono_ns);
        recent.push(now.mono_ns);
        if recent.len() < REMOVALS {
            return None;
        }
        recent.clear();
        let out: NodeSet = self.standing(now).into_keys().chain([id]).collect();
        if !votes.quorum(&configured.without(&out), true).holds() {
            return None;
        }
        let until_ns = now.mono_ns.saturating_add(DURATION_NS);
        self.until_ns.insert(id, until_ns);
        Some(until_ns)
    }

    /// Until when a node is kept out, if it is.
    pub(crate) fn keeps_out(&self, id: NodeId, now: Now) -> Option<u64> {
        self.until_ns.get(&id).copied().filter(|until_ns| *until_ns > now.mono_ns)
    }

    /// Lets a node in again; whether it was kept out.
    pub(crate) fn clear(&mut self, id: NodeId) -> bool {
        self.removals.remove(&id);
        self.until_ns.remove(&id).is_some()
    }

    /// Takes those whose time is over.
    pub(crate) fn take_released(&mut self, now: Now) -> Vec<NodeId> {
        let over = self.until_ns.iter().filter(|(_, until_ns)| **until_ns <= now.mono_ns);
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        over.iter().for_each(|id| {
            self.until_ns.remove(id);
        });
        over
    }

    /// When the next one's time is over.
    pub(crate) fn next_release_ns(&self) -> Option<u64> {
        self.until_ns.values().min().copied()
    }

    /// Who is kept out, and until when.
    pub(crate) fn standing(&self, now: Now) -> BTreeMap<NodeId, u64> {
        self.until_ns
            .iter()
            .filter(|(_, until_ns)| **until_ns > now.mono_ns)
            .map(|(id, until_ns)| (*id, *until_ns))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CoreConfig, NodeConfig, Timing};
    use crate::ids::ConfigDigest;
    use crate::quorum::Arbiter;

    fn at(seconds: u64) -> Now {
        Now { mono_ns: seconds * SECOND_NS, boot_ns: seconds * SECOND_NS }
    }

    fn cluster(nodes: u16) -> (NodeSet, Votes) {
        let node = |id| NodeConfig { id: NodeId(id), name: String::new(), votes: 1, networks: Vec::new() };
        let config = CoreConfig {
            local: NodeId(1),
            nodes: (1..=nodes).map(node).collect(),
            networks: Vec::new(),
            timing: Timing { interval_ns: 1, late_after: 1, lost_after: 2, grace_ns: 0, hang_timeout_ns: 0 },
            digest: ConfigDigest([0; 32]),
            abi: 0,
        };
        ((1..=nodes).map(NodeId).collect(), Votes::new(&config, Arbiter::Majority))
    }

    fn flap(quarantine: &mut Quarantine, id: u16, times: &[u64], nodes: u16) {
        let (configured, votes) = cluster(nodes);
        for seconds in times {
            quarantine.removed(NodeId(id), &configured, &votes, at(*seconds));
        }
    }

    #[test]
    fn three_removals_within_an_hour_keep_a_node_out_for_two() {
        let mut quarantine = Quarantine::default();
        flap(&mut quarantine, 3, &[10, 3_600], 5);
        assert!(quarantine.keeps_out(NodeId(3), at(3_601)).is_none());
        flap(&mut quarantine, 3, &[3_609], 5);
        assert!(quarantine.keeps_out(NodeId(3), at(3_610)).is_some());
        assert!(quarantine.keeps_out(NodeId(3), at(3_609 + 7_199)).is_some());
        assert!(quarantine.keeps_out(NodeId(3), at(3_609 + 7_200)).is_none());
        let mut slow = Quarantine::default();
        flap(&mut slow, 3, &[10, 2_000, 3_611], 5);
        assert!(slow.keeps_out(NodeId(3), at(3_612)).is_none());
    }

    #[test]
    fn the_operator_lets_it_in_and_the_count_begins_anew() {
        let mut quarantine = Quarantine::default();
        flap(&mut quarantine, 3, &[1, 2, 3], 5);
        quarantine.clear(NodeId(3));
        assert!(quarantine.keeps_out(NodeId(3), at(4)).is_none());
        flap(&mut quarantine, 3, &[5, 6], 5);
        assert!(quarantine.keeps_out(NodeId(3), at(7)).is_none());
    }

    #[test]
    fn never_so_many_that_the_rest_could_not_have_quorum() {
        let mut quarantine = Quarantine::default();
        flap(&mut quarantine, 1, &[1, 2, 3], 3);
        flap(&mut quarantine, 2, &[4, 5, 6], 3);
        assert_eq!(quarantine.standing(at(7)).into_keys().collect::<Vec<_>>(), [NodeId(1)]);
        let mut two = Quarantine::default();
        flap(&mut two, 2, &[1, 2, 3], 2);
        assert!(two.standing(at(4)).is_empty());
    }
}
