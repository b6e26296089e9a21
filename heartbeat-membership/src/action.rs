//! What the core asks of the driver. Actions are carried out in the order in which they are polled.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::ids::{Incarnation, NetworkId, NodeId};
use crate::membership::MembershipAction;
use crate::message::{Kind, NextSequences};

/// One duty of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// Frame, tag and send a control message with the node's current incarnation; loss is allowed.
    Send {
        /// The destination.
        peer: NodeId,
        /// The network to use.
        network: NetworkId,
        /// `kind` of the header.
        kind: Kind,
        /// What goes between header tag and HMAC.
        body: Vec<u8>,
    },
    /// Have the kernel accept exactly this incarnation of the peer, with windows that start at `next`; this zeroes the
    /// peer's echo, stamps and windows. A network that `next` does not name accepts nothing.
    AcceptIncarnation {
        /// The peer.
        peer: NodeId,
        /// Its proven incarnation.
        incarnation: Incarnation,
        /// First sequence numbers to accept, per network.
        next: Vec<NextSequences>,
    },
    /// Have the kernel accept no incarnation of the peer.
    ClearIncarnation {
        /// The peer.
        peer: NodeId,
    },
    /// A peer knows a higher incarnation of this node: persist a new one, set it in the kernel with sequences that
    /// start at 1, then feed [`crate::Input::IncarnationTaken`].
    TakeIncarnation {
        /// Lower bound for the new incarnation.
        at_least: Incarnation,
    },
    /// A duty of membership; never asked of a driver that built the core without it.
    Membership(MembershipAction),
    /// Write the event out.
    Event(Event),
    /// Nothing more will come: detach and exit.
    Stop,
}
