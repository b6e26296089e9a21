//! Bodies of control messages, written byte by byte after docs/protocol.md, with what tshark has to show of each.

use std::collections::BTreeMap;

use heartbeat_common::{auth::HeartbeatKey, specimen::world, wire};
use heartbeat_membership::message::{
    Answer, Hello, Join, Kind, Leave, Poison,
    connectivity::{Connectivity, NetworkStates},
    regroup::Regroup,
};
use heartbeat_user::control::{Envelope, Signer};

use crate::{
    number,
    tshark::{Capture, script},
};

/// A body, and the values of its fields in their order.
#[derive(Default)]
struct Body {
    kind: u8,
    bytes: Vec<u8>,
    expected: BTreeMap<String, Vec<String>>,
}

impl Body {
    fn of(kind: Kind) -> Self {
        Self { kind: kind.byte(), ..Self::default() }
    }

    fn expect(&mut self, name: &str, value: String) {
        self.expected.entry(format!("clhb.{name}")).or_default().push(value);
    }

    /// A number of `size` bytes.
    fn number(&mut self, name: &str, size: usize, value: u64) -> &mut Self {
        self.bytes.extend(&value.to_be_bytes()[8 - size..]);
        self.expect(name, value.to_string());
        self
    }

    fn octets(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self.expect(name, hex::encode(bytes));
        self
    }

    fn mask(&mut self, name: &str, size: usize, nodes: &[usize]) -> &mut Self {
        let mut mask = vec![0_u8; size];
        for node in nodes {
            mask[(node - 1) / 8] |= 1 << ((node - 1) % 8);
        }
        self.bytes.extend(mask);
        self.expect(name, nodes.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
        self
    }

    fn reserved(&mut self, size: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len() + size, 0);
        self
    }

    /// A bit of the flags that were written last.
    fn bit(&mut self, name: &str, is_set: bool) -> &mut Self {
        self.expect(name, is_set.to_string());
        self
    }

    fn statement(&mut self) -> &mut Self {
        self.number("hello.incarnation", 8, 1_700_000_000_000_000_000).number("hello.receiver_incarnation", 8, 17);
        self.number("hello.highest_incarnation", 8, 18).number("hello.abi", 4, 7);
        self.number("hello.flags", 4, 1).bit("hello.flags.in_view", true);
        self.octets("hello.config_digest", &[0xc1; 32]).octets("hello.staged_digest", &[0x57; 32])
    }

    fn message(&self) -> Vec<u8> {
        let signer = Signer {
            cluster_id: world::CLUSTER_ID,
            node: world::PEER,
            key_id: 1,
            heartbeat_key: HeartbeatKey::from_bytes([1; 16]),
            control_key: [2; 32],
        };
        let envelope = Envelope {
            kind: self.kind,
            destination: world::OWN_NODE,
            network: world::PLAIN,
            incarnation: world::INCARNATION,
            sequence: 5,
            sent_ns: 6,
            view: 7,
        };
        let mut message = Vec::new();
        signer.seal(&envelope, &self.bytes, &mut message).unwrap();
        message
    }
}

fn handshake(kind: Kind) -> Body {
    let mut body = Body::of(kind);
    body.octets("hello.challenge", &[0xa1; 16]);
    if kind != Kind::Hello {
        body.octets("hello.answer", &[0xb2; 16]);
    }
    body.statement();
    if kind != Kind::Hello {
        body.number("networks", 1, 2).reserved(7);
        for network in [1, 8] {
            body.number("hello.next.network", 1, network).reserved(7);
            body.number("hello.next.unicast", 8, 100 + network).number("hello.next.multicast", 8, 200 + network);
            body.number("hello.next.control", 8, u64::MAX - network);
        }
    }
    body
}

fn connectivity() -> Body {
    let mut body = Body::of(Kind::Connectivity);
    body.number("connectivity.view", 8, 7).number("connectivity.version", 8, 3);
    body.number("networks", 1, 2).number("mask_length", 1, 2).reserved(6);
    for (network, flags, nodes) in [(1, 2, [1, 9]), (8, 5, [1, 16])] {
        body.number("connectivity.network", 1, network).number("connectivity.flags", 1, flags);
        for (bit, name) in ["broken", "asked", "answered"].into_iter().enumerate() {
            body.bit(&format!("connectivity.flags.{name}"), flags & 1 << bit != 0);
        }
        body.mask("connectivity.hears", 2, &nodes);
    }
    body.octets("connectivity.staged_digest", &[0x57; 32]);
    body
}

