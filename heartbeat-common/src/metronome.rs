//! The metronome: a sender in the kernel, made of one packet that a queueing discipline lets through once in an interval.
//!
//! What it sends by and where ([`MetronomeRecord`], [`TargetRecord`]), what it did ([`MetronomeBooks`]), and how a heartbeat
//! is put together out of whole words, the same code in the kernel and in tests.

use bytemuck::{Pod, Zeroable};

use crate::{
    auth::{self, HeartbeatKey},
    wire,
};

/// Ethernet type of the packet that goes round: local experimental 1 (IEEE Std 802).
pub const SEED_ETHER_TYPE: u16 = 0x88b5;
/// Bytes at the start of the packet that say which seed it is.
pub const SEED_BYTES: usize = 24;
/// Ethernet header.
pub const ETHERNET_LENGTH: u32 = 14;
/// Length of a whole frame with an IPv4 heartbeat.
pub const FRAME_LENGTH_IPV4: u32 = ETHERNET_LENGTH + IPV4_LENGTH + UDP_LENGTH + wire::HEARTBEAT_LENGTH as u32;
/// Length of a whole frame with an IPv6 heartbeat: the shortest packet that can carry either.
pub const FRAME_LENGTH_IPV6: u32 = ETHERNET_LENGTH + IPV6_LENGTH + UDP_LENGTH + wire::HEARTBEAT_LENGTH as u32;
/// Ethernet and IPv4 header.
pub const HEADERS_IPV4: u32 = ETHERNET_LENGTH + IPV4_LENGTH;
/// Ethernet and IPv6 header.
pub const HEADERS_IPV6: u32 = ETHERNET_LENGTH + IPV6_LENGTH;
/// Words of UDP header and heartbeat.
pub const DATAGRAM_WORDS: usize = 1 + wire::HEARTBEAT_LENGTH / 8;

const IPV4_LENGTH: u32 = 20;
const IPV6_LENGTH: u32 = 40;
const UDP_LENGTH: u32 = 8;
const TAGGED_WORDS: usize = wire::HEARTBEAT_TAGGED_LENGTH / 8;

/// METRONOME: what the metronome sends by. Writer: userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MetronomeRecord {
    /// The one seed that goes round; 0 stops it, and no heartbeat leaves.
    pub seed: u64,
    /// Interface behind whose queueing discipline the packet waits.
    pub ifindex: u32,
    /// Length of the packet while it waits: what the queueing discipline paces by.
    pub length: u32,
    /// Entries of TARGETS in use.
    pub targets: u32,
    /// Targets of one lap; several laps make an interval where there are more.
    pub per_lap: u32,
    /// Slot of the key.
    pub key: u32,
    /// Zero.
    pub reserved: u32,
}

/// TARGETS: one destination. Writer: userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TargetRecord {
    /// Ethernet and IP header, then zeros. The destination's hardware address is in the first word as a whole, so that a
    /// change is never seen half.
    pub headers: [u64; 7],
    /// Index of the link.
    pub link: u32,
    /// Interface that the frame leaves by; 0 while the destination's hardware address is not known.
    pub ifindex: u32,
    /// Bits `TARGET_*`.
    pub flags: u32,
    /// One's complement sum of the pseudo header and the UDP header, in memory order, not folded.
    pub sum: u32,
}

/// The headers are IPv6.
pub const TARGET_IPV6: u32 = 1;
/// A multicast group: no echo, and the flag of the wire.
pub const TARGET_GROUP: u32 = 1 << 1;
/// Only in every other interval: a peer that the group reaches, for its echo.
pub const TARGET_ALTERNATE: u32 = 1 << 2;

