//! Control messages that hold the cluster's key and lie: each is counted for what it is, and changes nothing.

use std::time::{Duration, Instant};

use heartbeat_common::wire::KIND_LEAVE;
use heartbeat_membership::{
    Incarnation, Kind, NodeId, NodeSet, Stage, ViewId,
    message::{
        Join, Leave, Poison,
        regroup::{Decision, Reason, Regroup},
    },
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
    nodes::{PATIENCE, REJECT_BURST, incarnation, status, three_up},
    packets::{Packets, mac},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
/// Of each message so many: a counter that moves by one could have moved by chance.
const COPIES: u64 = 3;
/// Far above what node 3 has used itself, and below what could overflow.
const FIRST_SEQUENCE: u64 = 1 << 40;

/// Offsets in the body of a regroup, as docs/protocol.md has them.
const STAGE: usize = 32;
const REASON: usize = 33;
const FLAGS: usize = 34;
const MASK_LENGTH: usize = 35;
const TRIGGER: usize = 36;
const PRESENT: usize = 52;
const ROWS: usize = 90;
const AGES: usize = 92;

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
            let moved: Vec<_> = now.iter().filter(|(name, count)| before.get(name).unwrap_or(&0) != *count).collect();
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

fn regroup() -> Regroup {
    Regroup {
        sequence: 1 << 40,
        base: ViewId { number: 1, digest: ViewDigest([7; 16]) },
        stage: Stage::Activate,
        reason: Reason::Silent,
        reply: true,
        trigger: Some(NodeId(2)),
        joiner: None,
        epoch: 0,
        bound: 0,
        reached: [NodeSet::EMPTY; 4],
        left: NodeSet::EMPTY,
        may_form: NodeSet::EMPTY,
        decision: None,
        ages: vec![(NodeId(2), 5)],
        heard_on: vec![0],
        rows: vec![(NodeId(3), NodeSet::of(NodeId(1)))],
    }
}

/// A whole body, changed at one place.
fn with(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = regroup().encode(1);
    change(&mut body);
    body
}

#[test]
fn who_holds_the_key_and_lies_changes_nothing() {
    let mut liar = Liar::new();
    let before = standing(&liar.cluster);
    let place = liar.cluster.events().len();
    let link = pinned::link(&liar.cluster, 1, 3, 1);

    lying_lengths_and_ids(&mut liar);
    lies_about_views_and_incarnations(&mut liar);
    repeated_and_outdated(&mut liar);

    pinned::wait_for_heartbeats(&liar.cluster, 1, (3, 1), &link, 5, PATIENCE);
    assert_eq!(standing(&liar.cluster), before);
    only_refusals_are_told(&liar.cluster.events().since(place));
}

fn lying_lengths_and_ids(liar: &mut Liar) {
    let whole = regroup().encode(1);
    let cases: [(&str, Vec<u8>); 14] = [
        ("no body", Vec::new()),
        ("one byte short", with(|body| drop(body.pop()))),
        ("cut in the middle", whole[..50].to_vec()),
        ("a mask of 0 bytes", with(|body| body[MASK_LENGTH] = 0)),
        ("a mask of 129 bytes", with(|body| body[MASK_LENGTH] = 129)),
        ("masks that are not there", with(|body| body[PRESENT] = 0x7f)),
        ("65,535 rows", with(|body| body[ROWS..ROWS + 2].fill(0xff))),
        ("1,024 rows and one that is there", with(|body| body[ROWS..ROWS + 2].copy_from_slice(&[4, 0]))),
        ("65,535 ages", with(|body| body[AGES..AGES + 2].fill(0xff))),
        ("caused by node 1025", with(|body| body[TRIGGER..TRIGGER + 2].copy_from_slice(&[4, 1]))),
        ("stage 7", with(|body| body[STAGE] = 7)),
        ("reason 0", with(|body| body[REASON] = 0)),
        ("a decision of nobody", with(|body| body[FLAGS] |= 2)),
        ("a row of node 0", with(|body| *body.iter_mut().rev().nth(1).unwrap() = 0)),
    ];
    for (what, body) in cases {
        liar.body_is_counted(what, Kind::Regroup, &body, "core_refused_malformed");
    }
    for kind in [Kind::Join, Kind::Leave, Kind::Poison, Kind::Connectivity, Kind::NetworkStates] {
        for body in [Vec::new(), vec![0xff; 3], vec![0; 600]] {
            let what = format!("{kind:?} with {} bytes", body.len());
            liar.body_is_counted(&what, kind, &body, "core_refused_malformed");
        }
    }
    liar.is_counted("a kind that nobody speaks", "core_refused_unknown_kind", |liar| (liar.envelope(31), vec![0; 8]));
}

fn lies_about_views_and_incarnations(liar: &mut Liar) {
    let other_view = regroup().encode(1);
    liar.body_is_counted("a regroup of another view", Kind::Regroup, &other_view, "core_refused_other_view");
    // With a decision that takes node 1 out.
    let (view, members) = (ViewId { number: u64::MAX / 2, digest: ViewDigest([9; 16]) }, NodeSet::of(NodeId(3)));
    let decision = Some(Decision { view, members, decider: NodeId(3), forced: false, config: None });
    let stage = Stage::Pruning;
    let decided = Regroup { decision, stage, ..regroup() }.encode(1);
    liar.body_is_counted("a decision in another view", Kind::Regroup, &decided, "core_refused_other_view");

    let other = Incarnation(liar.incarnation + 1);
    let leave = Leave { incarnation: other }.encode();
    liar.body_is_counted("a leave of another incarnation", Kind::Leave, &leave, "core_refused_incarnation_mismatch");
    let join = Join { incarnation: other, sequence: 1, epoch: 1, hears: NodeSet::of(NodeId(1)) }.encode(1);
    liar.body_is_counted("a join of another incarnation", Kind::Join, &join, "core_refused_incarnation_mismatch");
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
    let again = |_: &mut Liar| (used, regroup().encode(1));
    // The first of these is waited for as well: it comes before the repetitions.
    std::thread::sleep(2 * INTERVAL);
    liar.is_counted("a sequence number that was used", "core_refused_duplicate", again);
    let old = Envelope { sequence: used.sequence - 5_000, ..used };
    let message = |_: &mut Liar| (old, regroup().encode(1));
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

    let body = regroup().encode(1);
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

/// Stalls of this machine aside, which it has.
fn only_refusals_are_told(events: &[Event]) {
    let told = events.iter().filter(|event| ![REJECT_BURST, LOCAL_STALL].contains(&event.id()));
    let told: Vec<_> = told.filter(|event| event.id() != LINK_LOST || event.peer() != Some(3)).collect();
    assert!(told.is_empty(), "{told:#?}");
}
