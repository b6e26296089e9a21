//! What an operator is told.

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, NetworkId, NodeId};
use crate::input::StallSource;

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
    pub const ALL: [Self; 4] = [Self::LinkRestored, Self::LinkLost, Self::LocalStall, Self::NodeLeft];

    /// The number that operators know.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::LinkRestored => 1122,
            Self::LinkLost => 1123,
            Self::LocalStall => 9001,
            Self::NodeLeft => 9006,
        }
    }

    /// The name in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LinkRestored => "link_restored",
            Self::LinkLost => "link_lost",
            Self::LocalStall => "local_stall",
            Self::NodeLeft => "node_left",
        }
    }

    /// How urgent it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::LinkRestored | Self::NodeLeft => Severity::Info,
            Self::LinkLost | Self::LocalStall => Severity::Warning,
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