/// METRONOME_BOOKS: what the metronome did. Writer: its programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MetronomeBooks {
    /// Laps completed.
    pub laps: u64,
    /// When the last one began, CLOCK_MONOTONIC nanoseconds.
    pub lap_ns: u64,
    /// First target of the next lap.
    pub cursor: u64,
    /// Rounds through all targets begun.
    pub rounds: u64,
    /// When the last round began.
    pub round_ns: u64,
    /// Longest time between the begins of two rounds since the last seeding, nanoseconds.
    pub longest_gap_ns: u64,
    /// Heartbeats handed to an interface.
    pub sent: u64,
    /// Heartbeats that an interface refused.
    pub failed: u64,
    /// Heartbeats not sent because the destination's hardware address was not known.
    pub unresolved: u64,
    /// Frames that are not the packet, dropped before they took its turn.
    pub foreign: u64,
    /// Packets of another seed, dropped.
    pub stale: u64,
    /// Laps after which the packet could not be restored: lost.
    pub broken: u64,
    /// Seed of the last lap.
    pub seed: u64,
}

/// The first words of the packet with this seed: addresses that nobody has, the type, and the seed.
#[inline(always)]
#[must_use]
pub const fn seed_words(seed: u64) -> [u64; 3] {
    let [high, low] = SEED_ETHER_TYPE.to_be_bytes();
    let [m, a, g, i] = wire::MAGIC;
    [
        // Locally administered addresses (IEEE Std 802).
        u64::from_ne_bytes([2, 0, m, a, g, i, 2, 1]),
        u64::from_ne_bytes([m, a, g, i, high, low, 0, 0]),
        seed,
    ]
}

/// What a heartbeat says, in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bits `FLAG_*`.
    pub flags: u8,
    /// Slot of the key.
    pub key_id: u8,
    /// Cluster id as it stands in memory.
    pub cluster_id: u64,
    /// Sending node.
    pub source: u16,
    /// Receiving node.
    pub destination: u16,
    /// Network.
    pub network: u8,
    /// Own incarnation.
    pub incarnation: u64,
    /// Sequence number.
    pub sequence: u64,
    /// CLOCK_MONOTONIC nanoseconds.
    pub sent_ns: u64,
    /// Number of the view.
    pub view: u64,
    /// `sent_ns` of the newest heartbeat of the destination.
    pub echo_sent_ns: u64,
    /// How long it has been here, microseconds.
    pub echo_hold_us: u32,
    /// Age of the controller's last pass, milliseconds.
    pub controller_age_ms: u32,
    /// Passes of the controller.
    pub controller_beat: u64,
}

/// UDP header and heartbeat, tag and checksum included, as the words stand in memory. `sum` is [`TargetRecord::sum`].
#[inline(always)]
#[must_use]
pub fn datagram(content: &Content, key: HeartbeatKey, sum: u32) -> [u64; DATAGRAM_WORDS] {
    let mut words = [0; DATAGRAM_WORDS];
    let [m, a, g, i] = wire::MAGIC;
    words[1] = u64::from_ne_bytes([m, a, g, i, wire::VERSION, wire::KIND_HEARTBEAT, content.flags, content.key_id]);
    words[2] = content.cluster_id;
    let place = u64::from(content.source) << 48
        | u64::from(content.destination) << 32
        | u64::from(content.network) << 24
        | wire::HEARTBEAT_LENGTH as u64;
    words[3] = place.to_be();
    words[4] = content.incarnation.to_be();
    words[5] = content.sequence.to_be();
    words[6] = content.sent_ns.to_be();
    words[7] = content.view.to_be();
    words[8] = content.echo_sent_ns.to_be();
    words[9] = (u64::from(content.echo_hold_us) << 32 | u64::from(content.controller_age_ms)).to_be();
    words[10] = content.controller_beat.to_be();
    let tag = auth::tag::<TAGGED_WORDS>(key, |index| words[index + 1]);
    words[11] = tag.0;
    words[12] = tag.1;
    let mut total = u64::from(sum);
    let mut index = 1;
    while index < DATAGRAM_WORDS {
        total += (words[index] & 0xffff_ffff) + (words[index] >> 32);
        index += 1;
    }
    let [c, d] = checksum(total).to_ne_bytes();
    let [e, f] = wire::PORT.to_be_bytes();
    let [x, y] = (UDP_LENGTH as u16 + wire::HEARTBEAT_LENGTH as u16).to_be_bytes();
    words[0] = u64::from_ne_bytes([e, f, e, f, x, y, c, d]);
    words
}

