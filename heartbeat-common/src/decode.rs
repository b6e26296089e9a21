//! How bytes are loaded, and what the common header says.
//!
//! The decoder is generic over [`PacketBytes`]: a slice on the host, a pair of packet pointers in the XDP program. A
//! plain `&[u8]` decoder is refused by the verifier, which must see every access compared with the end of the packet.

use crate::{reject::Reject, wire};

/// Bounded access to a packet.
pub trait PacketBytes: Copy {
    /// `COUNT` 64-bit words that have been found to lie within the packet.
    type Words<const COUNT: usize>: Words;

    /// The byte at `offset`, or `None` beyond the end.
    fn byte(self, offset: usize) -> Option<u8>;

    /// Two bytes at `offset` as a big-endian number, or `None` beyond the end.
    fn u16_be(self, offset: usize) -> Option<u16>;

    /// Four bytes at `offset` as they stand in memory, or `None` beyond the end.
    fn u32_raw(self, offset: usize) -> Option<u32>;

    /// The packet without its first `length` bytes; loads from it fail where it has ended.
    fn skip(self, length: usize) -> Self;

    /// The first `COUNT` words, bounds checked once, or `None` if the packet is shorter.
    fn words<const COUNT: usize>(self) -> Option<Self::Words<COUNT>>;
}

/// Words of a packet, as they stand in memory.
pub trait Words: Copy {
    /// The word at `index`; `index` is below the COUNT that was asked for, else 0.
    fn word(self, index: usize) -> u64;

    /// The word at `index` as a big-endian number.
    #[inline(always)]
    fn number(self, index: usize) -> u64 {
        u64::from_be(self.word(index))
    }
}

impl PacketBytes for &[u8] {
    type Words<const COUNT: usize> = [u64; COUNT];

    fn byte(self, offset: usize) -> Option<u8> {
        self.get(offset).copied()
    }

    fn u16_be(self, offset: usize) -> Option<u16> {
        self.get(offset..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn u32_raw(self, offset: usize) -> Option<u32> {
        self.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    fn skip(self, length: usize) -> Self {
        self.get(length..).unwrap_or(&[])
    }

    fn words<const COUNT: usize>(self) -> Option<[u64; COUNT]> {
        let mut words = [0; COUNT];
        for (index, word) in words.iter_mut().enumerate() {
            *word = u64::from_ne_bytes(*self.get(index * 8..)?.first_chunk()?);
        }
        Some(words)
    }
}

impl<const COUNT: usize> Words for [u64; COUNT] {
    fn word(self, index: usize) -> u64 {
        self.get(index).copied().unwrap_or(0)
    }
}

/// Words of the shortest message of any kind: a heartbeat is 96 bytes, an empty control message 104.
pub const WORDS_MIN: usize = wire::HEARTBEAT_LENGTH / 8;

/// What the header says; numbers are in the host's byte order, nothing is trusted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// [`wire::KIND_HEARTBEAT`] or a control kind.
    pub kind: u8,
    /// Known bits only.
    pub flags: u8,
    /// 1..=4 or not, see [`Reject::UnknownKey`].
    pub key_id: u8,
    /// First 8 bytes of SHA-256 of the cluster name, as they stand in memory.
    pub cluster_id: u64,
    /// Sending node.
    pub source: u16,
    /// Receiving node, 0 in multicast.
    pub destination: u16,
    /// Network.
    pub network: u8,
}

impl Decoded {
    /// Is this a control message?
    #[inline(always)]
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.kind >= wire::KIND_CONTROL_FIRST
    }
}

const MAGIC: u64 = u32::from_be_bytes(wire::MAGIC) as u64;

/// Reads the header of a UDP payload of `payload_length` bytes.
///
/// # Errors
/// [`Reject::Malformed`] for anything that no sender of any version may send, [`Reject::Version`] for another version.
/// The cheapest and most telling field comes first: garbage costs two loads.
#[inline(always)]
pub fn decode<W: Words>(words: W, payload_length: u16) -> Result<Decoded, Reject> {
    let first = words.number(0);
    if first >> 32 != MAGIC {
        return Err(Reject::Malformed);
    }
    let addressing = words.number(2);
    if addressing as u16 != payload_length {
        return Err(Reject::Malformed);
    }
    let [version, kind, flags, key_id] = (first as u32).to_be_bytes();
    if version != wire::VERSION {
        return Err(Reject::Version);
    }
    let [_, _, _, _, network, reserved, _, _] = addressing.to_be_bytes();
    if flags & !wire::FLAGS_KNOWN != 0 || reserved != 0 {
        return Err(Reject::Malformed);
    }
    let length = payload_length as usize;
    let fits = if kind >= wire::KIND_CONTROL_FIRST {
        (wire::CONTROL_LENGTH_MIN..=wire::MESSAGE_LENGTH_MAX).contains(&length)
    } else {
        kind == wire::KIND_HEARTBEAT && length == wire::HEARTBEAT_LENGTH
    };
    if !fits {
        return Err(Reject::Malformed);
    }
    Ok(Decoded {
        kind,
        flags,
        key_id,
        cluster_id: words.word(1),
        source: (addressing >> 48) as u16,
        destination: (addressing >> 32) as u16,
        network,
    })
}

/// What a heartbeat says beyond [`Decoded`]; to be believed only after its tag has verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The sender's incarnation.
    pub incarnation: u64,
    /// Sequence number.
    pub sequence: u64,
    /// The sender's CLOCK_MONOTONIC at sending, nanoseconds.
    pub sent_ns: u64,
    /// Number of the sender's view; 0 is none.
    pub view: u64,
    /// `sent_ns` of our newest heartbeat that the sender accepted; 0 is none.
    pub echo_sent_ns: u64,
    /// Microseconds that the sender held it; [`wire::HOLD_UNKNOWN`] is unknown.
    pub echo_hold_us: u32,
    /// Milliseconds since the sender's controller completed a pass.
    pub controller_age_ms: u32,
    /// Passes that the sender's controller completed.
    pub controller_beat: u64,
    /// Flags of the header.
    pub flags: u8,
}

impl Heartbeat {
    /// Reads the fields out of the words of a heartbeat.
    #[inline(always)]
    #[must_use]
    pub fn read<W: Words>(words: W, flags: u8) -> Self {
        let hold_and_age = words.number(8);
        Self {
            incarnation: words.number(3),
            sequence: words.number(4),
            sent_ns: words.number(5),
            view: words.number(6),
            echo_sent_ns: words.number(7),
            echo_hold_us: (hold_and_age >> 32) as u32,
            controller_age_ms: hold_and_age as u32,
            controller_beat: words.number(9),
            flags,
        }
    }

    /// Was it sent to a group?
    #[inline(always)]
    #[must_use]
    pub const fn is_multicast(&self) -> bool {
        self.flags & wire::FLAG_MULTICAST != 0
    }
}

#[cfg(test)]
mod tests;
