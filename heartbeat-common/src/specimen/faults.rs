//! One fault for each way in which a datagram that is addressed to us can be wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    frame::{Content, Frame},
    world::{ABSENT, IPV6, PLAIN, ROUTED, TAGGED},
};
use crate::{ids, reject::Reject, wire};

/// One way to be wrong.
#[derive(Clone, Copy)]
pub struct Fault {
    /// In test output.
    pub name: &'static str,
    /// What the datagram is refused for.
    pub reason: Reject,
    /// Place in the order of the checks: of two faults, the one with the smaller rank is reported.
    pub rank: u8,
    /// Faults of the same field cannot be combined.
    pub field: &'static str,
    /// Puts it into a frame that is right.
    pub apply: fn(&mut Frame),
}

/// A source address that nobody has.
fn stranger(frame: &Frame) -> IpAddr {
    if frame.source.is_ipv6() {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xbad, 0, 0, 0, 0, 0, 1))
    } else {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))
    }
}

/// Another address that differs from the right one in the last bits only.
fn neighbour(frame: &Frame) -> IpAddr {
    match frame.source {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) ^ 0x80).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) ^ 0x8000).into()),
    }
}

/// A network of this node other than the frame's.
fn other_network(frame: &Frame) -> u8 {
    if frame.message.header.network == PLAIN { ROUTED } else { PLAIN }
}

macro_rules! fault {
    ($name:literal, $reason:ident, $rank:literal, $field:literal, $apply:expr) => {
        Fault { name: $name, reason: Reject::$reason, rank: $rank, field: $field, apply: $apply }
    };
}

/// Every fault, in the order of the checks.
pub const FAULTS: [Fault; 47] = [
    fault!("UDP length beyond the IP length", Malformed, 0, "udp_length", |frame| frame.udp_length = Some(300)),
    fault!("UDP length short of the IP length", Malformed, 0, "udp_length", |frame| frame.udp_length = Some(103)),
    fault!("UDP length below its header", Malformed, 0, "udp_length", |frame| frame.udp_length = Some(7)),
    fault!("UDP length 0", Malformed, 0, "udp_length", |frame| frame.udp_length = Some(0)),
    fault!("IP length too long", Malformed, 0, "ip_length", |frame| frame.ip_length = Some(1_000)),
    fault!("IP length 0", Malformed, 0, "ip_length", |frame| frame.ip_length = Some(0)),
    fault!("magic", Malformed, 0, "magic", |frame| frame.message.header.magic = *b"CLHC"),
    fault!("no magic", Malformed, 0, "magic", |frame| frame.message.header.magic = [0; 4]),
    fault!("length field too long", Malformed, 0, "length", |frame| frame.message.length = Some(97)),
    fault!("length field too short", Malformed, 0, "length", |frame| frame.message.length = Some(95)),
    fault!("length field 0", Malformed, 0, "length", |frame| frame.message.length = Some(0)),
    fault!("length field byte-swapped", Malformed, 0, "length", |frame| frame.message.length = Some(0x6000)),
    fault!("version 0", Version, 1, "version", |frame| frame.message.header.version = 0),
    fault!("version 2", Version, 1, "version", |frame| frame.message.header.version = 2),
    fault!("flag bit 3", Malformed, 2, "flags", |frame| frame.message.header.flags |= 1 << 3),
    fault!("flag bit 7", Malformed, 2, "flags", |frame| frame.message.header.flags |= 1 << 7),
    fault!("reserved byte", Malformed, 2, "reserved", |frame| frame.message.header.reserved = 1),
    fault!("kind 0", Malformed, 2, "kind", |frame| frame.message.header.kind = 0),
    fault!("kind 2", Malformed, 2, "kind", |frame| frame.message.header.kind = 2),
    fault!("kind 15", Malformed, 2, "kind", |frame| frame.message.header.kind = 15),
    fault!("control kind as short as a heartbeat", Malformed, 2, "kind", |frame| {
        frame.message.header.kind = wire::KIND_HELLO;
    }),
    fault!("heartbeat as long as a control message", Malformed, 2, "content", |frame| {
        frame.message.content = Content::Control(Vec::new());
    }),
    fault!("another cluster", Cluster, 3, "cluster", |frame| frame.message.header.cluster_id[7] ^= 1),
    fault!("cluster 0", Cluster, 3, "cluster", |frame| frame.message.header.cluster_id = [0; 8]),
    fault!("to another node", Destination, 4, "destination", |frame| frame.message.header.destination = [0, 3]),
    fault!("to a node 256 further", Destination, 4, "destination", |frame| frame.message.header.destination = [1, 2]),
    fault!("multicast and unicast mixed up", Destination, 4, "flags", |frame| {
        frame.message.header.flags ^= wire::FLAG_MULTICAST;
    }),
    fault!("source 0", UnknownPeer, 5, "source", |frame| frame.message.header.source = [0, 0]),
    fault!("source 1025", UnknownPeer, 5, "source", |frame| frame.message.header.source = 1025_u16.to_be_bytes()),
    fault!("source 65535", UnknownPeer, 5, "source", |frame| frame.message.header.source = [255, 255]),
    fault!("network 0", UnknownPeer, 5, "network", |frame| frame.message.header.network = 0),
    fault!("network 9", UnknownPeer, 5, "network", |frame| frame.message.header.network = ids::MAX_NETWORK + 1),
    fault!("network 255", UnknownPeer, 5, "network", |frame| frame.message.header.network = 255),
    fault!("another network of ours", WrongInterface, 6, "network", |frame| {
        frame.message.header.network = other_network(frame);
    }),
    fault!("a network that we do not have", WrongInterface, 6, "network", |frame| {
        frame.message.header.network = ABSENT;
    }),
    fault!("source beyond the maps", UnknownPeer, 7, "source", |frame| {
        frame.message.header.source = ids::MAX_NODE.to_be_bytes();
    }),
    fault!("source that is not configured", UnknownPeer, 7, "source", |frame| {
        // We are no peer of ours.
        frame.message.header.source = super::world::OWN_NODE.to_be_bytes();
    }),
    fault!("a stranger's address", WrongAddress, 8, "source_address", |frame| frame.source = stranger(frame)),
    fault!("the next address", WrongAddress, 8, "source_address", |frame| frame.source = neighbour(frame)),
    fault!("TTL 254", Ttl, 9, "ttl", |frame| frame.time_to_live = 254),
    fault!("TTL 64", Ttl, 9, "ttl", |frame| frame.time_to_live = 64),
    fault!("empty key slot", UnknownKey, 10, "key", |frame| frame.message.header.key_id = 3),
    fault!("key slot 0", UnknownKey, 10, "key", |frame| frame.message.header.key_id = 0),
    fault!("key slot 255", UnknownKey, 10, "key", |frame| frame.message.header.key_id = 255),
    fault!("the other key's tag", BadTag, 11, "key", |frame| frame.message.header.key_id = 2),
    fault!("a flipped bit in the tag", BadTag, 11, "tag", |frame| frame.message.tag_flip = Some(127)),
    fault!("an earlier incarnation", WrongIncarnation, 12, "incarnation", |frame| {
        let earlier = super::world::INCARNATION - 1;
        frame.message.header.incarnation = earlier.to_be_bytes();
    }),
];

/// Networks whose frames take every fault: single hop.
pub const FAULTY_NETWORKS: [u8; 3] = [PLAIN, IPV6, TAGGED];
