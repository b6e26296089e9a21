//! Every reason to refuse, through real packets: its counter moves, and nothing else does.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bytemuck::Zeroable as _;
use heartbeat_common::{
    records::LinkRecord,
    reject::Reject,
    wire::{Header, KIND_LEAVE},
};
use heartbeat_tests::{
    clock::monotonic_ns,
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST, LINK_RESTORED},
    topology::TopologySpec,
};
use heartbeat_user::control::Envelope;

use crate::{
    frames::{Captured, Datagram, Forger, PAYLOAD},
    nodes::{PATIENCE, REJECT_BURST, is_network_state, link, prepared, spec, start_all, status},
    packets::{Packets, mac},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(50);
/// More than the sequence window remembers.
const CAPTURED: usize = 70;
/// Of each bad datagram so many: a counter that moves by one could have moved by chance.
const COPIES: u64 = 3;

/// Node 1, on whose first network node 2 is not heard any more: what its link record says stands still, and whatever
/// claims to be from node 2 comes from us.
struct Target {
    cluster: Cluster,
    outside: Packets,
    mac: [u8; 6],
    forger: Forger,
    genuine: Vec<Captured>,
    place: usize,
    /// Records are in pinned maps; with sockets, `status` has to do.
    is_pinned: bool,
}

impl Target {
    fn new(dataplane: &str) -> Self {
        let spec = ClusterSpec { dataplane: Some(dataplane.to_owned()), ..spec(INTERVAL) };
        let mut cluster = prepared(TopologySpec::new(3, 2), &spec);
        let capture = Packets::open(cluster.topology().network(1), "alpha");
        start_all(&mut cluster);
        let is_heartbeat = |frame: &[u8]| {
            Captured::parse(frame).is_some_and(|message| message.header.kind == 1 && message.is_between(2, 1))
        };
        let frames = capture.collect(CAPTURED, Duration::from_secs(30), is_heartbeat);
        let place = cluster.events().len();
        cluster.topology().cut_one_way(1, 2, 1).unwrap();
        let lost = |event: &Event| event.id() == LINK_LOST && is_about_the_link(event);
        cluster.events().wait_for(place, PATIENCE, "1123 of the cut", lost).unwrap();
        // The port of node 1 shows what passed the cut, so the last one is the last that was accepted.
        let frames = [frames, capture.drain(is_heartbeat)].concat();
        let genuine: Vec<_> = frames.iter().filter_map(|frame| Captured::parse(frame)).collect();
        let outside = Packets::open(cluster.topology().network(1), "bridge");
        let mac = mac(cluster.topology().node(1), "private");
        let forger = Forger::new(&cluster, 2);
        let place = cluster.events().len();
        Self { cluster, outside, mac, forger, genuine, place, is_pinned: dataplane != "socket" }
    }

    fn datagram(&self, payload: Vec<u8>) -> Datagram {
        let topology = self.cluster.topology();
        let (source, destination) = (topology.address(2, 1), topology.address(1, 1));
        Datagram { destination_mac: self.mac, source, destination, time_to_live: 255, port: 3343, payload }
    }

    /// A heartbeat that would be accepted.
    fn next(&self) -> Envelope {
        let newest = self.genuine.last().unwrap();
        Envelope {
            kind: 1,
            destination: 1,
            network: 1,
            incarnation: newest.incarnation(),
            sequence: newest.sequence() + 1,
            sent_ns: monotonic_ns(),
            view: 0,
        }
    }

    fn with_header(&self, change: impl FnOnce(&mut Header)) -> Vec<u8> {
        self.datagram(self.forger.heartbeat(&self.next(), change)).frame()
    }

    fn with_payload(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut payload = self.forger.heartbeat(&self.next(), |_| {});
        change(&mut payload);
        self.datagram(payload).frame()
    }

    fn with_datagram(&self, change: impl FnOnce(&mut Datagram)) -> Vec<u8> {
        let mut datagram = self.datagram(self.forger.heartbeat(&self.next(), |_| {}));
        change(&mut datagram);
        datagram.frame()
    }

    fn counters(&self) -> Vec<u64> {
        let status = status(&self.cluster, 1);
        Reject::ALL.iter().map(|reason| status["rejects"][reason.name()].as_u64().unwrap()).collect()
    }

    fn record(&self) -> LinkRecord {
        if self.is_pinned {
            return pinned::link(&self.cluster, 1, 2, 1);
        }
        let shown = link(&status(&self.cluster, 1), 2, "private");
        let number = |field: &str| shown[field].as_u64().unwrap();
        LinkRecord {
            received: number("received"),
            lost: number("lost"),
            duplicates: number("duplicates"),
            reordered: number("reordered"),
            ..LinkRecord::zeroed()
        }
    }

    /// The frame is refused for `reason` and for nothing else, and leaves no trace in the link's record but what its tag earned it.
    fn refuses(&self, what: &str, frame: &[u8], reason: Reject) {
        let (counters, record) = (self.counters(), self.record());
        let mut expected = counters.clone();
        expected[reason as usize] += COPIES;
        for _ in 0..COPIES {
            self.outside.send(frame);
        }
        let begin = Instant::now();
        let mut now = self.counters();
        while now.iter().sum::<u64>() < expected.iter().sum() && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
            now = self.counters();
        }
        let moved: Vec<_> = Reject::ALL
            .iter()
            .filter(|reason| now[**reason as usize] != counters[**reason as usize])
            .map(|reason| (reason.name(), now[*reason as usize] - counters[*reason as usize]))
            .collect();
        assert_eq!(moved, [(reason.name(), COPIES)], "{what}");
        let mut allowed = record;
        if self.is_pinned && matches!(reason, Reject::Duplicate | Reject::TooOld) {
            // These have the right tag: they may take the record's lock.
            allowed.lock += 2 * COPIES;
        }
        if reason == Reject::Duplicate {
            allowed.duplicates += COPIES;
        }
        assert_eq!(self.record(), allowed, "{what}");
    }
}

