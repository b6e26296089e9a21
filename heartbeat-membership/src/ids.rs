//! Identities that the core handles. The border to the kernel records converts them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A node, 1 to 1024; 0 means "every node" on the wire and is never a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

/// A cluster network, 1 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkId(pub u8);

/// One life of a node: strictly greater than any earlier one of that node; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// SHA-256 over the canonical form of name, timing, networks, nodes and votes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigDigest(pub [u8; 32]);

/// Largest node id.
pub const MAX_NODES: u16 = 1024;

/// Largest network id.
pub const MAX_NETWORKS: u8 = 8;

impl NodeId {
    /// Whether the id can name a node.
    #[must_use]
    pub fn is_valid(self) -> bool {
        (1..=MAX_NODES).contains(&self.0)
    }
}

impl NetworkId {
    /// Whether the id can name a network.
    #[must_use]
    pub fn is_valid(self) -> bool {
        (1..=MAX_NETWORKS).contains(&self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ConfigDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ConfigDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
