//! What the driver tells the core.

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, NetworkId, NodeId};
use crate::link::LinkState;
use crate::membership::MembershipInput;
use crate::message::NextSequences;

/// Who this node is in this life, given at construction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The incarnation, persisted before the core is built.
    pub incarnation: Incarnation,
    /// What a restarted controller found in the kernel and keeps; empty after a start with a new incarnation.
    pub adopted: Vec<AdoptedPeer>,
}

/// A peer whose proven incarnation the kernel already accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedPeer {
    /// The peer.
    pub peer: NodeId,
    /// The incarnation that the kernel accepts for it.
    pub incarnation: Incarnation,
    /// What the kernel's verdicts said about its links.
    pub links: Vec<AdoptedLink>,
}

/// A link as a restarted controller found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedLink {
    /// The network.
    pub network: NetworkId,
    /// Its state by the standing verdict; `Init` if nothing was ever accepted.
    pub state: LinkState,
    /// Its newest stamp, `CLOCK_MONOTONIC` nanoseconds; 0 = none.
    pub stamp_ns: u64,
}

/// One input. Verdicts may come twice, late or not at all: handling is idempotent, once per episode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "kebab-case")]
pub enum Input {
    /// The deadline of [`crate::Node::poll_timeout`] has passed.
    Timer,
    /// The judge found a link late.
    Late(LateVerdict),
    /// A link was heard for the first time, or for the first time after lateness.
    Restored(Restored),
    /// The judge found a peer silent on its internal and mixed networks.
    Silent(SilentVerdict),
    /// A silent peer was heard again on some network.
    HeardAgain {
        /// The peer.
        peer: NodeId,
        /// Stamp of the heartbeat that ended the silence, `CLOCK_MONOTONIC` nanoseconds.
        stamp_ns: u64,
    },
    /// A well-tagged heartbeat of an incarnation that is not accepted.
    OtherIncarnation {
        /// Its source.
        peer: NodeId,
        /// Where it arrived.
        network: NetworkId,
        /// The incarnation that it carried.
        incarnation: Incarnation,
    },
    /// This machine or its controller stood still.
    LocalStall(LocalStall),
    /// A control message whose tags, HMAC, source address and TTL the driver has verified.
    Control(ControlMessage),
    /// For membership; counted and ignored by a core that was built without it.
    Membership(MembershipInput),
    /// [`crate::Action::TakeIncarnation`] was carried out.
    IncarnationTaken {
        /// The new incarnation, already persisted; sequences start at 1.
        incarnation: Incarnation,
    },
    /// The node has stopped acting and shall leave in order.
    Leave,
}

/// The judge's verdict on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateVerdict {
    /// The peer.
    pub peer: NodeId,
    /// The network.
    pub network: NetworkId,
    /// Newest accepted stamp when it was judged; 0 if none since the incarnation was accepted.
    pub stamp_ns: u64,
    /// When the link became late.
    pub deadline_ns: u64,
    /// When the judge ran.
    pub judged_ns: u64,
    /// Whole intervals without a heartbeat.
    pub missed: u32,
    /// Nothing was accepted since the incarnation was.
    pub never_heard: bool,
    /// Judged although the machine stuttered: the credit for stalls was used up.
    pub marked_stall: bool,
}

/// The judge's verdict on a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentVerdict {
    /// The peer.
    pub peer: NodeId,
    /// Newest accepted stamp over its internal and mixed networks when it was judged; 0 for none.
    pub stamp_ns: u64,
    /// When the peer became silent.
    pub deadline_ns: u64,
    /// When the judge ran.
    pub judged_ns: u64,
    /// Judged although the machine stuttered.
    pub marked_stall: bool,
}

/// A link came up, with what tells why it had been late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The peer.
    pub peer: NodeId,
    /// The network.
    pub network: NetworkId,
    /// Stamp of the heartbeat, `CLOCK_MONOTONIC` nanoseconds of this node.
    pub stamp_ns: u64,
    /// The first heartbeat since this incarnation was accepted.
    pub first: bool,
    /// Stamp of the heartbeat accepted before it; 0 = none or unknown.
    pub previous_stamp_ns: u64,
    /// `sent_ns` of the heartbeat, on the sender's clock; 0 = unknown.
    pub sent_ns: u64,
    /// `sent_ns` of the heartbeat before it; 0 = none or unknown.
    pub previous_sent_ns: u64,
    /// Sequence numbers between the two that never arrived.
    pub lost: u64,
}

/// This node stood still while its peers went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalStall {
    /// How long.
    pub length_ns: u64,
    /// When it ended, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// What stood still.
    pub source: StallSource,
    /// The credit for stalls is used up: the judge judges anyway and marks its verdicts.
    pub budget_spent: bool,
}

/// What stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StallSource {
    /// The machine: the judge in the kernel ran late.
    Machine,
    /// The controller alone.
    Controller,
    /// The clock itself, as in a paused virtual machine: seen in what arrives afterwards.
    Clock,
}

/// A verified control message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlMessage {
    /// Where it arrived.
    pub network: NetworkId,
    /// `source` of the header.
    pub source: NodeId,
    /// `incarnation` of the header; 0 is refused.
    pub incarnation: u64,
    /// `sequence` of the header.
    pub sequence: u64,
    /// `kind` of the header.
    pub kind: u8,
    /// What lies between header tag and HMAC.
    pub body: Vec<u8>,
    /// This node's next sequence numbers towards `source`, read when the message was handed in.
    pub next: Vec<NextSequences>,
}
