//! Verdicts of the kernel's timer.

use std::time::Duration;

use heartbeat_common::{
    notice::{
        NOTICE_FLAG_NEVER_HEARD, NOTICE_HEARD_AGAIN, NOTICE_LATE, NOTICE_LOCAL_STALL, NOTICE_RESTORED, NOTICE_SILENT,
        Notice,
    },
    records::{ACTIVE_COUNTING, ACTIVE_LAST, STATE_LATE, STATE_SILENT, STATE_UP, VERDICT_NEVER_HEARD},
    specimen::world::{INCARNATION, IPV6, OTHER_PEER, PEER, PLAIN, ROUTED},
};
use heartbeat_tests::clock::monotonic_ns;

use crate::{
    peers::{
        INTERVAL, PERIOD, Peer, assert_due, assert_not_accused, default_timing, take_priority, watch, watch_alone,
    },
    rig::{Rig, wait_for_scans},
};

fn only(notices: &[Notice], kind: u32) -> Notice {
    let mut found = notices.iter().filter(|notice| notice.kind == kind);
    let first = *found.next().unwrap_or_else(|| panic!("no notice {kind} in {notices:#?}"));
    assert!(found.next().is_none(), "more than one notice {kind} in {notices:#?}");
    first
}

#[test]
fn late_silent_and_heard_again() {
    take_priority();
    let mut rig = Rig::new();
    let mut peer = Peer::new(PEER);
    rig.accept(PEER, &[PLAIN]);
    peer.beat(&mut rig, &[PLAIN]);
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN)]);
    let notices = rig.beat_for(10 * INTERVAL, PERIOD, |rig| peer.beat(rig, &[PLAIN]));
    assert_not_accused(&notices, PEER, PLAIN, &rig);
    let before = rig.link(PEER, PLAIN);
    let episodes = rig.verdict(PEER, PLAIN).episode;

    let mut notices = rig.beat_until(INTERVAL, |_| {}, |notice| notice.kind == NOTICE_SILENT);
    let late = only(&notices, NOTICE_LATE);
    assert_eq!((late.node, late.network, late.incarnation, late.flags), (PEER, PLAIN, INCARNATION, 0));
    assert_eq!((late.stamp_ns, late.episode), (before.stamp_ns, episodes + 1));
    assert_due(&late, before.stamp_ns, &rig);
    let silent = only(&notices, NOTICE_SILENT);
    assert_eq!((silent.node, silent.network, silent.incarnation, silent.flags), (PEER, 0, INCARNATION, 0));
    assert_eq!(silent.stamp_ns, before.stamp_ns);
    assert_due(&silent, before.stamp_ns, &rig);

    for (verdict, state, notice) in
        [(rig.verdict(PEER, PLAIN), STATE_LATE, late), (rig.peer_verdict(PEER), STATE_SILENT, silent)]
    {
        assert_eq!((verdict.state, verdict.flags, verdict.episode), (state, 0, notice.episode));
        assert_eq!(
            (verdict.stamp_ns, verdict.deadline_ns, verdict.judged_ns),
            (notice.stamp_ns, notice.deadline_ns, notice.judged_ns)
        );
    }
    // A verdict is told once.
    notices = rig.beat_for(10 * INTERVAL, INTERVAL, |_| {});
    notices.retain(|notice| notice.kind != NOTICE_LOCAL_STALL);
    assert_eq!(notices, []);

    peer.beat(&mut rig, &[PLAIN]);
    let heard_ns = rig.link(PEER, PLAIN).stamp_ns;
    let mut notices =
        rig.beat_until(PERIOD, |rig| peer.beat(rig, &[PLAIN]), |notice| notice.kind == NOTICE_HEARD_AGAIN);
    notices.extend(rig.beat_for(5 * INTERVAL, PERIOD, |rig| peer.beat(rig, &[PLAIN])));
    let restored = only(&notices, NOTICE_RESTORED);
    assert_eq!((restored.flags, restored.episode), (0, late.episode));
    assert_eq!((restored.stamp_ns, restored.previous_stamp_ns), (heard_ns, before.stamp_ns));
    let again = only(&notices, NOTICE_HEARD_AGAIN);
    assert_eq!((again.node, again.network, again.episode), (PEER, 0, silent.episode));
    assert!(again.stamp_ns >= heard_ns && again.judged_ns >= heard_ns);
    println!("heard again found {} us after the heartbeat", (again.judged_ns - heard_ns) / 1_000);
    assert_eq!((rig.verdict(PEER, PLAIN).state, rig.peer_verdict(PEER).state), (STATE_UP, STATE_UP));
}

