//! A machine that stands still for real, on every processor at once, again and again.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use heartbeat_common::{
    notice::{NOTICE_FLAG_STALL_BUDGET_SPENT, NOTICE_LATE, NOTICE_LOCAL_STALL, NOTICE_SILENT, Notice},
    specimen::world::{OTHER_PEER, PEER, PLAIN},
};
use heartbeat_user::realtime::become_realtime;

use crate::{
    contention::{processors, stay_on},
    peers::{INTERVAL, PERIOD, Peer, accuses, assert_not_accused, default_timing, take_priority, watch_alone},
    rig::Rig,
    standstill::Standstill,
};

/// Below the test, which beats between the stalls, above everything else.
const PRIORITY: u8 = 55;

/// Tells the threads that stall to stop.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs `act` while every processor stands still for `stall`, again and again, with `pause` between.
fn while_stalling<R>(stall: Duration, pause: Duration, act: impl FnOnce() -> R) -> R {
    let (stop, last) = (AtomicBool::new(false), AtomicBool::new(false));
    let together = Barrier::new(processors());
    let standstill = Standstill::load(stall);
    thread::scope(|scope| {
        // Also when `act` panics: the scope waits for its threads.
        let _stopping = Stopping(&stop);
        for cpu in 0..processors() {
            let (stop, last, together, standstill) = (&stop, &last, &together, &standstill);
            scope.spawn(move || {
                stay_on(cpu);
                become_realtime(PRIORITY).unwrap();
                while !last.load(Ordering::SeqCst) {
                    // The pause is part of what is tested.
                    thread::sleep(pause);
                    // One of them decides for all: who left alone would leave the others waiting.
                    if together.wait().is_leader() {
                        last.store(stop.load(Ordering::SeqCst), Ordering::SeqCst);
                    }
                    together.wait();
                    standstill.run();
                }
            });
        }
        act()
    })
}

fn stalls(rig: &Rig) -> u64 {
    let stalls = rig.judge().stalls;
    println!("{} stalls, the longest {} us", stalls.count, stalls.longest_ns / 1_000);
    stalls.count
}

#[test]
fn a_machine_that_stutters_accuses_nobody_and_still_notices_a_dead_peer() {
    take_priority();
    let mut rig = Rig::new();
    let (mut living, mut dying) = (Peer::new(PEER), Peer::new(OTHER_PEER));
    while_stalling(Duration::from_millis(20), Duration::from_millis(15), || {
        rig.accept(PEER, &[PLAIN]);
        rig.accept(OTHER_PEER, &[PLAIN]);
        rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN), watch_alone(OTHER_PEER, PLAIN)]);
        let notices = rig.beat_for(100 * INTERVAL, PERIOD, |rig| {
            living.beat(rig, &[PLAIN]);
            dying.beat(rig, &[PLAIN]);
        });
        assert!(stalls(&rig) >= 10, "the machine does not stutter: {:#?}", rig.judge());
        assert!(notices.iter().any(|notice| notice.kind == NOTICE_LOCAL_STALL));
        assert_not_accused(&notices, PEER, PLAIN, &rig);
        assert_not_accused(&notices, OTHER_PEER, PLAIN, &rig);

        let died_ns = rig.link(OTHER_PEER, PLAIN).stamp_ns;
        let dead = |notice: &Notice| accuses(notice, OTHER_PEER) && notice.kind == NOTICE_SILENT;
        let notices = rig.beat_until(PERIOD, |rig| living.beat(rig, &[PLAIN]), dead);
        let silent = notices.iter().find(|notice| dead(notice)).unwrap();
        let (took_ns, timeout_ns) = (silent.judged_ns - died_ns, default_timing().silent_ns);
        println!(
            "dead peer noticed after {} ms, timeout {} ms, credit used up: {}",
            took_ns / 1_000_000,
            timeout_ns / 1_000_000,
            silent.flags & NOTICE_FLAG_STALL_BUDGET_SPENT != 0
        );
        // Credit is bounded to two timeouts within four: whatever the machine does, six are enough.
        assert!((timeout_ns..=6 * timeout_ns).contains(&took_ns), "{silent:#?}");
        assert_not_accused(&notices, PEER, PLAIN, &rig);
        stalls(&rig);
    });
}

/// A stall longer than the timeout: when it is over, the timer runs before anything that has arrived can be stamped.
#[test]
fn a_stall_beyond_the_timeout_is_credited_to_the_peer() {
    take_priority();
    let mut rig = Rig::new();
    let mut peer = Peer::new(PEER);
    let timing = default_timing();
    // Longer than the window of the credit, four timeouts for silence: each stall finds it full.
    let pause = Duration::from_nanos(5 * timing.silent_ns);
    let notices = while_stalling(Duration::from_millis(70), pause, || {
        rig.accept(PEER, &[PLAIN]);
        rig.start_judge(&timing, &[watch_alone(PEER, PLAIN)]);
        rig.beat_for(5 * pause, PERIOD, |rig| peer.beat(rig, &[PLAIN]))
    });

    assert!(stalls(&rig) >= 3, "{:#?}", rig.judge());
    let gap_ns = rig.link(PEER, PLAIN).longest_gap_ns;
    assert!(gap_ns > timing.late_ns, "no gap beyond the timeout: the test shows nothing ({gap_ns} ns)");
    let credited: Vec<&Notice> =
        notices.iter().filter(|notice| notice.kind == NOTICE_LOCAL_STALL && notice.flags == 0).collect();
    for stall in &credited {
        assert_eq!(stall.length_ns, stall.judged_ns - stall.deadline_ns);
    }
    let late: Vec<&Notice> = notices.iter().filter(|notice| notice.kind == NOTICE_LATE).collect();
    for late in &late {
        // This test, too, may be kept from beating by whatever else runs here. What is promised is time to be heard again.
        println!("late all the same: {late:?}");
        let spent = late.flags & NOTICE_FLAG_STALL_BUDGET_SPENT != 0;
        let stall = credited.iter().rfind(|stall| stall.judged_ns <= late.judged_ns);
        let grace_ns = stall.map_or(0, |stall| stall.judged_ns + timing.interval_ns + timing.slack_ns);
        assert!(spent || late.deadline_ns >= grace_ns, "{stall:#?}\n{late:#?}\n{:#?}", rig.judge());
    }
    let beyond = credited.iter().filter(|stall| stall.length_ns > timing.late_ns).count();
    assert!(beyond > late.len(), "{beyond} stalls beyond the timeout: {late:#?}\n{:#?}", rig.judge());
}

/// The tool of these tests.
#[test]
fn a_standstill_takes_as_long_as_it_should() {
    let length = Duration::from_millis(20);
    let standstill = Standstill::load(length);
    let run = |_| {
        let begin = Instant::now();
        standstill.run();
        begin.elapsed()
    };
    // Whatever else runs here can only make it longer.
    let shortest = (0..10).map(run).min().unwrap();
    assert!((length..3 * length).contains(&shortest), "{shortest:?}");
}
