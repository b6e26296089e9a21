//! One link on two processors at once.

use std::{sync::Barrier, thread};

use heartbeat_common::{
    records::ARRIVALS,
    specimen::{
        Frame,
        world::{PEER, PLAIN},
    },
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::rig::{Rig, deliver};

/// Keeps the calling thread on one processor.
pub(crate) fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// Number of processors.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().unwrap().get()
}

#[test]
fn what_is_not_booked_for_contention_is_counted() {
    const ROUNDS: u64 = 40;
    const REPEAT: u32 = 2_000;
    assert!(processors() >= 2, "two processors are needed");
    let mut rig = Rig::new();
    let before = rig.counts();
    let program = &*rig.kernel.receiver().unwrap();
    let start = Barrier::new(2);
    thread::scope(|scope| {
        for cpu in 0..2 {
            let start = &start;
            scope.spawn(move || {
                stay_on(cpu as usize);
                for round in 0..ROUNDS {
                    // Every sequence number comes 2,000 times on either processor: one of them is the first.
                    let bytes = Frame::heartbeat(PLAIN, 1 + round).to_bytes();
                    start.wait();
                    deliver(program, &bytes, REPEAT);
                }
            });
        }
    });
    let counts = rig.counts().since(before);
    let link = rig.link(PEER, PLAIN);
    let (accepted, contended, duplicate) =
        (counts.counters.accepted, counts.counters.contended, counts.rejects.duplicate);
    println!("accepted {accepted}, duplicate {duplicate}, contended {contended}");
    assert_eq!(accepted + duplicate + contended, 2 * ROUNDS * u64::from(REPEAT));
    assert_eq!((link.received, link.duplicates), (accepted, duplicate));
    assert_eq!(link.received, ROUNDS, "each number exactly once");
    assert_eq!((link.lost, link.reordered, link.lock % 2), (0, 0, 0));
    assert!(contended > 0, "the processors never met: the test shows nothing");
    let newest = rig.arrivals(PEER, PLAIN).arrivals[(link.arrival_cursor as usize + ARRIVALS - 1) % ARRIVALS];
    assert_eq!((newest.sequence, newest.stamp_ns), (ROUNDS, link.stamp_ns));
}
