//! Quorum: one fixed system for a given configuration, whatever views its members are in.
//!
//! More than half of all configured votes; or exactly half with the tie-breaker, which the configuration fixes. A
//! witness has one vote like a node, and then there is no tie-breaker. Any two quorums share a node or the witness.
//! Forming needs a strict majority: the tie-breaker's half could form beside a view that it no longer knows of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::CoreConfig;
use crate::ids::NodeId;
use crate::nodeset::NodeSet;

/// The votes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    nodes: BTreeMap<NodeId, u32>,
    total: u64,
    tie_breaker: Option<NodeId>,
    witness: bool,
    /// Always false outside of the simulator's mutations.
    #[serde(skip)]
    half_is_majority: bool,
}

/// Where votes beyond those of nodes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arbiter {
    /// Exactly half of the votes is never enough.
    Majority,
    /// Exactly half is enough with this node; `None` = the lowest id with a vote.
    TieBreaker(Option<NodeId>),
    /// A witness has a vote of its own.
    Witness,
}

/// The rule that decided, for `why`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// More than half of all votes.
    Majority,
    /// More than half, the witness's vote among them.
    WitnessMajority,
    /// Exactly half, with the tie-breaker.
    TieBreaker,
    /// Exactly half, without the tie-breaker, or with none.
    HalfWithout,
    /// Less than half.
    Minority,
}

impl Rule {
    /// Whether the votes make a quorum.
    #[must_use]
    pub fn holds(self) -> bool {
        match self {
            Self::Majority | Self::WitnessMajority | Self::TieBreaker => true,
            Self::HalfWithout | Self::Minority => false,
        }
    }
}

impl Votes {
    /// The votes of a configuration.
    #[must_use]
    pub fn new(config: &CoreConfig, arbiter: Arbiter) -> Self {
        let nodes: BTreeMap<_, _> = config.nodes.iter().map(|node| (node.id, node.votes)).collect();
        let lowest = nodes.iter().find(|(_, votes)| **votes > 0).map(|(id, _)| *id);
        let (tie_breaker, witness) = match arbiter {
            Arbiter::Majority => (None, false),
            Arbiter::TieBreaker(fixed) => (fixed.or(lowest), false),
            Arbiter::Witness => (None, true),
        };
        let total = nodes.values().map(|votes| u64::from(*votes)).sum::<u64>() + u64::from(witness);
        Self { nodes, total, tie_breaker, witness, half_is_majority: false }
    }

    /// All configured votes, the witness's included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The node that decides an exact half.
    #[must_use]
    pub fn tie_breaker(&self) -> Option<NodeId> {
        self.tie_breaker
    }

    /// Votes of these nodes.
    #[must_use]
    pub fn of(&self, nodes: &NodeSet) -> u64 {
        nodes.iter().filter_map(|id| self.nodes.get(&id)).map(|votes| u64::from(*votes)).sum()
    }

    /// Whether these nodes, with or without the witness, are a quorum, and by which rule.
    #[must_use]
    pub fn quorum(&self, nodes: &NodeSet, with_witness: bool) -> Rule {
        self.rule(self.of(nodes), nodes, with_witness)
    }

    /// Votes of one node.
    pub(crate) fn of_one(&self, node: NodeId) -> u64 {
        self.nodes.get(&node).copied().unwrap_or(0).into()
    }

    /// As [`Self::quorum`], of nodes that have `own` votes.
    pub(crate) fn rule(&self, own: u64, nodes: &NodeSet, with_witness: bool) -> Rule {
        let votes = own + u64::from(self.witness && with_witness);
        if 2 * own > self.total || (self.half_is_majority && 2 * own == self.total) {
            Rule::Majority
        } else if 2 * votes > self.total {
            Rule::WitnessMajority
        } else if 2 * votes < self.total {
            Rule::Minority
        } else if self.tie_breaker.is_some_and(|id| nodes.contains(id)) {
            Rule::TieBreaker
        } else {
            Rule::HalfWithout
        }
    }

    /// The votes of these nodes alone: who counts in a view that was formed by force. More than half is needed.
    #[must_use]
    pub fn narrowed(&self, electorate: &NodeSet) -> Self {
        let nodes: BTreeMap<_, _> =
            self.nodes.iter().filter(|(id, _)| electorate.contains(**id)).map(|(id, votes)| (*id, *votes)).collect();
        let total = nodes.values().map(|votes| u64::from(*votes)).sum();
        Self { nodes, total, tie_breaker: None, witness: false, half_is_majority: self.half_is_majority }
    }

