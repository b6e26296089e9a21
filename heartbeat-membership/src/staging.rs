//! A configuration that waits to be installed, and what may change in one step.

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, CoreConfig};
use crate::ids::{ConfigDigest, NodeId};
use crate::nodeset::NodeSet;
use crate::quorum::Arbiter;

/// A configuration that an operator has put on this node while another one is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The configuration; `local` and `abi` are this node's.
    pub config: CoreConfig,
    /// What decides an exact half.
    pub arbiter: Arbiter,
    /// How long the witness's record must be unchanged before others take it; ignored without a witness.
    pub record_lease_ns: u64,
}

/// Why a configuration cannot be staged, or waits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// It makes no sense in itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is about another node.
    #[error("it is the configuration of node {0}, not of this one")]
    OtherNode(NodeId),
    /// More than one node comes or goes.
    #[error("{0} nodes come or go; one at a time")]
    Nodes(usize),
    /// More than one vote changes.
    #[error("{0} votes change; one at a time")]
    Votes(u64),
    /// Networks change, or who is on them.
    #[error("networks change, or who is on them: that takes a restart of every node")]
    Networks,
    /// What decides an exact half changes together with votes.
    #[error("votes and what decides an exact half both change; one after the other")]
    Arbiter,
    /// A member of the view is not in it.
    #[error("node {0} is a member of the view: let it leave first")]
    Member(NodeId),
}

impl Staged {
    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> ConfigDigest {
        self.config.digest
    }

    /// Whether this step from `current` is small enough that any majority before it and any after it share a node or the
    /// witness. What binds the exact half of a tie-breaker is the chain of views: all members go over together.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self, current: &CoreConfig, arbiter: Arbiter) -> Result<(), StageError> {
        self.config.check()?;
        if self.config.local != current.local {
            return Err(StageError::OtherNode(self.config.local));
        }
        let ids = |config: &CoreConfig| config.nodes.iter().map(|node| node.id).collect::<NodeSet>();
        let (before, after) = (ids(current), ids(&self.config));
        let moved = before.without(&after).len() + after.without(&before).len();
        if moved > 1 {
            return Err(StageError::Nodes(moved));
        }
        let same_networks = |node: &crate::config::NodeConfig| {
            current.node(node.id).is_none_or(|before| before.networks == node.networks)
        };
        let plain = |config: &CoreConfig| config.networks.iter().map(|it| (it.id, it.role)).collect::<Vec<_>>();
        if plain(current) != plain(&self.config) || !self.config.nodes.iter().all(same_networks) {
            return Err(StageError::Networks);
        }
        let votes = |config: &CoreConfig, id: NodeId| config.node(id).map_or(0, |node| u64::from(node.votes));
        let changed: u64 =
            before.or(&after).iter().map(|id| votes(current, id).abs_diff(votes(&self.config, id))).sum();
        if changed > 1 {
            return Err(StageError::Votes(changed));
        }
        if changed > 0 && kind(arbiter) != kind(self.arbiter) {
            return Err(StageError::Arbiter);
        }
        Ok(())
    }

    /// Whether a view with these members can change to it.
    ///
    /// # Errors
    /// A member that it does not name.
    pub fn covers(&self, members: &NodeSet) -> Result<(), StageError> {
        match members.iter().find(|id| self.config.node(*id).is_none()) {
            Some(missing) => Err(StageError::Member(missing)),
            None => Ok(()),
        }
    }
}

/// Who the tie-breaker is may follow from who is there; that there is one may not change in passing.
fn kind(arbiter: Arbiter) -> u8 {
    match arbiter {
        Arbiter::Majority => 0,
        Arbiter::TieBreaker(_) => 1,
        Arbiter::Witness => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeConfig, Timing};
    use crate::time::SECOND_NS;

    fn config(votes: &[u32]) -> CoreConfig {
        let node = |(index, votes): (usize, &u32)| NodeConfig {
            id: NodeId(index as u16 + 1),
            name: String::new(),
            votes: *votes,
            networks: Vec::new(),
        };
        CoreConfig {
            local: NodeId(1),
            nodes: votes.iter().enumerate().map(node).collect(),
            networks: Vec::new(),
            timing: Timing { interval_ns: SECOND_NS, late_after: 2, lost_after: 6, grace_ns: 0, hang_timeout_ns: 0 },
            digest: ConfigDigest([votes.len() as u8; 32]),
            abi: 0,
        }
    }

    fn step(from: &[u32], to: &[u32]) -> Result<(), StageError> {
        let staged = Staged { config: config(to), arbiter: Arbiter::TieBreaker(None), record_lease_ns: 0 };
        staged.check(&config(from), Arbiter::TieBreaker(None))
    }

    #[test]
    fn one_node_or_one_vote_at_a_time() {
        assert_eq!(step(&[1, 1, 1], &[1, 1, 1]), Ok(()));
        assert_eq!(step(&[1, 1, 1], &[1, 1, 1, 1]), Ok(()));
        assert_eq!(step(&[1, 1, 1, 1], &[1, 1, 1]), Ok(()));
        assert_eq!(step(&[1, 1, 1], &[1, 1, 1, 1, 1]), Err(StageError::Nodes(2)));
        assert_eq!(step(&[1, 1, 1], &[1, 0, 1]), Ok(()));
        assert_eq!(step(&[1, 1, 1], &[0, 1, 2]), Err(StageError::Votes(2)));
        assert_eq!(step(&[1, 1, 1], &[1, 1, 1, 2]), Err(StageError::Votes(2)));
        assert_eq!(step(&[1, 1, 1], &[1, 0, 1, 1]), Err(StageError::Votes(2)));
    }

    #[test]
    fn what_decides_a_half_changes_alone_and_members_stay() {
        let to = |votes: &[u32], arbiter| Staged { config: config(votes), arbiter, record_lease_ns: 0 };
        let from = config(&[1, 1, 1]);
        assert_eq!(to(&[1, 1, 1], Arbiter::Witness).check(&from, Arbiter::Majority), Ok(()));
        assert_eq!(to(&[1, 1, 1, 1], Arbiter::Witness).check(&from, Arbiter::Majority), Err(StageError::Arbiter));
        let smaller = to(&[1, 1], Arbiter::Majority);
        assert_eq!(smaller.covers(&[NodeId(1), NodeId(3)].into_iter().collect()), Err(StageError::Member(NodeId(3))));
        assert_eq!(smaller.covers(&[NodeId(1), NodeId(2)].into_iter().collect()), Ok(()));
        let mut wired = to(&[1, 1, 1], Arbiter::Majority);
        wired.config.networks.push(crate::config::NetworkConfig {
            id: crate::ids::NetworkId(1),
            name: String::new(),
            role: crate::config::NetworkRole::Internal,
        });
        assert_eq!(wired.check(&from, Arbiter::Majority), Err(StageError::Networks));
        let mut other = to(&[1, 1, 1], Arbiter::Majority);
        other.config.local = NodeId(2);
        assert_eq!(other.check(&from, Arbiter::Majority), Err(StageError::OtherNode(NodeId(2))));
    }
}
