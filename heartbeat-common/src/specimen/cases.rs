//! Frames with what they are to the node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    faults::{FAULTS, FAULTY_NETWORKS},
    frame::{ETHERTYPE_VLAN, Frame, Message},
    world::{self, ELSEWHERE, IPV6, IPV6_TAGGED, OTHER_PEER, PEER, PLAIN, ROUTED, ROUTED_START, SECOND_KEY, TAGGED},
};
use crate::{
    ids,
    reject::Reject,
    wire::{self, FLAG_LEASE_LAPSED, FLAG_METRONOME},
};

/// A frame and what is expected of it.
pub struct Case {
    /// In test output.
    pub name: String,
    /// The frame.
    pub bytes: Vec<u8>,
    /// What it is.
    pub expected: Expected,
}

/// What is expected of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Passed on, uncounted.
    NotOurs,
    /// Dropped and counted.
    Refused(Reject),
    /// Booked on this link.
    Heartbeat(u32),
    /// Passed to userspace: link and kind.
    Control(u32, u8),
}

/// Every case.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = accepted();
    cases.extend(not_ours());
    cases.extend(single_faults());
    cases.extend(double_faults());
    cases.extend(control_faults());
    cases.extend(refused_beyond_faults());
    cases.extend(truncated());
    cases
}

fn case(name: impl Into<String>, frame: &Frame, expected: Expected) -> Case {
    Case { name: name.into(), bytes: frame.to_bytes(), expected }
}

fn accepted() -> Vec<Case> {
    let link = |network| Expected::Heartbeat(ids::link_index(PEER, network));
    let mut cases = Vec::new();
    for network in [PLAIN, IPV6, TAGGED, IPV6_TAGGED] {
        cases.push(case(format!("heartbeat on {network}"), &Frame::heartbeat(network, 42), link(network)));
        let control = |kind, body| Frame::unicast(network, Message::control(network, kind, body));
        for kind in [16, 17, 18, 20, 24, 28, 29, 30, 255] {
            let expected = Expected::Control(ids::link_index(PEER, network), kind);
            cases.push(case(format!("control {kind} on {network}"), &control(kind, vec![0; 40]), expected));
        }
        let expected = Expected::Control(ids::link_index(PEER, network), 16);
        cases.push(case(format!("empty control on {network}"), &control(16, Vec::new()), expected));
        let longest = wire::MESSAGE_LENGTH_MAX - wire::CONTROL_LENGTH_MIN;
        cases.push(case(format!("longest control on {network}"), &control(16, vec![7; longest]), expected));
    }
    for network in [IPV6, TAGGED] {
        let frame = Frame::group_heartbeat(network, 42);
        cases.push(case(format!("heartbeat to the group of {network}"), &frame, link(network)));
    }
    cases.push(case("routed", &Frame::heartbeat(ROUTED, ROUTED_START), link(ROUTED)));
    for time_to_live in [0, 1, 64, 254] {
        let frame = Frame { time_to_live, ..Frame::heartbeat(ROUTED, ROUTED_START) };
        cases.push(case(format!("routed, TTL {time_to_live}"), &frame, link(ROUTED)));
        let frame = Frame { time_to_live, ..Frame::heartbeat(IPV6_TAGGED, 1) };
        cases.push(case(format!("routed, hop limit {time_to_live}"), &frame, link(IPV6_TAGGED)));
    }
    let mut other = Message::heartbeat(PLAIN, 42);
    other.header.source = OTHER_PEER.to_be_bytes();
    let expected = Expected::Heartbeat(ids::link_index(OTHER_PEER, PLAIN));
    cases.push(case("another peer", &Frame::unicast(PLAIN, other), expected));
    for flags in [FLAG_LEASE_LAPSED, FLAG_METRONOME, FLAG_LEASE_LAPSED | FLAG_METRONOME] {
        let mut frame = Frame::heartbeat(PLAIN, 42);
        frame.message.header.flags = flags;
        cases.push(case(format!("flags {flags}"), &frame, link(PLAIN)));
    }
    let mut second = Frame::heartbeat(PLAIN, 42);
    second.message.header.key_id = 2;
    second.message.key = SECOND_KEY;
    cases.push(case("second key", &second, link(PLAIN)));
    for words in [1, 5, 10] {
        let frame = Frame { options: vec![1; words * 4], ..Frame::heartbeat(PLAIN, 42) };
        cases.push(case(format!("{words} words of IPv4 options"), &frame, link(PLAIN)));
        let frame = Frame { options: vec![1; words * 4], ..Frame::heartbeat(TAGGED, 42) };
        cases.push(case(format!("tagged, {words} words of IPv4 options"), &frame, link(TAGGED)));
    }
    cases.push(case("padding", &Frame { padding: 18, ..Frame::heartbeat(PLAIN, 42) }, link(PLAIN)));
    cases.push(case("other source port", &Frame { source_port: 1, ..Frame::heartbeat(PLAIN, 42) }, link(PLAIN)));
    cases.push(case("may be fragmented", &Frame { fragment: 0, ..Frame::heartbeat(PLAIN, 42) }, link(PLAIN)));
    let tags = vec![(ETHERTYPE_VLAN, 0xf000 | world::vlan(TAGGED))];
    cases.push(case("tag with priority and DEI", &Frame { tags, ..Frame::heartbeat(TAGGED, 42) }, link(TAGGED)));
    cases
}

