//! Bodies of control messages: fixed layouts, big-endian, total decoding.
//!
//! A body is checked in full before anything uses it. Longer bodies of the same version are accepted: fields are only
//! ever added at the end. Reserved bytes are sent as 0 and ignored on receipt.

pub mod codec;
pub mod connectivity;
pub mod hello;
pub mod join;
pub mod leave;
pub mod poison;
pub mod regroup;

pub use codec::BodyError;
pub use hello::{Answer, Hello, NextSequences};
pub use join::Join;
pub use leave::Leave;
pub use poison::Poison;

use serde::{Deserialize, Serialize};

/// Kind byte of the header, for the messages that the core speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// First of the handshake: a challenge.
    Hello,
    /// Second: answers the challenge and poses one.
    HelloAck,
    /// Third: answers the second challenge.
    HelloDone,
    /// Whom the sender hears on each network.
    Connectivity,
    /// State of a regroup.
    Regroup,
    /// A node without a view asks to be let in.
    Join,
    /// The sender leaves in order.
    Leave,
    /// The receiver has been removed.
    Poison,
    /// States of networks and interfaces, from the leader.
    NetworkStates,
}

impl Kind {
    /// The byte on the wire.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Hello => 16,
            Self::HelloAck => 17,
            Self::HelloDone => 18,
            Self::Connectivity => 20,
            Self::Regroup => 24,
            Self::Join => 28,
            Self::Leave => 29,
            Self::Poison => 30,
            Self::NetworkStates => 32,
        }
    }

    /// The kind with this byte, if the core speaks it.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            16 => Some(Self::Hello),
            17 => Some(Self::HelloAck),
            18 => Some(Self::HelloDone),
            20 => Some(Self::Connectivity),
            24 => Some(Self::Regroup),
            28 => Some(Self::Join),
            29 => Some(Self::Leave),
            30 => Some(Self::Poison),
            32 => Some(Self::NetworkStates),
            _ => None,
        }
    }
}