fn is_about_the_link(event: &Event) -> bool {
    (event.node(), event.peer(), event.network()) == (1, Some(2), Some("private"))
}

#[test]
fn each_reason_moves_its_counter_and_nothing_else() {
    let target = Target::new("native");
    let (oldest, newest) = (target.genuine.first().unwrap(), target.genuine.last().unwrap());
    assert_eq!(
        (target.record().unicast.newest, target.record().incarnation),
        (newest.sequence(), newest.incarnation())
    );
    let mut cut_short = target.with_header(|_| {});
    cut_short.truncate(PAYLOAD + 50);
    target.refuses("a frame shorter than it says", &cut_short, Reject::Malformed);
    assert!(oldest.sequence() + 64 <= newest.sequence());
    each_reason(&target);
}

#[test]
fn sockets_refuse_for_the_same_reasons() {
    each_reason(&Target::new("socket"));
}

fn each_reason(target: &Target) {
    let begun_ns = monotonic_ns();

    let malformed: [(&str, Vec<u8>); 9] = [
        ("truncated", target.with_payload(|payload| payload.truncate(40))),
        ("truncated to the header", target.with_payload(|payload| payload.truncate(56))),
        ("oversized", target.with_payload(|payload| payload.resize(1400, 0))),
        ("oversized, and says so", target.with_header(|header| header.length = 97_u16.to_be_bytes())),
        ("other magic", target.with_payload(|payload| payload[0] ^= 1)),
        ("reserved byte", target.with_header(|header| header.reserved = 1)),
        ("unknown flag", target.with_header(|header| header.flags = 0x80)),
        ("unknown kind", target.with_header(|header| header.kind = 2)),
        ("empty", target.with_payload(Vec::clear)),
    ];
    for (what, frame) in &malformed {
        target.refuses(what, frame, Reject::Malformed);
    }

    target.refuses("version 2", &target.with_header(|header| header.version = 2), Reject::Version);
    target.refuses("cluster", &target.with_header(|header| header.cluster_id[7] ^= 1), Reject::Cluster);
    for destination in [3_u16, 0, 1024] {
        let frame = target.with_header(|header| header.destination = destination.to_be_bytes());
        target.refuses("destination", &frame, Reject::Destination);
    }
    for source in [9_u16, 0, 1025, u16::MAX] {
        let frame = target.with_header(|header| header.source = source.to_be_bytes());
        target.refuses("source", &frame, Reject::UnknownPeer);
    }
    for network in [0, 9, u8::MAX] {
        target.refuses("network", &target.with_header(|header| header.network = network), Reject::UnknownPeer);
    }
    target.refuses("other network", &target.with_header(|header| header.network = 2), Reject::WrongInterface);
    let from = target.cluster.topology().address(3, 1);
    for source in [from, Ipv4Addr::new(10, 77, 1, 99)] {
        target.refuses("address", &target.with_datagram(|datagram| datagram.source = source), Reject::WrongAddress);
    }
    for time_to_live in [64, 254] {
        let frame = target.with_datagram(|datagram| datagram.time_to_live = time_to_live);
        target.refuses("TTL", &frame, Reject::Ttl);
    }
    for key in [0, 2, 5, u8::MAX] {
        target.refuses("key", &target.with_header(|header| header.key_id = key), Reject::UnknownKey);
    }

    target.refuses("tag", &target.with_payload(|payload| payload[95] ^= 1), Reject::BadTag);
    target.refuses("under the tag", &target.with_payload(|payload| payload[60] ^= 1), Reject::BadTag);
    // A leave would be the worst to believe.
    let leave = Envelope { kind: KIND_LEAVE, ..target.next() };
    let body = leave.incarnation.to_be_bytes();
    let mut message = target.forger.control(&leave, &body);
    message[60] ^= 1;
    target.refuses("header tag of a control message", &target.datagram(message).frame(), Reject::BadTag);
    let mut message = target.forger.control(&leave, &body);
    *message.last_mut().unwrap() ^= 1;
    target.refuses("HMAC of a control message", &target.datagram(message).frame(), Reject::BadTag);

    for change in [1, u64::MAX] {
        let envelope = target.next();
        let other = Envelope { incarnation: envelope.incarnation.wrapping_add(change), ..envelope };
        let frame = target.datagram(target.forger.heartbeat(&other, |_| {})).frame();
        target.refuses("incarnation", &frame, Reject::WrongIncarnation);
    }
    let (oldest, newest) = (target.genuine.first().unwrap(), target.genuine.last().unwrap());
    target.refuses("the newest, again", &newest.frame, Reject::Duplicate);
    target.refuses("one that the window has forgotten", &oldest.frame, Reject::TooOld);
    let sequence = newest.sequence() - 63;
    let last = target.genuine.iter().find(|message| message.sequence() == sequence).unwrap();
    target.refuses("the last that the window remembers", &last.frame, Reject::Duplicate);

    tells_of_each_reason_once(target, begun_ns);
    let before = target.record();
    // The proof that only the faults were to blame: one without any is accepted, and ends the episode.
    target.outside.send(&target.with_header(|_| {}));
    let restored = |event: &Event| event.id() == LINK_RESTORED && is_about_the_link(event);
    target.cluster.events().wait_for(target.place, PATIENCE, "1122", restored).unwrap();
    let after = target.record();
    assert_eq!((after.received, after.lost), (before.received + 1, before.lost));
    if target.is_pinned {
        assert_eq!(after.unicast.newest, before.unicast.newest + 1);
        assert!(after.stamp_ns > before.stamp_ns);
    }
}