fn not_ours() -> Vec<Case> {
    let mut frames: Vec<(&str, Frame)> = Vec::new();
    let plain = || Frame::heartbeat(PLAIN, 42);
    let six = || Frame::heartbeat(IPV6, 42);
    let tagged = || Frame::heartbeat(TAGGED, 42);
    let tag = |vlan| (ETHERTYPE_VLAN, vlan);
    let v4 = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    for (name, protocol) in [("TCP", 6), ("ICMP", 1), ("UDP-Lite", 136), ("SCTP", 132)] {
        frames.push((name, Frame { protocol, ..plain() }));
        frames.push((name, Frame { protocol, ..six() }));
        frames.push((name, Frame { protocol, ..tagged() }));
    }
    for port in [0, 3342, 3344, 0x0f0d, 53] {
        frames.push(("another port", Frame { destination_port: port, ..plain() }));
        frames.push(("another port", Frame { destination_port: port, ..six() }));
    }
    for ethertype in [0x0806, 0x88cc, 0x8847, 0x0000, 96] {
        frames.push(("another EtherType", Frame { ethertype: Some(ethertype), ..plain() }));
        frames.push(("another EtherType, tagged", Frame { ethertype: Some(ethertype), ..tagged() }));
    }
    for (name, fragment) in
        [("first fragment", 0x2000), ("middle fragment", 0x2010), ("last fragment", 0x0010), ("smallest offset", 1)]
    {
        frames.push((name, Frame { fragment, ..plain() }));
        frames.push((name, Frame { fragment, ..tagged() }));
    }
    for (name, kind) in
        [("hop-by-hop options", 0), ("routing header", 43), ("fragment header", 44), ("destination options", 60)]
    {
        frames.push((name, Frame { extension: Some((kind, vec![0; 8])), ..six() }));
    }
    frames.push(("priority tag", Frame { tags: vec![tag(0)], ..plain() }));
    frames.push(("priority tag with a priority", Frame { tags: vec![tag(0xe000)], ..plain() }));
    frames.push(("tag on the untagged network", Frame { tags: vec![tag(300)], ..plain() }));
    frames.push(("no tag on the tagged network", Frame { tags: Vec::new(), ..tagged() }));
    frames.push(("another tag", Frame { tags: vec![tag(301)], ..tagged() }));
    frames.push(("two tags", Frame { tags: vec![tag(300), tag(300)], ..tagged() }));
    frames.push(("two tags, the outer one of a provider", Frame { tags: vec![(0x88a8, 300), tag(300)], ..tagged() }));
    frames.push(("a provider's tag", Frame { tags: vec![(0x88a8, 300)], ..tagged() }));
    frames.push(("another interface", Frame::heartbeat(ELSEWHERE, 42)));
    frames.push(("a guest's address", Frame { destination: v4(10, 0, 1, 200), ..plain() }));
    frames.push(("broadcast", Frame { destination: v4(255, 255, 255, 255), ..plain() }));
    frames.push(("the address of another network's VLAN", Frame { destination: tagged().destination, ..plain() }));
    frames.push(("a group where there is none", Frame { destination: world::group(PLAIN), ..plain() }));
    frames.push(("another network's group", Frame { destination: world::group(TAGGED), ..plain() }));
    let other = IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0x1234, 0, 0xabcd, 0, 0, 200));
    frames.push(("a guest's IPv6 address", Frame { destination: other, ..six() }));
    let high = IpAddr::V6(Ipv6Addr::new(0xfd01, 2, 0x1234, 0, 0xabcd, 0, 0, 2));
    frames.push(("an address that differs in its first half", Frame { destination: high, ..six() }));
    for first_byte in [0x05, 0x55, 0x65, 0x44, 0x40] {
        frames.push(("an IPv4 header that is none", Frame { first_byte: Some(first_byte), ..plain() }));
    }
    for first_byte in [0x00, 0x45, 0x70] {
        frames.push(("an IPv6 header that is none", Frame { first_byte: Some(first_byte), ..six() }));
    }
    frames.push(("IPv4 EtherType before IPv6", Frame { ethertype: Some(0x0800), ..six() }));
    frames.push(("IPv6 EtherType before IPv4", Frame { ethertype: Some(0x86dd), ..plain() }));
    // A header longer than what is there: the port would lie in the payload.
    frames.push(("an IPv4 header of 60 bytes that has 20", Frame { first_byte: Some(0x4f), ..plain() }));
    let mut cases: Vec<Case> = frames.iter().map(|(name, frame)| case(*name, frame, Expected::NotOurs)).collect();
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x08, 0x06], &[0, 1, 8, 0, 6, 4, 0, 1], &[0; 38]].concat();
    cases.push(Case { name: "ARP".to_owned(), bytes: arp, expected: Expected::NotOurs });
    cases
}

