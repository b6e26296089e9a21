//! What an operator is told.

use serde::{Deserialize, Serialize};

use crate::evidence::{LinkEvidence, StageTime, SurvivorReport, VoteCount};
use crate::ids::{ConfigDigest, Incarnation, NetworkId, NodeId};
use crate::input::StallSource;
use crate::membership::HaltReason;
use crate::message::regroup::Reason;
use crate::network_state::{InterfaceState, NetworkState};
use crate::quorum::Rule;

/// One event; the driver adds wall-clock time and the node that logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub id: EventId,
    /// Whom it is about.
    pub peer: Option<NodeId>,
    /// The network concerned.
    pub network: Option<NetworkId>,
    /// View of the node that logs; 0 = none.
    pub view: u64,
    /// One sentence for people.
    pub text: String,
    /// The evidence.
    pub detail: Detail,
    /// When the core raised it, `CLOCK_MONOTONIC` nanoseconds.
    pub mono_ns: u64,
}

/// The events of the core, by MSCS number; the project's own from 9000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "u16")]
pub enum EventId {
    /// Contact with a peer on a network was made, or made again.
    LinkRestored,
    /// Contact with a peer on a network was lost.
    LinkLost,
    /// This machine or its controller stood still.
    LocalStall,
    /// A peer left in order.
    NodeLeft,
    /// An interface works, and hears all others on its network.
    InterfaceUp,
    /// An interface does not reach some other; which end is at fault is not known.
    InterfaceUnreachable,
    /// An interface has failed.
    InterfaceFailed,
    /// All available nodes on a network reach each other.
    NetworkUp,
    /// Some nodes on a network do not reach each other.
    NetworkPartitioned,
    /// No available node can use a network.
    NetworkDown,
    /// A member was removed from the view without having left.
    NodeRemoved,
    /// This node stopped: quorum was lost.
    QuorumLost,
    /// This node stopped: the view goes on without it.
    Pruned,
    /// The controller of a peer hangs while its kernel beats.
    ControllerHung,
    /// A node came into the view.
    NodeJoined,
    /// A view was installed.
    ViewInstalled,
    /// A removed node has certainly stopped: its work may be taken over.
    RemovalSafe,
    /// The lease ended: this node may not act until it is renewed.
    Suspended,
    /// This node stopped: another cluster was formed on the operator's word.
    Superseded,
    /// A peer runs a configuration that is neither this node's nor the one staged here: it is refused.
    ConfigDiffers,
    /// A peer's kernel records have another version.
    AbiDiffers,
    /// Two machines run as one node.
    DuplicateId,
    /// A node is kept out because it was removed too often.
    Quarantined,
    /// A node that is kept out asked to be let in.
    QuarantineRefused,
    /// A node is not kept out any more.
    QuarantineReleased,
    /// A configuration was staged here, taken back, or refused.
    ConfigStaged,
    /// All members have changed to another configuration.
    ConfigInstalled,
    /// This node holds the witness.
    WitnessTaken,
    /// This node held the witness, and another does now.
    WitnessLost,
}

/// How urgent an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Something to look at.
    Warning,
    /// Something is broken.
    Error,
    /// Service is lost.
    Critical,
}

