//! Control messages: checked, limited, passed up.

use std::time::Duration;

use heartbeat_common::{
    ids::link_index,
    specimen::{
        Frame, Message,
        world::{IPV6, PEER, PLAIN},
    },
    wire,
};
use heartbeat_tests::clock::monotonic_ns;

use crate::rig::{Action, Rig};

/// A full bucket, and what one token costs: heartbeat-ebpf's admission.
const BURST: u64 = 64;
const TOKEN_NS: u64 = 1_000_000;

fn control(network: u8) -> Vec<u8> {
    Frame::unicast(network, Message::control(network, wire::KIND_HELLO, vec![0; 64])).to_bytes()
}

/// Delivers a burst; gives how many passed, how many were limited, and how long it took.
fn burst(rig: &mut Rig, network: u8, messages: u32) -> (u64, u64, u64) {
    let (before, begin_ns) = (rig.counts(), monotonic_ns());
    rig.deliver_often(&control(network), messages);
    let took_ns = monotonic_ns() - begin_ns;
    let counts = rig.counts().since(before);
    assert_eq!(counts.rejects, heartbeat_common::records::RejectRecord::default());
    (counts.counters.control_passed, counts.counters.control_limited, took_ns)
}

#[test]
fn a_burst_passes_and_what_is_beyond_it_is_dropped() {
    let mut rig = Rig::new();
    let (passed, limited, took_ns) = burst(&mut rig, PLAIN, 1_000);
    assert_eq!(passed + limited, 1_000);
    assert!((BURST..=BURST + took_ns / TOKEN_NS + 1).contains(&passed), "{passed} passed in {took_ns} ns");
    let admission = rig.memory.admission.read(link_index(PEER, PLAIN)).unwrap();
    assert_eq!((admission.passed, admission.limited), (passed, limited));
    assert_eq!(admission.lock % 2, 0);
}

#[test]
fn a_limited_message_is_dropped_and_an_admitted_one_passed() {
    let mut rig = Rig::new();
    let mut dropped = 0;
    for _ in 0..500 {
        let before = rig.counts();
        let action = rig.deliver(&control(PLAIN));
        let counters = rig.counts().since(before).counters;
        let expected = if action == Action::Pass { (1, 0) } else { (0, 1) };
        assert_eq!((counters.control_passed, counters.control_limited), expected);
        dropped += u64::from(action == Action::Drop);
    }
    assert!(dropped > 0, "500 messages at once are more than a bucket");
    assert_eq!(rig.notices(), []);
}

#[test]
fn the_bucket_fills_up_again_with_time() {
    let mut rig = Rig::new();
    burst(&mut rig, PLAIN, 1_000);
    let emptied_ns = rig.memory.admission.read(link_index(PEER, PLAIN)).unwrap().refilled_ns;
    // The time that passes is what is tested.
    std::thread::sleep(Duration::from_millis(20));
    let (passed, _, _) = burst(&mut rig, PLAIN, 1_000);
    let most = (monotonic_ns() - emptied_ns) / TOKEN_NS + 1;
    assert!((20..=most.min(BURST + 1)).contains(&passed), "{passed} passed, at most {most} are due");

    std::thread::sleep(Duration::from_millis(200));
    let (passed, _, took_ns) = burst(&mut rig, PLAIN, 1_000);
    assert!((BURST..=BURST + took_ns / TOKEN_NS + 1).contains(&passed), "no more than a full bucket: {passed}");
}

#[test]
fn every_link_has_its_own_bucket() {
    let mut rig = Rig::new();
    burst(&mut rig, PLAIN, 1_000);
    let (passed, _, _) = burst(&mut rig, IPV6, 1_000);
    assert!(passed >= BURST, "{passed} passed on the second link");
}

/// Heartbeats are not counted against the bucket, and control messages do not touch the link's record.
#[test]
fn heartbeats_and_control_messages_do_not_meet() {
    let mut rig = Rig::new();
    burst(&mut rig, PLAIN, 1_000);
    assert_eq!(rig.link(PEER, PLAIN).received, 0);
    for sequence in 1..=200 {
        rig.deliver(&Frame::heartbeat(PLAIN, sequence).to_bytes());
    }
    assert_eq!(rig.link(PEER, PLAIN).received, 200);
}
