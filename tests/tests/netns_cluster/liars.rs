//! Control messages that hold the cluster's key and lie: each is counted for what it is, and changes nothing.

use std::time::{Duration, Instant};

use heartbeat_common::wire::KIND_LEAVE;
use heartbeat_membership::{
    Incarnation, Kind, NodeId, NodeSet, ViewId,
    message::{Join, Leave, Poison},
    view::ViewDigest,
};
use heartbeat_tests::{
    clock::monotonic_ns,
    cluster::Cluster,
    events::{Event, LINK_LOST, LOCAL_STALL},
};
use heartbeat_user::control::Envelope;
use serde_json::Value;

use crate::{
    frames::{Datagram, Forger},
    nodes::{PATIENCE, REJECT_BURST, incarnation, is_network_state, status, three_up},
    packets::{Packets, mac},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
/// Of each message so many: a counter that moves by one could have moved by chance.
const COPIES: u64 = 3;
/// 1129: nobody knows which end is at fault.
const NETWORK_PARTITIONED: u64 = 1129;
/// Far above what node 3 has used itself, and below what could overflow.
const FIRST_SEQUENCE: u64 = 1 << 40;

/// Offsets in the body of a regroup, as docs/protocol.md has them.
const SEQUENCE: usize = 0;
const VIEW: usize = 8;
const STAGE: usize = 32;
const REASON: usize = 33;
const FLAGS: usize = 34;
const MASK_LENGTH: usize = 35;
const TRIGGER: usize = 36;
const PRESENT: usize = 52;
const DECIDED: usize = 64;
const DECIDER: usize = 88;
const ROWS: usize = 90;
const AGES: usize = 92;
/// Where masks, ages and rows begin.
const FIXED: usize = 96;

/// Somebody who holds the key and speaks to node 1 as node 3, from node 3's address.
struct Liar {
    cluster: Cluster,
    outside: Packets,
    mac: [u8; 6],
    forger: Forger,
    incarnation: u64,
    sequence: u64,
}

impl Liar {
    fn new() -> Self {
        let cluster = three_up(INTERVAL);
        // What node 3 itself says reaches node 1 on the other network only, and is not counted among the lies.
        let place = cluster.events().len();
        cluster.topology().cut_one_way(1, 3, 1).unwrap();
        let lost = |event: &Event| event.id() == LINK_LOST && event.node() == 1 && event.peer() == Some(3);
        cluster.events().wait_for(place, PATIENCE, "1123 of the cut", lost).unwrap();
        let states = |event: &Event| event.id() == NETWORK_PARTITIONED && event.node() == 1;
        cluster.events().wait_for(place, PATIENCE, "1129 of the cut", states).unwrap();
        let outside = Packets::open(cluster.topology().network(1), "bridge");
        let mac = mac(cluster.topology().node(1), "private");
        let forger = Forger::new(&cluster, 3);
        let incarnation = incarnation(&cluster, 3);
        Self { cluster, outside, mac, forger, incarnation, sequence: FIRST_SEQUENCE }
    }

    fn envelope(&mut self, kind: u8) -> Envelope {
        self.sequence += 1;
        Envelope {
            kind,
            destination: 1,
            network: 1,
            incarnation: self.incarnation,
            sequence: self.sequence,
            sent_ns: monotonic_ns(),
            view: 0,
        }
    }

    fn send(&self, envelope: &Envelope, body: &[u8]) {
        let payload = self.forger.control(envelope, body);
        let topology = self.cluster.topology();
        let (source, destination) = (topology.address(3, 1), topology.address(1, 1));
        let datagram =
            Datagram { destination_mac: self.mac, source, destination, time_to_live: 255, port: 3343, payload };
        self.outside.send(&datagram.frame());
    }

    /// The messages that `message` makes are counted as `counter`, by node 1, and as nothing else.
    fn is_counted(&mut self, what: &str, counter: &str, mut message: impl FnMut(&mut Self) -> (Envelope, Vec<u8>)) {
        let before = counts(&self.cluster);
        for _ in 0..COPIES {
            let (envelope, body) = message(self);
            self.send(&envelope, &body);
        }
        let began = Instant::now();
        loop {
            let now = counts(&self.cluster);
            let moved: Vec<_> = now.iter().filter(|(name, count)| before.get(*name).unwrap_or(&0) != *count).collect();
            let is_there = moved.iter().any(|(name, count)| {
                name.as_str() == counter && **count == before.get(counter).copied().unwrap_or(0) + COPIES
            });
            if is_there && moved.len() == 1 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: not {counter}, but {moved:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn body_is_counted(&mut self, what: &str, kind: Kind, body: &[u8], counter: &str) {
        self.is_counted(what, counter, |liar| (liar.envelope(kind.byte()), body.to_vec()));
    }
}

/// Refusals of the core and of the kernel on node 1, by name.
fn counts(cluster: &Cluster) -> std::collections::BTreeMap<String, u64> {
    let status = status(cluster, 1);
    let of = |field: &str| -> Vec<(String, u64)> {
        let counters = status[field].as_object().unwrap();
        counters.iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap())).collect()
    };
    let core = of("counters").into_iter().filter(|(name, _)| name.starts_with("core_refused_"));
    core.chain(of("rejects")).collect()
}

/// What membership shows: on every node the view, who is in it and as what, and that it may act.
fn standing(cluster: &Cluster) -> Vec<Value> {
    cluster
        .topology()
        .node_ids()
        .map(|node| {
            let status = status(cluster, node);
            let view = &status["view"];
            serde_json::json!([view["number"], view["members"], view["quorate"], status["node"]["incarnation"]])
        })
        .collect()
}

/// A regroup of a view that nobody has, begun by the silence of node 2, with one age and one row; changed at one place.
fn regroup(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = vec![0; FIXED];
    body[SEQUENCE..SEQUENCE + 8].copy_from_slice(&(1_u64 << 40).to_be_bytes());
    body[VIEW..VIEW + 24].fill(7);
    body[VIEW..VIEW + 8].copy_from_slice(&1_u64.to_be_bytes());
    // It wants no answer.
    (body[STAGE], body[REASON], body[FLAGS], body[MASK_LENGTH]) = (1, 1, 1, 1);
    body[TRIGGER + 1] = 2;
    (body[ROWS + 1], body[AGES + 1]) = (1, 1);
    body.extend([0, 2, 0, 0, 0, 0, 0, 0, 0, 5]);
    body.extend([0, 3, 0b001]);
    change(&mut body);
    body
}

/// With a decision: whom it names goes on alone.
fn decision(decider: u8, members: u8) -> Vec<u8> {
    regroup(|body| {
        body[FLAGS] |= 2;
        body[DECIDED..DECIDED + 24].fill(9);
        body[DECIDED] = 0;
        body[DECIDER + 1] = decider;
        body[PRESENT] = 1 << 6;
        body.insert(FIXED, members);
    })
}

#[test]
fn who_holds_the_key_and_lies_changes_nothing() {
    let mut liar = Liar::new();
    let before = standing(&liar.cluster);
    let place = liar.cluster.events().len();
    let link = pinned::link(&liar.cluster, 1, 3, 2);

    lying_lengths_and_ids(&mut liar);
    lies_about_views_and_incarnations(&mut liar);
    repeated_and_outdated(&mut liar);

    pinned::wait_for_heartbeats(&liar.cluster, 1, (3, 2), &link, 5, PATIENCE);
    assert_eq!(standing(&liar.cluster), before);
    let told = |event: &Event| {
        event.id() == REJECT_BURST && event.node() == 1 && event.detail()["reason"] == "control_malformed"
    };
    liar.cluster.events().wait_for(place, PATIENCE, "9004 of the lies", told).unwrap();
    only_refusals_are_told(&liar.cluster.events().since(place));
}

fn lying_lengths_and_ids(liar: &mut Liar) {
    let cases: [(&str, Vec<u8>); 14] = [
        ("no body", Vec::new()),
        ("one byte short", regroup(|body| body.truncate(FIXED + 12))),
        ("cut in the middle", regroup(|body| body.truncate(50))),
        ("a mask of 0 bytes", regroup(|body| body[MASK_LENGTH] = 0)),
        ("a mask of 129 bytes", regroup(|body| body[MASK_LENGTH] = 129)),
        ("masks that are not there", regroup(|body| body[PRESENT] = 0x7f)),
        ("65,535 rows", regroup(|body| body[ROWS..ROWS + 2].fill(0xff))),
        ("1,024 rows and one that is there", regroup(|body| body[ROWS..ROWS + 2].copy_from_slice(&[4, 0]))),
        ("65,535 ages", regroup(|body| body[AGES..AGES + 2].fill(0xff))),
        ("caused by node 1025", regroup(|body| body[TRIGGER..TRIGGER + 2].copy_from_slice(&[4, 1]))),
        ("stage 7", regroup(|body| body[STAGE] = 7)),
        ("reason 0", regroup(|body| body[REASON] = 0)),
        ("a decision of nobody", regroup(|body| body[FLAGS] |= 2)),
        ("a row of node 0", regroup(|body| body[FIXED + 11] = 0)),
    ];
    for (what, body) in cases {
        liar.body_is_counted(what, Kind::Regroup, &body, "core_refused_malformed");
    }
    // Incarnation 0 and counts beyond all bounds.
    let others =
        [(Kind::Join, 0), (Kind::Leave, 0), (Kind::Poison, 0), (Kind::Connectivity, 0xff), (Kind::NetworkStates, 0xff)];
    for (kind, byte) in others {
        for body in [Vec::new(), vec![byte; 3], vec![byte; 600]] {
            let what = format!("{kind:?} with {} bytes", body.len());
            liar.body_is_counted(&what, kind, &body, "core_refused_malformed");
        }
    }
    liar.is_counted("a kind that nobody speaks", "core_refused_unknown_kind", |liar| (liar.envelope(31), vec![0; 8]));
}

fn lies_about_views_and_incarnations(liar: &mut Liar) {
    let other_view = regroup(|_| {});
    liar.body_is_counted("a regroup of another view", Kind::Regroup, &other_view, "core_refused_other_view");
    let without_node_1 = decision(3, 0b100);
    liar.body_is_counted("a decision in another view", Kind::Regroup, &without_node_1, "core_refused_other_view");

    let other = Incarnation(liar.incarnation + 1);
    let leave = Leave { incarnation: other }.encode();
    liar.body_is_counted("a leave of another incarnation", Kind::Leave, &leave, "core_refused_incarnation_mismatch");
    let join = Join { incarnation: other, sequence: 1, epoch: 1, hears: NodeSet::of(NodeId(1)) }.encode(1);
    liar.body_is_counted("a join of another incarnation", Kind::Join, &join, "core_refused_incarnation_mismatch");
    let view = ViewId { number: u64::MAX / 2, digest: ViewDigest([9; 16]) };
    let poison = Poison { incarnation: other, view }.encode();
    liar.body_is_counted("a poison for somebody else", Kind::Poison, &poison, "core_refused_other_incarnation");
}

fn repeated_and_outdated(liar: &mut Liar) {
    let leave = |incarnation: u64| Leave { incarnation: Incarnation(incarnation) }.encode();
    let mut earlier = liar.envelope(KIND_LEAVE);
    for incarnation in [liar.incarnation - 1, 1, liar.incarnation + 1] {
        earlier.incarnation = incarnation;
        let message = |_: &mut Liar| (earlier, leave(incarnation));
        liar.is_counted("of an incarnation that is not the accepted one", "core_refused_not_accepted", message);
    }
    let used = liar.envelope(Kind::Regroup.byte());
    liar.send(&used, &[]);
    let again = |_: &mut Liar| (used, regroup(|_| {}));
    // The first of these is waited for as well: it comes before the repetitions.
    std::thread::sleep(2 * INTERVAL);
    liar.is_counted("a sequence number that was used", "core_refused_duplicate", again);
    let old = Envelope { sequence: used.sequence - 5_000, ..used };
    let message = |_: &mut Liar| (old, regroup(|_| {}));
    liar.is_counted("a sequence number below the window", "core_refused_too_old", message);
}

#[test]
fn who_is_no_member_any_more_has_no_say() {
    let mut liar = Liar::new();
    let place = liar.cluster.events().len();
    assert!(liar.cluster.node_mut(3).terminate().unwrap().success());
    let left = |event: &Event| {
        event.id() == 9007 && event.node() == 1 && event.detail()["members"] == serde_json::json!([1, 2])
    };
    liar.cluster.events().wait_for(place, PATIENCE, "9007 without node 3", left).unwrap();
    let (before, place) = (members(&liar.cluster), liar.cluster.events().len());
    let link = pinned::link(&liar.cluster, 1, 2, 1);

    let body = regroup(|_| {});
    for kind in [Kind::Regroup, Kind::Connectivity, Kind::Poison, Kind::Leave, Kind::NetworkStates] {
        liar.body_is_counted(&format!("{kind:?} of a node that has left"), kind, &body, "core_refused_not_accepted");
    }
    let join =
        Join { incarnation: Incarnation(liar.incarnation), sequence: 1, epoch: 1, hears: NodeSet::of(NodeId(1)) };
    liar.body_is_counted("a join without a handshake", Kind::Join, &join.encode(1), "core_refused_not_accepted");

    pinned::wait_for_heartbeats(&liar.cluster, 1, (2, 1), &link, 5, PATIENCE);
    assert_eq!(members(&liar.cluster), before);
    only_refusals_are_told(&liar.cluster.events().since(place));
}

/// The views of those who stayed.
fn members(cluster: &Cluster) -> Vec<Value> {
    [1, 2]
        .map(|node| status(cluster, node)["view"].clone())
        .map(|view| serde_json::json!([view["number"], view["members"], view["quorate"]]))
        .to_vec()
}

/// Stalls of this machine aside, which it has, and what follows from the cut, which each node says when it finds it.
fn only_refusals_are_told(events: &[Event]) {
    let told = events.iter().filter(|event| ![REJECT_BURST, LOCAL_STALL].contains(&event.id()));
    let told: Vec<_> = told.filter(|event| !is_network_state(event)).collect();
    assert!(told.is_empty(), "{told:#?}");
}