/// Evidence of an event. Times are `CLOCK_MONOTONIC` nanoseconds of this node unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "kebab-case")]
pub enum Detail {
    /// Of 1122.
    Restored {
        /// Stamp of the heartbeat.
        stamp_ns: u64,
        /// Stamp of the one before it; 0 = none.
        previous_stamp_ns: u64,
        /// Incarnation of the peer.
        incarnation: Incarnation,
        /// First heartbeat of this incarnation here.
        first: bool,
        /// Sequence numbers lost in between.
        lost: u64,
        /// Why the link had been late; absent on first contact.
        cause: Option<Cause>,
    },
    /// Of 1123.
    Lost {
        /// Newest stamp; 0 = none.
        stamp_ns: u64,
        /// When the verdict fell due.
        deadline_ns: u64,
        /// When the judge ran.
        judged_ns: u64,
        /// Whole intervals missed; 0 where the verdict was on the peer as a whole.
        missed: u32,
        /// Nothing was ever heard of this incarnation on this network.
        never_heard: bool,
        /// Judged although this machine stuttered.
        marked_stall: bool,
    },
    /// Of 9001.
    Stall {
        /// How long.
        length_ns: u64,
        /// When it ended.
        at_ns: u64,
        /// What stood still.
        source: StallSource,
        /// The credit for stalls is used up.
        budget_spent: bool,
    },
    /// Of 9006.
    Left {
        /// The incarnation that left.
        incarnation: Incarnation,
    },
    /// Of 9005.
    Joined {
        /// The incarnation that joined.
        incarnation: Incarnation,
    },
    /// Of 1125, 1126 and 1127.
    Interface {
        /// Its state before.
        from: InterfaceState,
        /// Its state now.
        to: InterfaceState,
    },
    /// Of 1128, 1129 and 1130.
    Network {
        /// Its state before.
        from: NetworkState,
        /// Its state now.
        to: NetworkState,
    },
    /// Of 1135.
    Removed {
        /// The incarnation that was removed.
        incarnation: Incarnation,
        /// No survivor had a newer stamp.
        newest_ns: u64,
        /// When 9008 falls due.
        safe_ns: u64,
        /// What began the regroup.
        reason: Reason,
        /// Who decided.
        decider: NodeId,
        /// The rule by which the survivors are a quorum.
        rule: Rule,
        /// The count behind the rule.
        votes: VoteCount,
        /// Regroup sequence.
        sequence: u64,
        /// What each survivor reported, ascending by node.
        survivors: Vec<SurvivorReport>,
        /// Each link to the node as it stood here when this node was bound against it, ascending by network.
        links: Vec<LinkEvidence>,
        /// Stages of the regroup, in order.
        stages: Vec<StageTime>,
    },
    /// Of 9007.
    Installed {
        /// Its members.
        members: Vec<NodeId>,
        /// Who decided.
        decider: NodeId,
        /// What began the regroup.
        reason: Reason,
        /// The rule by which the members are a quorum.
        rule: Rule,
        /// Regroup sequence.
        sequence: u64,
        /// When the regroup began.
        began_ns: u64,
        /// The count behind the rule.
        votes: VoteCount,
        /// Stages of the regroup, in order.
        stages: Vec<StageTime>,
        /// The view was formed on the operator's word and has no majority.
        forced: bool,
    },
    /// Of 9008.
    Safe {
        /// The incarnation that was removed.
        incarnation: Incarnation,
        /// No survivor had a newer stamp; 0 where the operator confirmed.
        newest_ns: u64,
        /// What guarantees that it has stopped.
        enforced: Enforcement,
        /// When its lease had certainly ended.
        lease_over_ns: u64,
        /// When it had certainly stopped; later than now where the operator confirmed.
        due_ns: u64,
    },
    /// Of 1006, 1177 and 9009.
    Stopped {
        /// Why; absent for a suspension.
        reason: Option<HaltReason>,
        /// End of the lease in `CLOCK_BOOTTIME`; 0 = there never was one.
        lease_end_boot_ns: u64,
    },
    /// Of 9002.
    Hung {
        /// The incarnation that hangs.
        incarnation: Incarnation,
    },
    /// Of 9012.
    ConfigDiffers {
        /// Digest of the configuration here.
        ours: ConfigDigest,
        /// Digest of the one that is staged here.
        our_staged: Option<ConfigDigest>,
        /// Digest of the peer's.
        theirs: ConfigDigest,
        /// Digest of the one that is staged there.
        their_staged: Option<ConfigDigest>,
    },
    /// Of 9013.
    AbiDiffers {
        /// Version of the kernel records here.
        ours: u32,
        /// Version of the peer's.
        theirs: u32,
    },
    /// Of 9014.
    Duplicate {
        /// The incarnation that is in the view.
        running: Incarnation,
        /// The later one, which is refused.
        refused: Incarnation,
    },
    /// Of 9015 and 9016.
    Quarantined {
        /// Until when.
        until_ns: u64,
    },
    /// Of 9017.
    Released {
        /// On the operator's word, before its time.
        by_operator: bool,
    },
    /// Of 9018.
    Staged {
        /// Digest of the configuration in force.
        current: ConfigDigest,
        /// Digest of the one that was staged, taken back, or refused.
        staged: ConfigDigest,
        /// Why it was refused; absent where it was not.
        refused: Option<String>,
    },
    /// Of 9019.
    ConfigInstalled {
        /// Digest before.
        from: ConfigDigest,
        /// Digest now.
        to: ConfigDigest,
    },
    /// Of 9020 and 9021.
    Witness {
        /// The newest epoch.
        epoch: u64,
        /// Who holds it; absent where that is not known.
        holder: Option<NodeId>,
        /// The view that it was taken for.
        record_view: u64,
    },
}

/// What guarantees that a removed node has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// Programs that check the lease before they act.
    LeaseCheckers,
    /// The operator or a fencing agent.
    Confirmed,
}

/// Why a link was late, known once it is heard again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The peer sent late.
    SentLate,
    /// Heartbeats were sent in time and lost on the way.
    LostOnTheWay,
    /// The heartbeat was sent in time and arrived late.
    DelayedOnTheWay,
    /// This machine stood still meanwhile.
    HandledLateHere,
}

/// A number that names no event of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no event of the core")]
pub struct UnknownEvent(pub u16);

