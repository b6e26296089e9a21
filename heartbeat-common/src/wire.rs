//! Bytes on the wire, version 1 (docs/protocol.md).
//!
//! Fields are big-endian byte arrays: no padding, no alignment, no question of byte order.

use bytemuck::{Pod, Zeroable};

/// UDP port, destination and source.
pub const PORT: u16 = 3343;
/// First bytes of every datagram.
pub const MAGIC: [u8; 4] = *b"CLHB";
/// The only version.
pub const VERSION: u8 = 1;
/// TTL or hop limit on send; what a single-hop network demands on receipt (RFC 5082).
pub const TIME_TO_LIVE: u8 = 255;
/// Traffic class on send: DSCP CS6 (RFC 4594 section 3.1), in the upper six bits.
pub const TRAFFIC_CLASS: u8 = 0xc0;

/// Kind of a heartbeat.
pub const KIND_HEARTBEAT: u8 = 1;
/// Kinds from here on are control messages.
pub const KIND_CONTROL_FIRST: u8 = 16;
/// First message of the handshake that proves an incarnation.
pub const KIND_HELLO: u8 = 16;
/// Second message of the handshake.
pub const KIND_HELLO_ACK: u8 = 17;
/// Third message of the handshake.
pub const KIND_HELLO_DONE: u8 = 18;
/// First kind that obeys incarnation and sequence window.
pub const KIND_SEQUENCED_FIRST: u8 = 20;
/// A node announces that it has stopped acting.
pub const KIND_LEAVE: u8 = 29;

/// The sender's controller lease has lapsed.
pub const FLAG_LEASE_LAPSED: u8 = 1;
/// Sent to a multicast group.
pub const FLAG_MULTICAST: u8 = 1 << 1;
/// Sent by the in-kernel metronome.
pub const FLAG_METRONOME: u8 = 1 << 2;
/// Every flag that exists; the others must be zero.
pub const FLAGS_KNOWN: u8 = FLAG_LEASE_LAPSED | FLAG_MULTICAST | FLAG_METRONOME;

/// Length of the header that all kinds share.
pub const HEADER_LENGTH: usize = 56;
/// Length of a heartbeat, tag included.
pub const HEARTBEAT_LENGTH: usize = 96;
/// What the tag of a heartbeat covers.
pub const HEARTBEAT_TAGGED_LENGTH: usize = 80;
/// Length of a SipHash-2-4-128 tag.
pub const TAG_LENGTH: usize = 16;
/// Where the body of a control message begins: behind header and header tag.
pub const CONTROL_BODY_OFFSET: usize = HEADER_LENGTH + TAG_LENGTH;
/// Length of the HMAC-SHA256 that ends a control message.
pub const CONTROL_MAC_LENGTH: usize = 32;
/// Shortest control message: an empty body.
pub const CONTROL_LENGTH_MIN: usize = CONTROL_BODY_OFFSET + CONTROL_MAC_LENGTH;
/// Longest message: what fits an Ethernet frame of 1,500 bytes with an IPv6 header, so that nothing is ever
/// fragmented.
pub const MESSAGE_LENGTH_MAX: usize = 1500 - 40 - 8;
/// `echo_hold_us` that means: unknown.
pub const HOLD_UNKNOWN: u32 = u32::MAX;

/// The header of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// [`VERSION`].
    pub version: u8,
    /// [`KIND_HEARTBEAT`], or a control message from [`KIND_CONTROL_FIRST`] on.
    pub kind: u8,
    /// Bits of [`FLAGS_KNOWN`].
    pub flags: u8,
    /// Slot of the key that made the tag, 1..=4.
    pub key_id: u8,
    /// First 8 bytes of SHA-256 of the cluster's name.
    pub cluster_id: [u8; 8],
    /// Sending node, 1..=1024.
    pub source: [u8; 2],
    /// Receiving node; 0 is every node (multicast).
    pub destination: [u8; 2],
    /// Network, 1..=8.
    pub network: u8,
    /// Zero.
    pub reserved: u8,
    /// Length of the whole datagram, tags included.
    pub length: [u8; 2],
    /// The sender's incarnation.
    pub incarnation: [u8; 8],
    /// Counted per network, destination and class (heartbeat, control).
    pub sequence: [u8; 8],
    /// The sender's CLOCK_MONOTONIC, nanoseconds.
    pub sent_ns: [u8; 8],
    /// Number of the sender's view; 0 is none.
    pub view: [u8; 8],
}

/// A heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Heartbeat {
    /// The common header.
    pub header: Header,
    /// `sent_ns` of the newest heartbeat accepted from the destination on this network; 0 is none.
    pub echo_sent_ns: [u8; 8],
    /// Microseconds since that heartbeat arrived; [`HOLD_UNKNOWN`] is unknown.
    pub echo_hold_us: [u8; 4],
    /// Milliseconds since the sender's controller completed a pass, saturating.
    pub controller_age_ms: [u8; 4],
    /// Passes that the sender's controller completed.
    pub controller_beat: [u8; 8],
    /// SipHash-2-4-128 over the 80 bytes before it.
    pub tag: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == HEADER_LENGTH);
const _: () = assert!(size_of::<Heartbeat>() == HEARTBEAT_LENGTH);
const _: () = assert!(HEARTBEAT_TAGGED_LENGTH + TAG_LENGTH == HEARTBEAT_LENGTH);

impl Heartbeat {
    /// The bytes that go out.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HEARTBEAT_LENGTH] {
        bytemuck::cast_ref(self)
    }
}
