//! That nothing happened proves something only where something could have: heartbeats went on meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::NodeState;
use crate::language::{Deed, Way};

/// Who is where, as far as the script has said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    cuts: BTreeSet<(u8, Way)>,
    /// Nodes whose process does not run, or stands still.
    absent: BTreeSet<u16>,
    networks: u8,
}

impl Stage {
    pub(crate) fn new(networks: usize) -> Self {
        Self { networks: u8::try_from(networks).unwrap_or(u8::MAX), ..Self::default() }
    }

    /// Remembers what a deed changes.
    pub(crate) fn note(&mut self, deed: &Deed) {
        let pairs = |ways: &[Way], networks: &[u8]| -> Vec<(u8, Way)> {
            networks.iter().flat_map(|network| ways.iter().map(|way| (*network, *way))).collect()
        };
        match deed {
            Deed::Cut { ways, networks } => self.cuts.extend(pairs(ways, networks)),
            Deed::Heal { ways, networks } => {
                let healed = pairs(ways, networks);
                self.cuts.retain(|cut| !healed.contains(cut));
            }
            Deed::Stop(node) | Deed::Hang(node) | Deed::Kill(node) | Deed::Crash(node) | Deed::Leave(node) => {
                self.absent.insert(*node);
            }
            Deed::Continue(node) | Deed::Start(node) => {
                self.absent.remove(node);
            }
            Deed::Stun { .. }
            | Deed::Outside { .. }
            | Deed::Replay { .. }
            | Deed::Fenced { .. }
            | Deed::ClearQuarantine { .. }
            | Deed::Force(_) => {}
        }
    }

    /// Whether the node can be asked.
    pub(crate) fn is_present(&self, node: u16) -> bool {
        !self.absent.contains(&node)
    }

    /// Whether heartbeats of one node reach another on some network.
    fn reaches(&self, from: u16, to: u16) -> bool {
        let connected = (1..=self.networks).any(|network| !self.cuts.contains(&(network, (from, to))));
        connected && self.is_present(from) && self.is_present(to)
    }

    /// Which of these nodes show no sign that heartbeats went on between two moments, and what is missing.
    pub(crate) fn standstill(
        &self,
        nodes: &[u16],
        before: &BTreeMap<u16, NodeState>,
        now: &BTreeMap<u16, NodeState>,
    ) -> Option<String> {
        let mut witnesses = 0;
        for node in nodes.iter().filter(|node| self.is_present(**node)) {
            let (Some(before), Some(now)) = (before.get(node), now.get(node)) else { continue };
            if before.sent == now.sent {
                return Some(format!("node {node} has sent no heartbeat"));
            }
            let sources: Vec<u16> = now.accepted.keys().copied().filter(|peer| self.reaches(*peer, *node)).collect();
            if !sources.is_empty() && sources.iter().all(|peer| before.accepted.get(peer) == now.accepted.get(peer)) {
                return Some(format!("node {node} has accepted no heartbeat of any of {sources:?}"));
            }
            witnesses += 1;
        }
        (witnesses == 0).then(|| format!("none of {nodes:?} runs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(sent: u64, accepted: u64) -> BTreeMap<u16, NodeState> {
        let state =
            |peer: u16| NodeState { sent, accepted: BTreeMap::from([(peer, accepted)]), ..NodeState::default() };
        BTreeMap::from([(1, state(2)), (2, state(1))])
    }

    #[test]
    fn silence_is_no_witness() {
        let mut stage = Stage::new(1);
        assert_eq!(stage.standstill(&[1, 2], &states(1, 1), &states(2, 2)), None);
        assert!(stage.standstill(&[1, 2], &states(1, 1), &states(1, 2)).is_some(), "nobody sends");
        assert!(stage.standstill(&[1, 2], &states(1, 1), &states(2, 1)).is_some(), "nobody hears");
        assert!(stage.standstill(&[], &states(1, 1), &states(2, 2)).is_some(), "nobody is there");
        stage.note(&Deed::Cut { ways: vec![(1, 2), (2, 1)], networks: vec![1] });
        assert_eq!(stage.standstill(&[1, 2], &states(1, 1), &states(2, 1)), None, "nobody can hear");
        stage.note(&Deed::Stop(1));
        assert_eq!(stage.standstill(&[1, 2], &states(1, 1), &states(2, 1)), None, "one is enough");
        stage.note(&Deed::Kill(2));
        assert!(stage.standstill(&[1, 2], &states(1, 1), &states(2, 1)).is_some());
    }
}