impl EventId {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::InterfaceUp,
        Self::InterfaceUnreachable,
        Self::InterfaceFailed,
        Self::NetworkUp,
        Self::NetworkPartitioned,
        Self::NetworkDown,
        Self::LinkRestored,
        Self::LinkLost,
        Self::LocalStall,
        Self::NodeLeft,
        Self::NodeRemoved,
        Self::QuorumLost,
        Self::Pruned,
        Self::ControllerHung,
        Self::NodeJoined,
        Self::ViewInstalled,
        Self::RemovalSafe,
        Self::Suspended,
        Self::Superseded,
        Self::ConfigDiffers,
        Self::AbiDiffers,
        Self::DuplicateId,
        Self::Quarantined,
        Self::QuarantineRefused,
        Self::QuarantineReleased,
        Self::ConfigStaged,
        Self::ConfigInstalled,
        Self::WitnessTaken,
        Self::WitnessLost,
    ];

    /// The number that operators know.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::LinkRestored => 1122,
            Self::LinkLost => 1123,
            Self::InterfaceUp => 1125,
            Self::InterfaceUnreachable => 1126,
            Self::InterfaceFailed => 1127,
            Self::NetworkUp => 1128,
            Self::NetworkPartitioned => 1129,
            Self::NetworkDown => 1130,
            Self::LocalStall => 9001,
            Self::NodeLeft => 9006,
            Self::NodeRemoved => 1135,
            Self::QuorumLost => 1177,
            Self::Pruned => 1006,
            Self::ControllerHung => 9002,
            Self::NodeJoined => 9005,
            Self::ViewInstalled => 9007,
            Self::RemovalSafe => 9008,
            Self::Suspended => 9009,
            Self::Superseded => 5396,
            Self::ConfigDiffers => 9012,
            Self::AbiDiffers => 9013,
            Self::DuplicateId => 9014,
            Self::Quarantined => 9015,
            Self::QuarantineRefused => 9016,
            Self::QuarantineReleased => 9017,
            Self::ConfigStaged => 9018,
            Self::ConfigInstalled => 9019,
            Self::WitnessTaken => 9020,
            Self::WitnessLost => 9021,
        }
    }

    /// The name in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LinkRestored => "link_restored",
            Self::LinkLost => "link_lost",
            Self::InterfaceUp => "interface_up",
            Self::InterfaceUnreachable => "interface_unreachable",
            Self::InterfaceFailed => "interface_failed",
            Self::NetworkUp => "network_up",
            Self::NetworkPartitioned => "network_partitioned",
            Self::NetworkDown => "network_down",
            Self::LocalStall => "local_stall",
            Self::NodeLeft => "node_left",
            Self::NodeRemoved => "node_removed",
            Self::QuorumLost => "quorum_lost",
            Self::Pruned => "pruned",
            Self::ControllerHung => "controller_hung",
            Self::NodeJoined => "node_joined",
            Self::ViewInstalled => "view_installed",
            Self::RemovalSafe => "removal_safe",
            Self::Suspended => "suspended",
            Self::Superseded => "superseded",
            Self::ConfigDiffers => "config_differs",
            Self::AbiDiffers => "abi_differs",
            Self::DuplicateId => "duplicate_id",
            Self::Quarantined => "quarantined",
            Self::QuarantineRefused => "quarantine_refused",
            Self::QuarantineReleased => "quarantine_released",
            Self::ConfigStaged => "config_staged",
            Self::ConfigInstalled => "config_installed",
            Self::WitnessTaken => "witness_taken",
            Self::WitnessLost => "witness_lost",
        }
    }

    /// How urgent it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::InterfaceUp
            | Self::NetworkUp
            | Self::LinkRestored
            | Self::NodeLeft
            | Self::NodeJoined
            | Self::ViewInstalled
            | Self::RemovalSafe
            | Self::AbiDiffers
            | Self::QuarantineReleased
            | Self::ConfigStaged
            | Self::ConfigInstalled
            | Self::WitnessTaken => Severity::Info,
            Self::LinkLost
            | Self::LocalStall
            | Self::InterfaceUnreachable
            | Self::Quarantined
            | Self::QuarantineRefused
            | Self::WitnessLost => Severity::Warning,
            Self::ControllerHung
            | Self::Suspended
            | Self::InterfaceFailed
            | Self::NetworkPartitioned
            | Self::NetworkDown
            | Self::ConfigDiffers
            | Self::DuplicateId => Severity::Error,
            Self::NodeRemoved | Self::QuorumLost | Self::Pruned | Self::Superseded => Severity::Critical,
        }
    }
}

impl From<EventId> for u16 {
    fn from(id: EventId) -> Self {
        id.number()
    }
}

impl TryFrom<u16> for EventId {
    type Error = UnknownEvent;

    fn try_from(number: u16) -> Result<Self, UnknownEvent> {
        Self::ALL.into_iter().find(|id| id.number() == number).ok_or(UnknownEvent(number))
    }
}
