//! CPUs that are held in the kernel, all at once: what a host does to a machine whose virtual CPUs it takes away.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    cpu::{self, Priority, THIS_THREAD},
    frames,
    programs::{self, Programs},
    scene,
};

/// Above everything but the probe, so that the threads of all CPUs begin together.
const PRIORITY: Priority = Priority::Fifo(98);
/// XDP_DROP: the program held the CPU for as long as it was asked to.
const HELD: u32 = 1;

/// How long all CPUs are held, and how long they are let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holds {
    length: Duration,
    pause: Duration,
}

impl Holds {
    /// 20 ms again and again, which use up all credit that the judge has for stalls.
    pub(super) const STUTTER: Self = Self { length: Duration::from_millis(20), pause: Duration::from_millis(20) };

    /// Longer than a link may be quiet, and seldom enough for the credit.
    pub(super) fn long(interval: Duration) -> Self {
        Self { length: interval * 12 / 5, pause: interval * 20 }
    }
}

/// Holds one CPU again and again; threads of other CPUs that get the same `begin` hold theirs at the same time. Returns
/// for how many nanoseconds.
pub(super) fn hold(cpu: usize, holds: Holds, begin: Instant, stop: &AtomicBool) -> Result<u64> {
    cpu::pin(THIS_THREAD, cpu)?;
    let mut programs = Programs::open(&[scene::FIRST_PEER], &[])?;
    programs.array::<u64>("HOLD")?.set(0, u64::try_from(holds.length.as_nanos())?, 0)?;
    let program = programs.program("hold")?;
    cpu::schedule(THIS_THREAD, PRIORITY)?;
    let mut next = begin;
    let mut busy_ns = 0;
    while !stop.load(Ordering::Relaxed) {
        next += holds.pause;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        let run = programs::run(program, &[0; frames::LENGTH], 1)?;
        ensure!(run.verdict == HELD, "the program let go of its CPU after {:?}", start.elapsed());
        busy_ns += u64::try_from(start.elapsed().as_nanos())?;
        next += holds.length;
    }
    Ok(busy_ns)
}