fn single_faults() -> Vec<Case> {
    let mut cases = Vec::new();
    for (base, frame) in bases() {
        for fault in &FAULTS {
            let mut frame = frame.clone();
            (fault.apply)(&mut frame);
            cases.push(case(format!("{base}: {}", fault.name), &frame, Expected::Refused(fault.reason)));
        }
    }
    cases
}

/// Of two faults the earlier one is told.
fn double_faults() -> Vec<Case> {
    let mut cases = Vec::new();
    for (base, frame) in bases() {
        for one in &FAULTS {
            for other in FAULTS.iter().filter(|other| other.rank > one.rank && other.field != one.field) {
                let mut frame = frame.clone();
                (one.apply)(&mut frame);
                (other.apply)(&mut frame);
                let name = format!("{base}: {} and {}", one.name, other.name);
                cases.push(case(name, &frame, Expected::Refused(one.reason)));
            }
        }
    }
    cases
}

/// Frames without a fault, to unicast addresses and to groups.
fn bases() -> Vec<(String, Frame)> {
    let mut bases: Vec<(String, Frame)> = FAULTY_NETWORKS
        .into_iter()
        .map(|network| (format!("unicast on {network}"), Frame::heartbeat(network, 42)))
        .collect();
    for network in [IPV6, TAGGED] {
        bases.push((format!("multicast on {network}"), Frame::group_heartbeat(network, 42)));
    }
    bases
}