fn regroup() -> Body {
    let mut body = Body::of(Kind::Regroup);
    body.number("regroup.sequence", 8, 12).number("regroup.base_view", 8, 3).octets("regroup.base_digest", &[3; 16]);
    body.number("regroup.stage", 1, 3).number("regroup.reason", 1, 8).number("regroup.flags", 1, 7);
    for name in ["reply", "decided", "forced"] {
        body.bit(&format!("regroup.flags.{name}"), true);
    }
    body.number("mask_length", 1, 2).number("regroup.trigger", 2, 4).number("regroup.joiner", 2, 9);
    body.number("regroup.joiner_incarnation", 8, 77).number("regroup.epoch", 4, 2);
    body.number("regroup.masks", 1, 0x7f).reserved(3).number("regroup.bound", 8, 4);
    body.number("regroup.decided_view", 8, 5).octets("regroup.decided_digest", &[5; 16]);
    body.number("regroup.decider", 2, 1)
        .number("regroup.row_count", 2, 2)
        .number("regroup.age_count", 2, 1)
        .reserved(2);
    body.mask("regroup.reached_pruning", 2, &[1, 2, 3]).mask("regroup.reached_cleanup_1", 2, &[1, 2]);
    body.mask("regroup.reached_cleanup_2", 2, &[1]).mask("regroup.reached_stabilized", 2, &[3]);
    body.mask("regroup.left", 2, &[16]).mask("regroup.may_form", 2, &[8, 9]).mask("regroup.members", 2, &[1, 2, 3]);
    body.number("regroup.age.node", 2, 4).number("regroup.age.ns", 8, 123_456_789);
    for (node, hears) in [(1, [1, 2, 3]), (2, [1, 2, 9])] {
        body.number("regroup.row.node", 2, node).mask("regroup.row.hears", 2, &hears);
    }
    body.mask("regroup.age.heard_on", 1, &[2, 8]).octets("regroup.config_digest", &[9; 32]);
    body.number("regroup.weak_count", 2, 1).number("regroup.weak.node", 2, 2).mask("regroup.weak.hears", 2, &[1]);
    body
}

fn small() -> [Body; 3] {
    let mut join = Body::of(Kind::Join);
    join.number("join.incarnation", 8, 99).number("join.sequence", 8, 12).number("join.epoch", 4, 2);
    join.number("mask_length", 1, 128).reserved(3).mask("join.hears", 128, &[1, 1024]);
    let mut leave = Body::of(Kind::Leave);
    leave.number("leave.incarnation", 8, 1_700_000_000_000_000_000);
    let mut poison = Body::of(Kind::Poison);
    poison.number("poison.incarnation", 8, 99).number("poison.view", 8, 5).octets("poison.digest", &[5; 16]);
    [join, leave, poison]
}

fn network_states() -> Body {
    let mut body = Body::of(Kind::NetworkStates);
    body.number("states.view", 8, 7).number("states.version", 8, 3);
    body.number("networks", 1, 2).number("mask_length", 1, 1).reserved(6);
    for (network, state) in [(1, 3), (2, 2)] {
        body.number("states.network", 1, network).number("states.state", 1, state);
        body.mask("states.up", 1, &[1, 2]).mask("states.unreachable", 1, &[3]).mask("states.failed", 1, &[8]);
    }
    body
}

/// One of every kind.
fn bodies() -> Vec<Body> {
    let mut bodies: Vec<Body> = [Kind::Hello, Kind::HelloAck, Kind::HelloDone].map(handshake).into();
    bodies.extend([connectivity(), regroup()]);
    bodies.extend(small());
    bodies.push(network_states());
    bodies
}

/// One message of every kind.
pub(crate) fn messages() -> Vec<Vec<u8>> {
    bodies().iter().map(Body::message).collect()
}

/// An Ethernet frame with any datagram to port 3343.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = |head: usize| u16::try_from(payload.len() + head).unwrap().to_be_bytes();
    let port = wire::PORT.to_be_bytes();
    let mut bytes = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45, wire::TRAFFIC_CLASS];
    bytes.extend(length(28));
    bytes.extend([0x12, 0x34, 0x40, 0, wire::TIME_TO_LIVE, 17, 0, 0, 10, 0, 1, 1, 10, 0, 1, 2]);
    bytes.extend([port, port, length(8), [0, 0]].concat());
    bytes.extend(payload);
    bytes
}