#[test]
fn a_peer_that_was_never_heard_is_judged_from_when_it_was_accepted() {
    take_priority();
    let mut rig = Rig::new();
    rig.accept(PEER, &[PLAIN]);
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN)]);
    let since_ns = rig.peer(PEER, PLAIN).since_ns;
    let notices = rig.beat_until(INTERVAL, |_| {}, |notice| notice.kind == NOTICE_SILENT);
    for kind in [NOTICE_LATE, NOTICE_SILENT] {
        let notice = only(&notices, kind);
        assert_eq!((notice.stamp_ns, notice.flags), (0, NOTICE_FLAG_NEVER_HEARD));
        assert_due(&notice, since_ns, &rig);
    }
    assert_eq!(rig.verdict(PEER, PLAIN).flags, VERDICT_NEVER_HEARD);
}

#[test]
fn a_peer_that_is_not_accepted_is_not_judged() {
    let mut rig = Rig::new();
    heartbeat_user::dataplane::peers::clear(&rig.memory, PEER);
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN)]);
    let mut notices = rig.beat_for(10 * INTERVAL, INTERVAL, |_| {});
    notices.retain(|notice| notice.kind != NOTICE_LOCAL_STALL);
    assert_eq!(notices, []);
    assert_eq!((rig.verdict(PEER, PLAIN).episode, rig.peer_verdict(PEER).episode), (0, 0));
}

#[test]
fn being_heard_on_one_counting_network_is_enough() {
    take_priority();
    let mut rig = Rig::new();
    let mut peer = Peer::new(PEER);
    rig.accept(PEER, &[PLAIN, IPV6]);
    let active = [watch(PEER, PLAIN, ACTIVE_COUNTING), watch(PEER, IPV6, ACTIVE_COUNTING | ACTIVE_LAST)];
    rig.start_judge(&default_timing(), &active);
    let notices = rig.beat_for(20 * INTERVAL, PERIOD, |rig| peer.beat(rig, &[IPV6]));
    let late = only(&notices, NOTICE_LATE);
    assert_eq!((late.network, late.flags), (PLAIN, NOTICE_FLAG_NEVER_HEARD));
    assert!(notices.iter().all(|notice| notice.kind != NOTICE_SILENT), "{notices:#?}");
    assert_eq!((rig.verdict(PEER, IPV6).state, rig.peer_verdict(PEER).state), (STATE_UP, STATE_UP));
}

#[test]
fn a_client_network_does_not_keep_a_peer_from_being_silent() {
    take_priority();
    let mut rig = Rig::new();
    let mut peer = Peer::new(PEER);
    rig.accept(PEER, &[PLAIN, ROUTED]);
    rig.start_judge(&default_timing(), &[watch(PEER, PLAIN, ACTIVE_COUNTING), watch(PEER, ROUTED, ACTIVE_LAST)]);

    // Heard on the counting one only: late on the other, and that is all.
    let notices = rig.beat_for(20 * INTERVAL, PERIOD, |rig| peer.beat(rig, &[PLAIN]));
    assert_eq!(only(&notices, NOTICE_LATE).network, ROUTED);
    assert!(notices.iter().all(|notice| notice.kind != NOTICE_SILENT), "{notices:#?}");

    // Heard on the client network only: silent.
    let stamp_ns = rig.link(PEER, PLAIN).stamp_ns;
    let beat = |rig: &mut Rig| peer.beat(rig, &[ROUTED]);
    let notices = rig.beat_until(PERIOD, beat, |notice| notice.kind == NOTICE_SILENT);
    assert_eq!(only(&notices, NOTICE_LATE).network, PLAIN);
    let silent = only(&notices, NOTICE_SILENT);
    assert_eq!(silent.stamp_ns, stamp_ns);
    assert_due(&silent, stamp_ns, &rig);
    assert_eq!(rig.verdict(PEER, ROUTED).state, STATE_UP);
}