fn tells_of_each_reason_once(target: &Target, begun_ns: u64) {
    let told = |events: &[Event]| {
        let told: BTreeSet<_> = bursts(events).map(reason).collect();
        // Heartbeats of an unproven incarnation belong to every restart: they are no news unless they go on.
        let wanted = Reject::ALL.iter().filter(|reason| **reason != Reject::WrongIncarnation);
        wanted.map(|reason| reason.name()).all(|reason| told.contains(reason))
    };
    target.cluster.events().wait_until(target.place, PATIENCE, "9004 for each reason", told).unwrap();
    let started = Instant::now();
    let goes_on = |events: &[Event]| bursts(events).any(|event| reason(event) == Reject::WrongIncarnation.name());
    while !goes_on(&target.cluster.events().since(target.place)) {
        assert!(started.elapsed() < 2 * PATIENCE, "9004 of incarnations that stay unproven");
        let envelope = target.next();
        let other = Envelope { incarnation: envelope.incarnation + 1, ..envelope };
        target.outside.send(&target.datagram(target.forger.heartbeat(&other, |_| {})).frame());
        target.cluster.events().wait_for_more(target.cluster.events().len(), Duration::from_millis(200));
    }
    let events = target.cluster.events().since(target.place);
    let periods = 1 + (monotonic_ns() - begun_ns) / 10_000_000_000;
    for one in Reject::ALL {
        let count = bursts(&events).filter(|event| reason(event) == one.name()).count();
        assert!(u64::try_from(count).unwrap() <= periods, "{count} times {} within {periods} periods", one.name());
    }
    // Fifty milliseconds are little for a loaded machine; what counts is that the forged link says nothing.
    let about_link = events.iter().filter(|event| is_about_the_link(event) && !is_network_state(event));
    let about_link: Vec<_> = about_link.collect();
    assert!(about_link.is_empty(), "{about_link:#?}");
}

/// 9004 of node 1.
fn bursts(events: &[Event]) -> impl Iterator<Item = &Event> {
    events.iter().filter(|event| event.id() == REJECT_BURST && event.node() == 1)
}

fn reason(event: &Event) -> &str {
    event.detail()["reason"].as_str().unwrap()
}
