//! States of interfaces and networks, from whom each node hears on each network.
//!
//! Computed by the leader for the interfaces of the members; every other interface is unavailable. A pair talks only
//! if each hears the other. With three or more, a fault that one interface alone shows is that interface's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;
use crate::nodeset::NodeSet;

/// State of an interface: a node's attachment to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceState {
    /// Its node is in no view.
    Unavailable,
    /// It talks to nobody while others talk, or its own machine knows that it is broken.
    Failed,
    /// It does not talk to some interface that is neither failed nor unavailable.
    Unreachable,
    /// It talks to every interface that is neither failed nor unavailable.
    Up,
}

/// State of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkState {
    /// No member is on it.
    Unavailable,
    /// Nobody talks to anybody.
    Down,
    /// Some pair that should talk does not.
    Partitioned,
    /// All interfaces that have not failed talk to each other.
    Up,
}

/// What is known of one network.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Members that have an interface on it.
    pub members: NodeSet,
    /// Whom each member hears on it; a member that has not reported gets the benefit of the doubt.
    pub rows: BTreeMap<NodeId, NodeSet>,
    /// Members whose own machine reports the interface broken.
    pub broken: NodeSet,
    /// Members that nobody hears on any network: perhaps dead, and a dead node's interfaces have not failed.
    pub suspects: NodeSet,
    /// Where nobody talks: whether hosts outside of the cluster answer a member on this network.
    pub outside: BTreeMap<NodeId, bool>,
}

/// States on one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// Of the network.
    pub state: NetworkState,
    /// Of each interface, by node.
    pub interfaces: BTreeMap<NodeId, InterfaceState>,
}

impl Evidence {
    /// The states that this evidence means.
    #[must_use]
    pub fn evaluate(&self) -> NetworkReport {
        let judged = self.members.without(&self.suspects);
        let partners =
            |id: NodeId| judged.iter().filter(|other| *other != id && self.talk(id, *other)).collect::<NodeSet>();
        let some_talk = judged.iter().any(|id| !partners(id).is_empty());
        let alone = judged.len() == 1;
        // Where nobody talks, hosts outside of the cluster tell: if some member reaches one, another that does not is to blame.
        let reaches = |id: NodeId| self.outside.get(&id).copied();
        let some_reach = !some_talk && judged.iter().any(|id| reaches(id) == Some(true));
        let failed: NodeSet = judged
            .iter()
            .filter(|id| {
                let cut_off = some_talk && partners(*id).is_empty();
                self.broken.contains(*id) || cut_off || (some_reach && reaches(*id) == Some(false))
            })
            .collect();
        let rest = judged.without(&failed);
        let mut interfaces = BTreeMap::new();
        for id in self.members.iter() {
            let state = if failed.contains(id) {
                InterfaceState::Failed
            } else if self.suspects.contains(id) {
                InterfaceState::Unreachable
            } else if alone || rest.without(&NodeSet::of(id)).is_subset(&partners(id)) && (some_talk || rest.len() == 1)
            {
                InterfaceState::Up
            } else {
                InterfaceState::Unreachable
            };
            interfaces.insert(id, state);
        }
        let state = if self.members.is_empty() {
            NetworkState::Unavailable
        } else if judged.is_empty() || rest.is_empty() || (!some_talk && !some_reach && !alone && rest.len() > 1) {
            NetworkState::Down
        } else if rest.iter().any(|id| interfaces.get(&id) == Some(&InterfaceState::Unreachable)) {
            NetworkState::Partitioned
        } else {
            NetworkState::Up
        };
        NetworkReport { state, interfaces }
    }