/// Control messages go through the same checks up to the tag.
fn control_faults() -> Vec<Case> {
    let mut cases = Vec::new();
    for network in FAULTY_NETWORKS {
        for fault in &FAULTS {
            // Lengths and kinds are those of heartbeats; incarnation and sequence are for userspace to judge.
            if matches!(fault.field, "kind" | "content" | "incarnation") {
                continue;
            }
            let mut frame = Frame::unicast(network, Message::control(network, 16, vec![1; 64]));
            (fault.apply)(&mut frame);
            let name = format!("control on {network}: {}", fault.name);
            cases.push(case(name, &frame, Expected::Refused(fault.reason)));
        }
        let longest = wire::MESSAGE_LENGTH_MAX - wire::CONTROL_LENGTH_MIN;
        let long = Frame::unicast(network, Message::control(network, 16, vec![1; longest + 1]));
        cases.push(case(format!("oversized control on {network}"), &long, Expected::Refused(Reject::Malformed)));
        let mut earlier = Frame::unicast(network, Message::control(network, 16, vec![1; 64]));
        earlier.message.header.incarnation = [0; 8];
        earlier.message.header.sequence = [0; 8];
        let expected = Expected::Control(ids::link_index(PEER, network), 16);
        cases.push(case(format!("control of any incarnation on {network}"), &earlier, expected));
    }
    cases
}

fn refused_beyond_faults() -> Vec<Case> {
    let refused = |name: &str, frame: &Frame, reason| case(name, frame, Expected::Refused(reason));
    let mut zero = Frame::heartbeat(PLAIN, 42);
    zero.message.header.incarnation = [0; 8];
    let mut both = Frame::heartbeat(ROUTED, ROUTED_START - 1);
    both.message.header.incarnation = [0; 8];
    // The multicast window of the plain network exists, but nothing reaches it: no group is configured.
    let mut to_all = Frame::heartbeat(PLAIN, 42);
    to_all.message.header.destination = [0, 0];
    // Both are peers, but each has an address of its own.
    let mut impostor = Frame::heartbeat(PLAIN, 42);
    impostor.message.header.source = OTHER_PEER.to_be_bytes();
    let mut stranger = Frame::heartbeat(IPV6, 42);
    stranger.message.header.source = OTHER_PEER.to_be_bytes();
    vec![
        refused("another peer's id", &impostor, Reject::WrongAddress),
        refused("a peer of another network", &stranger, Reject::UnknownPeer),
        refused("incarnation 0", &zero, Reject::WrongIncarnation),
        refused("incarnation before sequence", &both, Reject::WrongIncarnation),
        refused("to every node by unicast", &to_all, Reject::Destination),
        refused("sequence 0", &Frame::heartbeat(PLAIN, 0), Reject::Duplicate),
        refused("just before the start", &Frame::heartbeat(ROUTED, ROUTED_START - 1), Reject::Duplicate),
        refused("last of the window", &Frame::heartbeat(ROUTED, ROUTED_START - 64), Reject::Duplicate),
        refused("behind the window", &Frame::heartbeat(ROUTED, ROUTED_START - 65), Reject::TooOld),
        refused("sequence 0, long ago", &Frame::heartbeat(ROUTED, 0), Reject::TooOld),
    ]
}

/// Frames cut off at every length.
fn truncated() -> Vec<Case> {
    let mut cases = Vec::new();
    for (base, frame) in bases() {
        let bytes = frame.to_bytes();
        // The UDP header is read up to its length field; behind that a datagram is ours, and too short.
        let recognized = frame.udp_offset() + 6;
        for length in 0..bytes.len() {
            let expected = if length < recognized { Expected::NotOurs } else { Expected::Refused(Reject::Malformed) };
            let name = format!("{base}: {length} of {} bytes", bytes.len());
            cases.push(Case { name, bytes: bytes[..length].to_vec(), expected });
        }
    }
    cases
}