/// Folds a sum of 16-bit or 32-bit words in memory order to the checksum of RFC 1071, in memory order; never 0, which
/// would mean "none" in UDP.
#[inline(always)]
#[must_use]
pub const fn checksum(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let folded = !(sum as u16);
    if folded == 0 { 0xffff } else { folded }
}

/// Sum of 16-bit words in memory order, for [`checksum`]; an odd last byte is left out.
#[must_use]
pub fn sum_of(bytes: &[u8]) -> u64 {
    let (pairs, _odd) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u64::from(u16::from_ne_bytes(*pair))).sum()
}

const _: () = assert!(size_of::<MetronomeRecord>() == 32);
const _: () = assert!(size_of::<TargetRecord>() == 72);
const _: () = assert!(size_of::<MetronomeBooks>() == 104);
const _: () = assert!(SEED_BYTES == size_of::<[u64; 3]>());

#[cfg(test)]
mod tests {
    use bytemuck::cast_slice;

    use super::*;

    fn content() -> Content {
        Content {
            flags: 0,
            key_id: 1,
            cluster_id: u64::from_ne_bytes([0x2a, 0x97, 0x51, 0x6c, 0x35, 0x4b, 0x68, 0x84]),
            source: 1,
            destination: 2,
            network: 1,
            incarnation: 1_700_000_000_000_000_000,
            sequence: 42,
            sent_ns: 123_456_789,
            view: 7,
            echo_sent_ns: 987_654_321,
            echo_hold_us: 250,
            controller_age_ms: 3,
            controller_beat: 99,
        }
    }

    /// The test vector of docs/protocol.md.
    #[test]
    fn words_are_the_bytes_of_the_protocol() {
        let key = HeartbeatKey::from_bytes([
            0xce, 0x81, 0x5f, 0xd4, 0x9a, 0x6d, 0xeb, 0x4c, 0x3d, 0xe8, 0x22, 0xe0, 0x17, 0x18, 0x67, 0x05,
        ]);
        let words = datagram(&content(), key, 0);
        let bytes: &[u8] = cast_slice(&words);
        assert_eq!(&bytes[..6], &[0x0d, 0x0f, 0x0d, 0x0f, 0, 104]);
        let vector = [
            0x43, 0x4c, 0x48, 0x42, 0x01, 0x01, 0x00, 0x01, 0x2a, 0x97, 0x51, 0x6c, 0x35, 0x4b, 0x68, 0x84, 0x00, 0x01,
            0x00, 0x02, 0x01, 0x00, 0x00, 0x60, 0x17, 0x97, 0x9c, 0xfe, 0x36, 0x2a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x2a, 0x00, 0x00, 0x00, 0x00, 0x07, 0x5b, 0xcd, 0x15, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x3a, 0xde, 0x68, 0xb1, 0x00, 0x00, 0x00, 0xfa, 0x00, 0x00, 0x00, 0x03,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x63, 0x14, 0xb0, 0x0a, 0x01, 0xce, 0x23, 0xec, 0xd7, 0x9d, 0x09,
            0xce, 0xdb, 0x71, 0x50, 0x2f, 0x1c,
        ];
        assert_eq!(&bytes[8..], &vector[..]);
    }

    /// RFC 1071: with the checksum in place the sum over everything is all ones.
    #[test]
    fn the_checksum_closes_the_sum() {
        let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 104];
        let header = [0x0d, 0x0f, 0x0d, 0x0f, 0, 104, 0, 0];
        let sum = sum_of(&pseudo) + sum_of(&header);
        for sequence in 0..2_000 {
            let content = Content { sequence, ..content() };
            let words = datagram(&content, HeartbeatKey::from_bytes([7; 16]), sum as u32);
            let mut total = sum_of(&pseudo) + sum_of(cast_slice(&words));
            while total > 0xffff {
                total = (total & 0xffff) + (total >> 16);
            }
            assert_eq!(total, 0xffff, "sequence {sequence}");
        }
    }

    #[test]
    fn a_checksum_is_never_absent() {
        assert_eq!(checksum(0xffff), 0xffff);
        assert_eq!(checksum(u64::MAX), 0xffff);
        assert_eq!(checksum(0), 0xffff);
    }
}
