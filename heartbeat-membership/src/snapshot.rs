//! What status shows of the core.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ConfigDigest, Incarnation, NetworkId, NodeId};
use crate::link::LinkState;
use crate::membership::MembershipSnapshot;
use crate::refusal::Refusal;

/// State of the core at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// This node.
    pub local: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// It has left and takes no more input.
    pub stopped: bool,
    /// Every configured peer, ascending.
    pub peers: Vec<PeerSnapshot>,
    /// Membership, where the core was built with it.
    pub membership: Option<MembershipSnapshot>,
    /// Inputs that changed nothing, by reason.
    pub refused: BTreeMap<Refusal, u64>,
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSnapshot {
    /// Its id.
    pub id: NodeId,
    /// The incarnation that is accepted, once proven.
    pub accepted: Option<Incarnation>,
    /// Whether an incarnation is accepted.
    pub proven: bool,
    /// It left in order and has not come back.
    pub left: bool,
    /// Its configuration differs from ours; known once it has spoken.
    pub config_differs: bool,
    /// Its kernel records have another version.
    pub abi_differs: bool,
    /// Digest of its configuration, once it has spoken.
    pub digest: Option<ConfigDigest>,
    /// Its links, ascending by network.
    pub links: Vec<LinkSnapshot>,
}

/// One link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSnapshot {
    /// The network.
    pub network: NetworkId,
    /// Its state.
    pub state: LinkState,
    /// Since when, `CLOCK_MONOTONIC` nanoseconds.
    pub since_ns: u64,
}
