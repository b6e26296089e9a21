//! What a recording consists of, and its bytes.
//!
//! A file is a sequence of frames: length (u32, little endian) of what follows the checksum, CRC-32 of the same, one byte of
//! kind, and a body in MessagePack. MessagePack keeps the names of variants, which the core's types need to be read back, and
//! drops those of fields, which would be most of the bytes.

use std::io;

use heartbeat_membership::{Action, CoreConfig, Identity, Input, Node, Now, membership::Settings};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of this layout; raised with every change to it. The core's own types are covered by the program's version.
pub const FORMAT: u16 = 1;

/// Length and checksum.
pub(super) const FRAME_HEADER: usize = 8;
/// The longest frame that is read: a core with 1,024 nodes on 8 networks, and everything that it may have queued, is shorter.
pub(super) const LONGEST_FRAME: usize = 64 << 20;

const HEAD: u8 = b'H';
const BUILT: u8 = b'B';
const CORE: u8 = b'C';
const INPUT: u8 = b'I';
const ACTION: u8 = b'A';
const GAP: u8 = b'G';
const END: u8 = b'E';

/// The first entry of every file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u16,
    /// Version of the program.
    pub version: String,
    /// Name of the cluster.
    pub cluster: String,
    /// The node.
    pub node: u16,
    /// Place of the file among all that this node wrote, from 1.
    pub number: u64,
    /// `CLOCK_REALTIME` nanoseconds when the file was begun.
    pub unix_ns: u64,
    /// `CLOCK_MONOTONIC` nanoseconds at the same moment: turns times of the core into times for people.
    pub mono_ns: u64,
}

/// What a core was built with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Its configuration.
    pub config: CoreConfig,
    /// What membership needs beside it.
    pub settings: Settings,
    /// Who it is.
    pub identity: Identity,
    /// Seed of its nonces.
    pub seed: [u8; 32],
    /// When.
    pub now: Now,
}

/// Why a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The next file goes on.
    Continued,
    /// The node ended in order.
    Stopped,
}

/// One entry.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Of which node, and when.
    Head(Head),
    /// A core was built: the recording of a process begins.
    Built(Box<Built>),
    /// The core as it stands: a file that goes on with an earlier one begins here.
    Core(Box<Node>),
    /// An input, and the time with which it was handed in.
    Input(Now, Input),
    /// An action, in the order in which they were polled.
    Action(Action),
    /// This many entries were lost here. Nothing behind it in the same file can be replayed.
    Gap(u64),
    /// The file ends here.
    End(End),
}

/// Appends kind and body of an entry.
pub(super) struct Encoder<'a>(pub(super) &'a mut Vec<u8>);

impl Encoder<'_> {
    pub(super) fn head(self, head: &Head) -> bool {
        self.body(HEAD, head)
    }

    pub(super) fn built(self, built: &Built) -> bool {
        self.body(BUILT, built)
    }

    pub(super) fn core(self, core: &Node) -> bool {
        self.body(CORE, core)
    }

    pub(super) fn input(self, now: Now, input: &Input) -> bool {
        self.body(INPUT, &(now, input))
    }

    pub(super) fn action(self, action: &Action) -> bool {
        self.body(ACTION, action)
    }

    pub(super) fn gap(self, lost: u64) -> bool {
        self.body(GAP, &lost)
    }

    pub(super) fn end(self, end: End) -> bool {
        self.body(END, &end)
    }

    /// False where the value has no form in MessagePack; what was appended is to be thrown away then.
    fn body(self, kind: u8, body: &impl Serialize) -> bool {
        self.0.push(kind);
        rmp_serde::encode::write(self.0, body).is_ok()
    }
}

/// The bytes of an action as a recording has them.
///
/// # Errors
///
/// If it has no form in MessagePack.
pub fn encode_action(action: &Action) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if Encoder(&mut bytes).action(action) { Ok(bytes) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether these bytes are of a kind that begins a file.
pub(super) fn begins_file(content: &[u8]) -> bool {
    matches!(content.first(), Some(&BUILT | &CORE))
}

/// Whether these bytes are of an action.
pub(super) fn is_action(content: &[u8]) -> bool {
    content.first() == Some(&ACTION)
}

/// An entry from kind and body.
///
/// # Errors
///
/// In words: a kind that is not known, or a body that is not one of its kind.
pub(super) fn decode(content: &[u8]) -> Result<Entry, String> {
    fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        rmp_serde::from_slice(bytes).map_err(|error| error.to_string())
    }
    let Some((kind, bytes)) = content.split_first() else { return Err("it is empty".to_owned()) };
    match *kind {
        HEAD => body(bytes).map(Entry::Head),
        BUILT => body(bytes).map(|built| Entry::Built(Box::new(built))),
        CORE => body(bytes).map(|core| Entry::Core(Box::new(core))),
        INPUT => body(bytes).map(|(now, input)| Entry::Input(now, input)),
        ACTION => body(bytes).map(Entry::Action),
        GAP => body(bytes).map(Entry::Gap),
        END => body(bytes).map(Entry::End),
        other => Err(format!("its kind {other} is not known")),
    }
}

/// The frame's length and checksum in front of these bytes.
pub(super) fn frame_header(content: &[u8]) -> [u8; FRAME_HEADER] {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32fast::hash(content).to_le_bytes();
    let mut header = [0; FRAME_HEADER];
    header[..4].copy_from_slice(&length);
    header[4..].copy_from_slice(&checksum);
    header
}
