//! Why a control message, or something else from outside, changed nothing.

use serde::{Deserialize, Serialize};

/// Reason for refusing an input; each has a counter in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The source is no configured peer.
    UnknownPeer,
    /// The network is not one that both nodes are on.
    UnknownNetwork,
    /// A kind that this version does not speak.
    UnknownKind,
    /// The body does not decode.
    Malformed,
    /// Body and header name different incarnations of the sender.
    IncarnationMismatch,
    /// An ack or done that answers no outstanding challenge: late, repeated or replayed.
    StaleAnswer,
    /// An answer to an earlier incarnation of this node.
    OtherReceiver,
    /// The sender proved an incarnation below the highest one known for it.
    LowerIncarnation,
    /// The sender proved an incarnation that has left in order.
    DepartedIncarnation,
    /// A kind of 20 or more from an incarnation that is not accepted.
    NotAccepted,
    /// A sequence number that was accepted before.
    Duplicate,
    /// A sequence number below the window.
    TooOld,
    /// A new incarnation of this node below what was asked for.
    IncarnationTooLow,
    /// The sender proved an incarnation that was removed from the view.
    RemovedIncarnation,
    /// A membership input or message for a core without membership, or one that is between two lives.
    NoMembership,
    /// A regroup or join message from a node that has no say in this view.
    NotMember,
    /// A regroup message about another view.
    OtherView,
    /// A regroup message of an earlier sequence.
    OldSequence,
    /// A decision that breaks a rule, or whose digest does not match.
    BadDecision,
    /// A join that cannot be served now.
    JoinNotNow,
    /// A join of a node whose configuration differs.
    ConfigDiffers,
    /// A join of a node that was removed too often.
    Quarantined,
    /// A poison that means another incarnation.
    OtherIncarnation,
    /// A staged configuration that cannot be installed in one step, or not now.
    BadStage,
    /// A later incarnation of a member that goes on beating: a second machine with its id.
    DuplicateId,
    /// The core has stopped.
    Stopped,
    /// A datagram was not queued because the driver did not poll.
    QueueFull,
}