    /// Whether these nodes may form a cluster: a strict majority, the witness's vote included.
    #[must_use]
    pub fn may_form(&self, nodes: &NodeSet, with_witness: bool) -> bool {
        match self.quorum(nodes, with_witness) {
            Rule::Majority | Rule::WitnessMajority => true,
            Rule::TieBreaker | Rule::HalfWithout | Rule::Minority => false,
        }
    }

    #[cfg(feature = "mutations")]
    pub(crate) fn break_majority(&mut self) {
        self.half_is_majority = true;
    }

    /// The table as it goes into the identity of a view.
    pub(crate) fn fold(&self, fold: &mut impl FnMut(u64)) {
        for (id, votes) in &self.nodes {
            fold(u64::from(id.0) << 32 | u64::from(*votes));
        }
        fold(self.tie_breaker.map_or(0, |id| u64::from(id.0)));
        fold(u64::from(self.witness));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeConfig, Timing};
    use crate::ids::ConfigDigest;

    fn votes(table: &[u32], arbiter: Arbiter) -> Votes {
        let node = |(index, votes): (usize, &u32)| NodeConfig {
            id: NodeId(index as u16 + 1),
            name: String::new(),
            votes: *votes,
            networks: Vec::new(),
        };
        let config = CoreConfig {
            local: NodeId(1),
            nodes: table.iter().enumerate().map(node).collect(),
            networks: Vec::new(),
            timing: Timing { interval_ns: 1, late_after: 1, lost_after: 2, grace_ns: 0, hang_timeout_ns: 0 },
            digest: ConfigDigest([0; 32]),
            abi: 0,
        };
        Votes::new(&config, arbiter)
    }

    fn set(mask: u16, nodes: u16) -> NodeSet {
        (1..=nodes).filter(|id| mask & (1 << (id - 1)) != 0).map(NodeId).collect()
    }

    #[test]
    fn rules_by_example() {
        let tie = votes(&[1, 1, 1, 1], Arbiter::TieBreaker(None));
        assert_eq!(tie.quorum(&set(0b0111, 4), false), Rule::Majority);
        assert_eq!(tie.quorum(&set(0b1001, 4), false), Rule::TieBreaker);
        assert_eq!(tie.quorum(&set(0b0110, 4), false), Rule::HalfWithout);
        assert_eq!(tie.quorum(&set(0b0001, 4), true), Rule::Minority);
        assert!(!tie.may_form(&set(0b1001, 4), true));
        let witness = votes(&[1, 1, 1, 1], Arbiter::Witness);
        assert_eq!(witness.total(), 5);
        assert_eq!(witness.quorum(&set(0b0011, 4), true), Rule::WitnessMajority);
        assert_eq!(witness.quorum(&set(0b0011, 4), false), Rule::Minority);
        assert_eq!(witness.quorum(&set(0b0111, 4), false), Rule::Majority);
        let majority = votes(&[1, 1], Arbiter::Majority);
        assert_eq!(majority.quorum(&set(0b01, 2), false), Rule::HalfWithout);
        let two = votes(&[1, 1], Arbiter::TieBreaker(None));
        assert_eq!(two.quorum(&set(0b01, 2), false), Rule::TieBreaker);
        assert!(two.may_form(&set(0b11, 2), false) && !two.may_form(&set(0b01, 2), false));
        assert_eq!(votes(&[0, 1, 1], Arbiter::TieBreaker(None)).tie_breaker(), Some(NodeId(2)));
    }

    /// The property that everything rests on, over every pair of sets of up to five nodes with votes 0 to 2.
    #[test]
    fn any_two_quorums_intersect() {
        for nodes in 1..=5_u16 {
            for code in 0..3_u32.pow(u32::from(nodes)) {
                let table: Vec<u32> = (0..u32::from(nodes)).map(|index| code / 3_u32.pow(index) % 3).collect();
                for arbiter in [Arbiter::Majority, Arbiter::TieBreaker(None), Arbiter::Witness] {
                    let votes = votes(&table, arbiter);
                    let quorums = |witness| {
                        (0..1_u16 << nodes).filter(|mask| votes.quorum(&set(*mask, nodes), witness).holds()).collect()
                    };
                    let (with, without): (Vec<u16>, Vec<u16>) = (quorums(true), quorums(false));
                    for a in &with {
                        for b in &without {
                            // Only one of two sides has the witness.
                            assert!(a & b != 0, "{table:?} {arbiter:?} {a:b} {b:b}");
                        }
                    }
                }
            }
        }
    }
}