#[test]
fn every_field_of_every_body_is_named_and_as_it_was_sent() {
    let bodies = bodies();
    let mut kinds: Vec<u8> = bodies.iter().map(|body| body.kind).collect();
    kinds.sort_unstable();
    let existing: Vec<u8> = (0..=u8::MAX).filter(|kind| Kind::from_byte(*kind).is_some()).collect();
    assert_eq!(kinds, existing, "one body of every kind that exists");

    let mut names: Vec<&str> = bodies.iter().flat_map(|body| body.expected.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let faults = ["clhb.body.unknown", "clhb.ends_early", "clhb.refused"];
    names.extend(faults);
    names.extend(["clhb.kind", "clhb.tag", "clhb.mac"]);
    let capture = Capture::in_order(bodies.iter().map(|body| frame(&body.message())));
    for (body, shown) in bodies.iter().zip(capture.fields(&names)) {
        assert_eq!(number(&shown["clhb.kind"][0]), Some(body.kind.into()));
        let message = body.message();
        assert_eq!(shown["clhb.tag"][0].replace(':', ""), hex::encode(&message[56..72]));
        assert_eq!(shown["clhb.mac"][0].replace(':', ""), hex::encode(&message[message.len() - 32..]));
        for (name, expected) in &body.expected {
            let values: Vec<String> =
                shown[name].iter().zip(expected).map(|(value, as_sent)| like(value, as_sent)).collect();
            assert_eq!((&values, shown[name].len()), (expected, expected.len()), "{name} of kind {}", body.kind);
        }
        let others = names.iter().filter(|name| !["clhb.kind", "clhb.tag", "clhb.mac"].contains(name));
        for name in others.filter(|name| !body.expected.contains_key(**name)) {
            assert!(shown[*name].is_empty(), "{name} of kind {}: {:?}", body.kind, shown[*name]);
        }
    }
}

/// What tshark prints, in the form of what was sent.
fn like(value: &str, as_sent: &str) -> String {
    match (as_sent, value) {
        ("true" | "false", "1" | "True") => "true".to_owned(),
        ("true" | "false", "0" | "False") => "false".to_owned(),
        _ => value
            .strip_prefix("0x")
            .and_then(|_| number(value))
            .map_or_else(|| value.replace(':', ""), |n| n.to_string()),
    }
}

/// The bodies above are what the core takes: else the test above would compare two mistakes.
#[test]
fn the_core_takes_these_bodies() {
    for body in bodies() {
        let bytes = &body.bytes;
        let outcome = match Kind::from_byte(body.kind).unwrap() {
            Kind::Hello => Hello::decode(bytes).map(drop),
            Kind::HelloAck | Kind::HelloDone => Answer::decode(bytes).map(drop),
            Kind::Connectivity => Connectivity::decode(bytes).map(drop),
            Kind::Regroup => Regroup::decode(bytes).map(drop),
            Kind::Join => Join::decode(bytes).map(drop),
            Kind::Leave => Leave::decode(bytes).map(drop),
            Kind::Poison => Poison::decode(bytes).map(drop),
            Kind::NetworkStates => NetworkStates::decode(bytes).map(drop),
        };
        assert_eq!(outcome, Ok(()), "kind {}", body.kind);
    }
}

#[test]
fn every_kind_has_the_name_of_the_document() {
    let (_, section) = crate::PROTOCOL.split_once("\n## Kinds\n").unwrap();
    let rows = section.split("\n#").next().unwrap().lines().filter(|line| line.starts_with("| ")).skip(1);
    let listed: Vec<(u8, &str)> = rows
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
        .map(|row| (row[0].parse().unwrap(), row[1]))
        .collect();
    assert!(listed.len() >= 10);
    let frames = listed.iter().map(|(kind, _)| frame(&Body { kind: *kind, ..Body::default() }.message()));
    let columns = Capture::in_order(frames).columns(Some(&script()));
    for ((kind, name), shown) in listed.iter().zip(columns) {
        assert!(shown.starts_with(&format!("CLHB {name} 1 > 2")), "{kind}: {shown}");
    }
}
