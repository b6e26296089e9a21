//! What outlives a controller, and what a new one puts in its place.

use std::time::Duration;

use aya::programs::loaded_programs;
use heartbeat_common::{
    notice::NOTICE_LATE,
    specimen::world::{PEER, PLAIN},
};
use heartbeat_tests::clock::monotonic_ns;

use crate::{
    peers::{INTERVAL, PERIOD, Peer, assert_due, default_timing, take_priority, watch_alone},
    rig::{PATIENCE, PinFolder, Rig, timing, wait_for_scans},
};

fn is_loaded(program: u32) -> bool {
    // Programs of others may go away between being listed and being looked at.
    loaded_programs().filter_map(Result::ok).any(|loaded| loaded.id() == program)
}

/// The kernel frees a program some time after its last user has gone.
fn wait_until_unloaded(program: u32) {
    let end_ns = monotonic_ns() + PATIENCE.as_nanos() as u64;
    while is_loaded(program) {
        assert!(monotonic_ns() < end_ns, "the program {program} is still loaded");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_pinned_judge_goes_on_when_its_controller_dies() {
    take_priority();
    let pins = PinFolder::new();
    let mut rig = Rig::load(Some(pins.path()));
    let mut peer = Peer::new(PEER);
    rig.accept(PEER, &[PLAIN]);
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN)]);
    peer.beat(&mut rig, &[PLAIN]);
    let stamp_ns = rig.link(PEER, PLAIN).stamp_ns;
    let memory = rig.die();
    wait_for_scans(&memory, 20);

    let mut rig = Rig::adopt(pins.path());
    // Nobody read the ring meanwhile: the verdict waits in it.
    let notices = rig.beat_until(INTERVAL, |_| {}, |notice| notice.kind == NOTICE_LATE);
    let late = notices.iter().find(|notice| notice.kind == NOTICE_LATE).unwrap();
    assert_eq!(late.stamp_ns, stamp_ns);
    assert_due(late, stamp_ns, &rig);
}

#[test]
fn adopted_maps_hold_what_they_held() {
    let pins = PinFolder::new();
    let mut rig = Rig::load(Some(pins.path()));
    let mut peer = Peer::new(PEER);
    rig.accept(PEER, &[PLAIN]);
    for _ in 0..5 {
        peer.beat(&mut rig, &[PLAIN]);
    }
    let (link, expected) = (rig.link(PEER, PLAIN), rig.peer(PEER, PLAIN));
    drop(rig);
    let mut rig = Rig::adopt(pins.path());
    assert_eq!((rig.link(PEER, PLAIN), rig.peer(PEER, PLAIN)), (link, expected));
    peer.beat(&mut rig, &[PLAIN]);
    let after = rig.link(PEER, PLAIN);
    assert_eq!((after.received, after.lost, after.epoch), (6, 0, link.epoch));
    assert_eq!(after.previous_stamp_ns, link.stamp_ns);
}

#[test]
fn after_a_replacement_the_new_callback_judges_with_the_new_timeouts() {
    take_priority();
    let pins = PinFolder::new();
    let mut old = Rig::load(Some(pins.path()));
    let mut peer = Peer::new(PEER);
    old.accept(PEER, &[PLAIN]);
    old.start_judge(&timing(Duration::from_millis(500)), &[watch_alone(PEER, PLAIN)]);
    peer.beat(&mut old, &[PLAIN]);
    let old_program = old.judge_program();

    let mut new = Rig::adopt(pins.path());
    drop(old);
    // The timer holds the program whose callback it calls: without more, the old one would judge for ever.
    wait_for_scans(&new.memory, 2);
    assert!(is_loaded(old_program), "the old callback was expected to go on until it is replaced");

    new.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN)]);
    assert_ne!(new.judge_program(), old_program);
    wait_until_unloaded(old_program);
    new.beat_for(5 * INTERVAL, PERIOD, |rig| peer.beat(rig, &[PLAIN]));
    new.notices();
    let stamp_ns = new.link(PEER, PLAIN).stamp_ns;
    let notices = new.beat_until(INTERVAL, |_| {}, |notice| notice.kind == NOTICE_LATE);
    let late = notices.iter().find(|notice| notice.kind == NOTICE_LATE).unwrap();
    assert_eq!(late.stamp_ns, stamp_ns);
    assert_due(late, stamp_ns, &new);
    assert!(late.judged_ns - stamp_ns < 500_000_000, "within the old interval: {late:#?}");

    let new_program = new.judge_program();
    drop(new);
    assert!(is_loaded(new_program), "the pinned timer keeps its program");
    drop(pins);
    wait_until_unloaded(new_program);
}