    fn talk(&self, a: NodeId, b: NodeId) -> bool {
        let hears = |from: NodeId, to: NodeId| self.rows.get(&from).is_none_or(|row| row.contains(to));
        !self.broken.contains(a) && !self.broken.contains(b) && hears(a, b) && hears(b, a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InterfaceState::{Failed, Unreachable, Up};

    fn set(ids: &[u16]) -> NodeSet {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    /// Evidence where everyone hears everyone but for these directions.
    fn without(nodes: u16, cut: &[(u16, u16)]) -> Evidence {
        let members: NodeSet = (1..=nodes).map(NodeId).collect();
        let row = |id: u16| (1..=nodes).filter(|other| !cut.contains(&(id, *other))).map(NodeId).collect::<NodeSet>();
        let rows = (1..=nodes).map(|id| (NodeId(id), row(id))).collect();
        Evidence { members, rows, ..Evidence::default() }
    }

    fn both(pairs: &[(u16, u16)]) -> Vec<(u16, u16)> {
        pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect()
    }

    fn states(evidence: &Evidence) -> (NetworkState, Vec<InterfaceState>) {
        let report = evidence.evaluate();
        (report.state, report.interfaces.into_values().collect())
    }

    #[test]
    fn examples_of_the_domain() {
        assert_eq!(states(&without(3, &[])), (NetworkState::Up, vec![Up, Up, Up]));
        // One bad cable: one failed interface, the network stays up.
        assert_eq!(states(&without(3, &both(&[(1, 2), (1, 3)]))), (NetworkState::Up, vec![Failed, Up, Up]));
        // A dead switch.
        let dead = without(3, &both(&[(1, 2), (1, 3), (2, 3)]));
        assert_eq!(states(&dead), (NetworkState::Down, vec![Unreachable; 3]));
        // One broken pair, one way or both.
        for cut in [vec![(1, 2)], both(&[(1, 2)])] {
            let expected = (NetworkState::Partitioned, vec![Unreachable, Unreachable, Up]);
            assert_eq!(states(&without(3, &cut)), expected);
        }
        // A switch split in two halves.
        let split = without(4, &both(&[(1, 3), (1, 4), (2, 3), (2, 4)]));
        assert_eq!(states(&split), (NetworkState::Partitioned, vec![Unreachable; 4]));
        // Two nodes cannot tell whose fault it is.
        assert_eq!(states(&without(2, &both(&[(1, 2)]))), (NetworkState::Down, vec![Unreachable; 2]));
    }

    #[test]
    fn a_node_that_may_be_dead_blames_nobody_else() {
        let mut evidence = without(3, &both(&[(1, 3), (2, 3)]));
        evidence.suspects = set(&[3]);
        assert_eq!(states(&evidence), (NetworkState::Up, vec![Up, Up, Unreachable]));
        let mut evidence = without(2, &both(&[(1, 2)]));
        evidence.suspects = set(&[2]);
        assert_eq!(states(&evidence), (NetworkState::Up, vec![Up, Unreachable]));
    }

    #[test]
    fn what_a_machine_knows_of_its_own_interface_decides() {
        let mut evidence = without(2, &both(&[(1, 2)]));
        evidence.broken = set(&[1]);
        assert_eq!(states(&evidence), (NetworkState::Up, vec![Failed, Up]));
        evidence.broken = set(&[1, 2]);
        assert_eq!(states(&evidence), (NetworkState::Down, vec![Failed, Failed]));
    }

    #[test]
    fn two_nodes_ask_hosts_outside() {
        let with = |answers: &[(u16, bool)]| {
            let mut evidence = without(2, &both(&[(1, 2)]));
            evidence.outside = answers.iter().map(|(id, answer)| (NodeId(*id), *answer)).collect();
            states(&evidence)
        };
        assert_eq!(with(&[(1, true), (2, false)]), (NetworkState::Up, vec![Up, Failed]));
        assert_eq!(with(&[(1, false), (2, true)]), (NetworkState::Up, vec![Failed, Up]));
        assert_eq!(with(&[(1, true), (2, true)]), (NetworkState::Partitioned, vec![Unreachable, Unreachable]));
        assert_eq!(with(&[(1, false), (2, false)]), (NetworkState::Down, vec![Unreachable, Unreachable]));
        // One answer alone locates nothing, but for a network that works somewhere.
        assert_eq!(with(&[(1, false)]), (NetworkState::Down, vec![Unreachable, Unreachable]));
        // While they talk, nobody's answer counts.
        let mut sound = without(2, &[]);
        sound.outside = [(NodeId(1), true), (NodeId(2), false)].into_iter().collect();
        assert_eq!(states(&sound), (NetworkState::Up, vec![Up, Up]));
    }

    #[test]
    fn alone_or_absent() {
        assert_eq!(states(&without(1, &[])), (NetworkState::Up, vec![Up]));
        assert_eq!(states(&Evidence::default()), (NetworkState::Unavailable, vec![]));
    }

    #[test]
    fn who_has_not_reported_gets_the_benefit_of_the_doubt() {
        let mut evidence = without(3, &[]);
        evidence.rows.remove(&NodeId(2));
        assert_eq!(states(&evidence), (NetworkState::Up, vec![Up, Up, Up]));
    }

    /// Over all symmetric patterns of four nodes: the definitions hold.
    #[test]
    fn definitions_hold_for_every_pattern() {
        let pairs = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)];
        for pattern in 0..1_u32 << pairs.len() {
            let cut: Vec<_> =
                pairs.iter().enumerate().filter(|(bit, _)| pattern & (1 << bit) != 0).map(|(_, pair)| *pair).collect();
            let evidence = without(4, &both(&cut));
            let (network, interfaces) = states(&evidence);
            let talks = |a: u16, b: u16| a == b || !cut.contains(&(a.min(b), a.max(b)));
            for (id, state) in (1..=4).zip(&interfaces) {
                let others = (1..=4).filter(|other| interfaces[usize::from(*other) - 1] != Failed);
                match state {
                    Up => assert!(others.clone().all(|other| talks(id, other)), "{pattern:06b}"),
                    Failed => assert!((1..=4).all(|other| other == id || !talks(id, other)), "{pattern:06b}"),
                    Unreachable => assert!(others.clone().any(|other| !talks(id, other)), "{pattern:06b}"),
                    InterfaceState::Unavailable => panic!("members are never unavailable"),
                }
            }
            assert_eq!(network == NetworkState::Down, pattern == 0b11_1111, "{pattern:06b}");
        }
    }
}