#[test]
fn one_peer_s_silence_is_not_another_s() {
    take_priority();
    let mut rig = Rig::new();
    let (mut one, mut other) = (Peer::new(PEER), Peer::new(OTHER_PEER));
    rig.accept(PEER, &[PLAIN]);
    rig.accept(OTHER_PEER, &[PLAIN]);
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN), watch_alone(OTHER_PEER, PLAIN)]);
    rig.beat_for(5 * INTERVAL, PERIOD, |rig| {
        one.beat(rig, &[PLAIN]);
        other.beat(rig, &[PLAIN]);
    });
    let stamp_ns = rig.link(OTHER_PEER, PLAIN).stamp_ns;
    let beat = |rig: &mut Rig| one.beat(rig, &[PLAIN]);
    let notices = rig.beat_until(PERIOD, beat, |notice| notice.kind == NOTICE_SILENT);
    let silent = only(&notices, NOTICE_SILENT);
    assert_eq!(silent.node, OTHER_PEER);
    assert_due(&silent, stamp_ns, &rig);
    assert_not_accused(&notices, PEER, PLAIN, &rig);
}

#[test]
fn the_judge_runs_at_least_once_per_interval_and_does_not_spin() {
    take_priority();
    let mut rig = Rig::new();
    let mut peer = Peer::new(PEER);
    rig.accept(PEER, &[PLAIN]);
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN)]);
    let (scans, begin_ns) = (rig.judge().scans, monotonic_ns());
    rig.beat_for(25 * INTERVAL, PERIOD, |rig| peer.beat(rig, &[PLAIN]));
    let (judge, passed_ns) = (rig.judge(), monotonic_ns() - begin_ns);
    let intervals = passed_ns / default_timing().interval_ns;
    let scanned = judge.scans - scans;
    println!("{scanned} scans in {intervals} intervals, the latest {} us late", judge.latest_ns / 1_000);
    // Each scan may be late by up to slack; a later one is a stall, whose length stands in the books.
    let slow = intervals * default_timing().interval_ns - judge.stalls.total_ns;
    assert!(scanned >= slow * 8 / 9 / default_timing().interval_ns - 1, "{scanned} scans: {judge:#?}");
    assert!(scanned <= 4 * intervals, "{scanned} scans in {intervals} intervals");
    assert_eq!(judge.arm_failures, 0);
}

#[test]
fn arming_a_judge_that_runs_changes_nothing() {
    take_priority();
    let mut rig = Rig::new();
    let mut peer = Peer::new(PEER);
    rig.accept(PEER, &[PLAIN]);
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN)]);
    let notices = rig.beat_for(20 * INTERVAL, PERIOD, |rig| {
        peer.beat(rig, &[PLAIN]);
        rig.kernel.start_judge().unwrap();
    });
    assert_not_accused(&notices, PEER, PLAIN, &rig);
    wait_for_scans(&rig.memory, 3);
}

/// Why JUDGE is not for userspace to write, what that looks like, and that arming it again heals it.
#[test]
fn a_judge_that_stopped_scanning_is_revived_and_credits_the_time_it_missed() {
    take_priority();
    let mut rig = Rig::new();
    let mut peer = Peer::new(PEER);
    rig.accept(PEER, &[PLAIN]);
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN)]);
    rig.beat_for(5 * INTERVAL, PERIOD, |rig| peer.beat(rig, &[PLAIN]));

    rig.write_timer_element();
    let stopped = rig.judge();
    // Nobody beats either: who was stalled himself must not say who was silent meanwhile.
    let notices = rig.beat_for(5 * INTERVAL, INTERVAL, |_| {});
    assert_eq!(rig.judge(), stopped, "the timer is dead");
    assert_eq!(notices, []);

    rig.kernel.start_judge().unwrap();
    let revived_ns = monotonic_ns();
    let mut notices = rig.beat_until(
        Duration::from_millis(1),
        |rig| peer.beat(rig, &[PLAIN]),
        |notice| notice.kind == NOTICE_LOCAL_STALL,
    );
    wait_for_scans(&rig.memory, 1);
    notices.extend(rig.beat_for(10 * INTERVAL, PERIOD, |rig| peer.beat(rig, &[PLAIN])));
    let stall = notices.iter().find(|notice| notice.kind == NOTICE_LOCAL_STALL).unwrap();
    assert_eq!(stall.deadline_ns, stopped.due_ns);
    assert_eq!(stall.length_ns, stall.judged_ns - stall.deadline_ns);
    assert!(stall.length_ns >= 3 * default_timing().interval_ns, "{stall:#?}");
    assert!(stall.judged_ns < revived_ns + 2 * default_timing().interval_ns, "{stall:#?}");
    // Only a pause of this test after the revival could accuse the peer.
    let late: Vec<_> = notices.iter().filter(|notice| notice.kind == NOTICE_LATE).collect();
    assert!(late.iter().all(|notice| notice.stamp_ns > revived_ns), "{late:#?}");
    assert!(rig.judge().scans > stopped.scans);
}
