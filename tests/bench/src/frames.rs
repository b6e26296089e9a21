//! Ethernet frames with heartbeats, signed, and with one thing wrong where a case asks for it.

use heartbeat_common::{auth, wire};

use crate::scene;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
/// Offset of the UDP payload.
pub(crate) const PAYLOAD: usize = ETHERNET + IPV4 + UDP;
/// Length of a frame with a heartbeat.
pub(crate) const LENGTH: usize = PAYLOAD + wire::HEARTBEAT_LENGTH;
/// Of the IPv4 header.
pub(crate) const PROTOCOL: usize = ETHERNET + 9;
/// Of the IPv4 header.
pub(crate) const TIME_TO_LIVE: usize = ETHERNET + 8;
/// Last byte of the destination address.
pub(crate) const DESTINATION_LAST: usize = ETHERNET + 19;
/// Of the UDP header.
pub(crate) const PORT: usize = ETHERNET + IPV4 + 2;
/// Protocol number of TCP.
pub(crate) const TCP: u8 = 6;

const CHECKSUM: usize = ETHERNET + 10;

/// What varies from heartbeat to heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beat {
    /// The sending peer.
    pub(crate) node: u16,
    /// The network.
    pub(crate) network: u8,
    /// Sequence number.
    pub(crate) sequence: u64,
    /// The sender's clock, nanoseconds.
    pub(crate) sent_ns: u64,
    /// Key slot that the header names; the tag is always of the one key.
    pub(crate) key_id: u8,
}

impl Beat {
    /// The first heartbeat of a peer.
    pub(crate) fn first(node: u16, network: u8) -> Self {
        Self { node, network, sequence: 1, sent_ns: 1_000_000, key_id: scene::KEY_SLOT }
    }
}

/// The heartbeat, signed, in a frame to the node under test. The UDP checksum is zero: none, as RFC 768 allows.
pub(crate) fn heartbeat(mac: [u8; 6], beat: Beat) -> [u8; LENGTH] {
    let mut frame = [0; LENGTH];
    frame[..6].copy_from_slice(&mac);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    frame[12..14].copy_from_slice(&[8, 0]);
    let ip_length = u16::try_from(LENGTH - ETHERNET).unwrap_or(0).to_be_bytes();
    frame[ETHERNET] = 0x45;
    frame[ETHERNET + 1] = wire::TRAFFIC_CLASS;
    frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&ip_length);
    frame[TIME_TO_LIVE] = wire::TIME_TO_LIVE;
    frame[PROTOCOL] = 17;
    frame[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&scene::address(beat.node, beat.network));
    frame[ETHERNET + 16..ETHERNET + 20].copy_from_slice(&scene::address(scene::NODE, beat.network));
    sign_ipv4(&mut frame);
    let udp = ETHERNET + IPV4;
    frame[udp..udp + 2].copy_from_slice(&wire::PORT.to_be_bytes());
    frame[udp + 2..udp + 4].copy_from_slice(&wire::PORT.to_be_bytes());
    let udp_length = u16::try_from(UDP + wire::HEARTBEAT_LENGTH).unwrap_or(0).to_be_bytes();
    frame[udp + 4..udp + 6].copy_from_slice(&udp_length);
    frame[PAYLOAD..].copy_from_slice(payload(beat).as_bytes());
    frame
}

fn payload(beat: Beat) -> wire::Heartbeat {
    let header = wire::Header {
        magic: wire::MAGIC,
        version: wire::VERSION,
        kind: wire::KIND_HEARTBEAT,
        flags: 0,
        key_id: beat.key_id,
        cluster_id: scene::CLUSTER.to_ne_bytes(),
        source: beat.node.to_be_bytes(),
        destination: scene::NODE.to_be_bytes(),
        network: beat.network,
        reserved: 0,
        length: u16::try_from(wire::HEARTBEAT_LENGTH).unwrap_or(0).to_be_bytes(),
        incarnation: scene::INCARNATION.to_be_bytes(),
        sequence: beat.sequence.to_be_bytes(),
        sent_ns: beat.sent_ns.to_be_bytes(),
        view: [0; 8],
    };
    let mut heartbeat = wire::Heartbeat {
        header,
        echo_sent_ns: beat.sent_ns.to_be_bytes(),
        echo_hold_us: 100_u32.to_be_bytes(),
        controller_age_ms: 3_u32.to_be_bytes(),
        controller_beat: beat.sequence.to_be_bytes(),
        tag: [0; 16],
    };
    let mut tagged = [0; wire::HEARTBEAT_TAGGED_LENGTH];
    tagged.copy_from_slice(&heartbeat.as_bytes()[..wire::HEARTBEAT_TAGGED_LENGTH]);
    heartbeat.tag = auth::tag_bytes(scene::key(), &tagged).to_bytes();
    heartbeat
}

/// Writes the checksum of the IPv4 header.
pub(crate) fn sign_ipv4(frame: &mut [u8; LENGTH]) {
    let checksum = ipv4_checksum(frame);
    frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum);
}

/// Checksum of the IPv4 header of a frame, in network byte order; RFC 1071.
pub(crate) fn ipv4_checksum(frame: &[u8; LENGTH]) -> [u8; 2] {
    let mut sum: u32 = 0;
    for (index, pair) in frame[ETHERNET..ETHERNET + IPV4].chunks_exact(2).enumerate() {
        // The field itself counts as zero.
        if index != 5 {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

#[cfg(test)]
mod tests {
    use heartbeat_common::frame;

    use super::*;

    #[test]
    fn a_frame_is_what_the_data_plane_looks_for() {
        let sent = heartbeat([2, 0, 0, 0, 0, 1], Beat::first(7, 2));
        let datagram = frame::locate(sent.as_slice()).expect("a datagram to our port");
        assert!(datagram.lengths_agree);
        assert_eq!(usize::from(datagram.payload_length), wire::HEARTBEAT_LENGTH);
        assert_eq!(datagram.source, frame::Address::from_bytes(&scene::address_record(scene::address(7, 2))));
        assert_eq!(datagram.time_to_live, wire::TIME_TO_LIVE);
    }

    #[test]
    fn the_header_with_its_checksum_sums_to_all_ones() {
        let sent = heartbeat([2, 0, 0, 0, 0, 1], Beat::first(200, 1));
        let mut sum: u32 =
            sent[ETHERNET..ETHERNET + IPV4].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        sum = (sum & 0xffff) + (sum >> 16);
        assert_eq!(sum, 0xffff);
    }
}
