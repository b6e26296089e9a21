//! Two cores find and prove each other, whatever happens to their messages.

mod pair;

use heartbeat_membership::{Incarnation, Kind, Refusal};
use pair::{Datagram, INTERVAL_NS, Pair};
use proptest::prelude::*;

#[test]
fn both_start_at_once() {
    let mut pair = Pair::new();
    pair.settle();
    pair.assert_proven();
}

#[test]
fn either_side_alone_can_start() {
    for silent in 0..2 {
        let mut pair = Pair::new();
        pair.flying.retain(|datagram| datagram.to == silent);
        pair.settle();
        pair.assert_proven();
    }
}

#[test]
fn any_one_message_may_be_lost() {
    for lost in 0..24 {
        let mut pair = Pair::new();
        let mut count = 0;
        for _round in 0..10 {
            for datagram in std::mem::take(&mut pair.flying) {
                if count != lost {
                    pair.deliver(&datagram);
                }
                count += 1;
            }
        }
        for _period in 0..4 {
            pair.advance(INTERVAL_NS);
            pair.heartbeats();
            pair.settle();
        }
        pair.assert_proven();
    }
}

#[test]
fn nothing_is_sent_once_both_are_proven() {
    let mut pair = Pair::new();
    pair.settle();
    assert!(pair.sides.iter().all(|side| side.core.poll_timeout().is_none()));
    pair.advance(100 * INTERVAL_NS);
    assert!(pair.flying.is_empty());
}

#[test]
fn a_restart_of_either_side_is_proven_anew() {
    for side in 0..2 {
        let mut pair = Pair::new();
        pair.settle();
        pair.heartbeats();
        pair.restart(side, true);
        pair.settle();
        pair.assert_proven();
    }
}

#[test]
fn a_restart_whose_hellos_are_lost_is_noticed_by_its_heartbeats() {
    let mut pair = Pair::new();
    pair.settle();
    pair.restart(1, true);
    // Proven to bravo only: bravo's done is lost, and bravo calls no more.
    let flying = std::mem::take(&mut pair.flying);
    flying.iter().for_each(|datagram| pair.deliver(datagram));
    for datagram in std::mem::take(&mut pair.flying) {
        pair.deliver(&datagram);
    }
    assert!(pair.flying.iter().all(|datagram| datagram.kind == Kind::HelloDone));
    pair.flying.clear();
    assert_ne!(pair.sides[0].accepting.incarnation, Some(pair.sides[1].core.incarnation()));
    pair.heartbeats();
    pair.settle();
    pair.assert_proven();
}

#[test]
fn a_lost_disk_and_a_clock_set_back_do_not_lock_a_node_out() {
    let mut pair = Pair::new();
    pair.settle();
    pair.restart(1, false);
    assert_eq!(pair.sides[1].core.incarnation(), Incarnation(51));
    for _period in 0..3 {
        pair.settle();
        pair.heartbeats();
        pair.advance(INTERVAL_NS);
    }
    assert_eq!(pair.sides[1].core.incarnation(), Incarnation(2_001));
    pair.assert_proven();
}

#[test]
fn an_answer_to_another_challenge_is_ignored_and_counted() {
    let mut pair = Pair::new();
    let (first, second): (Vec<Datagram>, Vec<Datagram>) =
        std::mem::take(&mut pair.flying).into_iter().partition(|datagram| datagram.to == 1);
    drop(second);
    first.iter().for_each(|datagram| pair.deliver(datagram));
    let acks = std::mem::take(&mut pair.flying);
    assert!(acks.iter().any(|datagram| datagram.kind == Kind::HelloAck));
    pair.restart(0, true);
    let before = pair.sides[0].core.snapshot();
    acks.iter().filter(|datagram| datagram.to == 0).for_each(|datagram| pair.deliver(datagram));
    let after = pair.sides[0].core.snapshot();
    assert_eq!(before.peers, after.peers);
    assert_eq!(after.refused.get(&Refusal::StaleAnswer), Some(&2));
}

#[derive(Debug, Clone)]
enum Op {
    Deliver(usize),
    Drop(usize),
    Duplicate(usize),
    Replay(usize),
    Advance(u64),
    Heartbeats,
    Restart(usize, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_usize..64).prop_map(Op::Deliver),
        2 => (0_usize..64).prop_map(Op::Drop),
        1 => (0_usize..64).prop_map(Op::Duplicate),
        3 => (0_usize..4096).prop_map(Op::Replay),
        3 => (1..2 * INTERVAL_NS).prop_map(Op::Advance),
        2 => Just(Op::Heartbeats),
        1 => (0_usize..2, prop::bool::weighted(0.8)).prop_map(|(side, disk)| Op::Restart(side, disk)),
    ]
}

fn apply(pair: &mut Pair, op: &Op) {
    match *op {
        Op::Deliver(index) if !pair.flying.is_empty() => {
            let index = index % pair.flying.len();
            let datagram = pair.flying.remove(index);
            pair.deliver(&datagram);
            pair.delivered.push(datagram);
        }
        Op::Drop(index) if !pair.flying.is_empty() => {
            let index = index % pair.flying.len();
            pair.flying.remove(index);
        }
        Op::Duplicate(index) if !pair.flying.is_empty() => {
            let copy = pair.flying[index % pair.flying.len()].clone();
            pair.flying.push(copy);
        }
        Op::Replay(index) if !pair.delivered.is_empty() => {
            let datagram = pair.delivered[index % pair.delivered.len()].clone();
            let before = (pair.sides[datagram.to].core.snapshot().peers, pair.sides[datagram.to].core.incarnation());
            let windows = pair.sides[datagram.to].accepting.next.clone();
            pair.deliver(&datagram);
            let after = (pair.sides[datagram.to].core.snapshot().peers, pair.sides[datagram.to].core.incarnation());
            assert_eq!(before, after, "a replay moved state: {datagram:?}");
            assert_eq!(windows, pair.sides[datagram.to].accepting.next);
        }
        Op::Deliver(_) | Op::Drop(_) | Op::Duplicate(_) | Op::Replay(_) => {}
        Op::Advance(by_ns) => pair.advance(by_ns),
        Op::Heartbeats => pair.heartbeats(),
        Op::Restart(side, disk) => {
            pair.restart(side, disk);
        }
    }
    // What waits longer than a switch would hold it is lost.
    let excess = pair.flying.len().saturating_sub(64);
    pair.flying.drain(..excess);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The harness asserts in addition: an accepted incarnation never falls, and no window starts below what the peer
    /// had sent when this life began.
    #[test]
    fn a_bad_channel_delays_the_proof_and_nothing_else(ops in prop::collection::vec(op(), 0..200)) {
        let mut pair = Pair::new();
        for op in &ops {
            apply(&mut pair, op);
        }
        for _period in 0..6 {
            pair.advance(INTERVAL_NS);
            pair.settle();
            pair.heartbeats();
            pair.settle();
        }
        pair.assert_proven();
    }
}
