//! What the core must know of the configuration. Checked once, at construction.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{ConfigDigest, NetworkId, NodeId};
use crate::time::{MILLISECOND_NS, SECOND_NS};

/// Configuration of one core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreConfig {
    /// The node that this core runs on.
    pub local: NodeId,
    /// Every configured node, this one included.
    pub nodes: Vec<NodeConfig>,
    /// Every configured network.
    pub networks: Vec<NetworkConfig>,
    /// Periods and limits.
    pub timing: Timing,
    /// Digest of the cluster-wide part of the configuration; peers compare it.
    pub digest: ConfigDigest,
    /// Version of the kernel records; peers show it.
    pub abi: u32,
}

/// One configured node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// Its id, 1 to 1024.
    pub id: NodeId,
    /// Its name, for texts.
    pub name: String,
    /// Its votes; 0 for a node that never decides.
    pub votes: u32,
    /// The networks that it has an address on.
    pub networks: Vec<NetworkId>,
}

/// One configured network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Its id, 1 to 8.
    pub id: NetworkId,
    /// Its name, for texts.
    pub name: String,
    /// What it carries.
    pub role: NetworkRole,
}

/// What a network carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkRole {
    /// Cluster traffic only.
    Internal,
    /// Cluster and client traffic.
    Mixed,
    /// Client traffic only: watched, but its silence never counts against a node.
    Client,
}

/// Periods and limits, equal on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Heartbeat period, 1 ms to 60 s.
    pub interval_ns: u64,
    /// Missed intervals after which a link is late; at least 1.
    pub late_after: u32,
    /// Missed intervals after which a peer is silent; greater than `late_after`.
    pub lost_after: u32,
    /// How long a node whose lease ended stays suspended before it stops.
    pub grace_ns: u64,
    /// How long a peer may beat without its controller making a pass.
    pub hang_timeout_ns: u64,
}

/// A configuration that the core refuses; nothing was constructed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The local id is not among the nodes.
    #[error("local node {0} is not among the configured nodes")]
    LocalUnknown(NodeId),
    /// An id outside 1 to 1024.
    #[error("node id {0} is out of range (1 to 1024)")]
    NodeRange(NodeId),
    /// Two nodes share an id.
    #[error("node id {0} is configured twice")]
    NodeTwice(NodeId),
    /// An id outside 1 to 8.
    #[error("network id {0} is out of range (1 to 8)")]
    NetworkRange(NetworkId),
    /// Two networks share an id.
    #[error("network id {0} is configured twice")]
    NetworkTwice(NetworkId),
    /// A node names a network that is not configured, or names one twice.
    #[error("node {0} names network {1}, which is not configured or named twice")]
    NodeNetwork(NodeId, NetworkId),
    /// A period out of range.
    #[error("interval of {0} ns is out of range (1 ms to 60 s)")]
    Interval(u64),
    /// Thresholds that make no sense together.
    #[error("late_after {late_after} must be at least 1 and less than lost_after {lost_after}")]
    Thresholds {
        /// As configured.
        late_after: u32,
        /// As configured.
        lost_after: u32,
    },
}

impl Timing {
    /// Tolerance of every deadline: an eighth of the interval, at least 1 ms.
    #[must_use]
    pub fn slack_ns(&self) -> u64 {
        (self.interval_ns / 8).max(MILLISECOND_NS)
    }

    /// Age of the newest stamp at which a link is late.
    #[must_use]
    pub fn late_timeout_ns(&self) -> u64 {
        u64::from(self.late_after).saturating_mul(self.interval_ns).saturating_add(self.slack_ns())
    }

    /// Age of the newest stamp at which a peer is silent.
    #[must_use]
    pub fn silent_timeout_ns(&self) -> u64 {
        u64::from(self.lost_after).saturating_mul(self.interval_ns).saturating_add(self.slack_ns())
    }

    /// Pause between the first two hellos to a peer that has not proved its incarnation; it grows to a second.
    #[must_use]
    pub fn hello_repeat_ns(&self) -> u64 {
        self.interval_ns.clamp(20 * MILLISECOND_NS, SECOND_NS)
    }
}

impl CoreConfig {
    /// The configured node with this id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeConfig> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The configured network with this id.
    #[must_use]
    pub fn network(&self, id: NetworkId) -> Option<&NetworkConfig> {
        self.networks.iter().find(|network| network.id == id)
    }

    /// Networks that both this node and `peer` are on, ascending.
    #[must_use]
    pub fn shared_networks(&self, peer: &NodeConfig) -> Vec<NetworkId> {
        let Some(local) = self.node(self.local) else { return Vec::new() };
        let own: BTreeSet<_> = local.networks.iter().copied().collect();
        let theirs: BTreeSet<_> = peer.networks.iter().copied().collect();
        own.intersection(&theirs).copied().collect()
    }

    /// Refuses what the state machines cannot work with.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut networks = BTreeSet::new();
        for network in &self.networks {
            if !network.id.is_valid() {
                return Err(ConfigError::NetworkRange(network.id));
            }
            if !networks.insert(network.id) {
                return Err(ConfigError::NetworkTwice(network.id));
            }
        }
        let mut nodes = BTreeSet::new();
        for node in &self.nodes {
            if !node.id.is_valid() {
                return Err(ConfigError::NodeRange(node.id));
            }
            if !nodes.insert(node.id) {
                return Err(ConfigError::NodeTwice(node.id));
            }
            let mut seen = BTreeSet::new();
            for network in &node.networks {
                if !networks.contains(network) || !seen.insert(*network) {
                    return Err(ConfigError::NodeNetwork(node.id, *network));
                }
            }
        }
        if !nodes.contains(&self.local) {
            return Err(ConfigError::LocalUnknown(self.local));
        }
        let timing = &self.timing;
        if !(MILLISECOND_NS..=60 * SECOND_NS).contains(&timing.interval_ns) {
            return Err(ConfigError::Interval(timing.interval_ns));
        }
        if timing.late_after == 0 || timing.late_after >= timing.lost_after {
            return Err(ConfigError::Thresholds { late_after: timing.late_after, lost_after: timing.lost_after });
        }
        Ok(())
    }
}
