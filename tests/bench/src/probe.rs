//! An independent look at whether CPUs run at all: one thread on each, above everything else, that wakes every millisecond.
//!
//! A virtual CPU that the host takes away stops this thread as it stops the data plane. So does a kernel that does not
//! let go of a CPU for milliseconds (softirqs): such gaps are in the list as well.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use heartbeat_user::clock;
use serde::Serialize;

use crate::cpu::{self, Priority, THIS_THREAD};

const PERIOD: Duration = Duration::from_millis(1);
/// What counts as a stop.
pub(crate) const GAP_NS: u64 = 5_000_000;
const PRIORITY: Priority = Priority::Fifo(99);

/// A time in which a CPU did not run the probe.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Gap {
    /// The CPU.
    pub cpu: usize,
    /// Last sign of life, CLOCK_MONOTONIC nanoseconds.
    pub from_ns: u64,
    /// Next sign of life.
    pub to_ns: u64,
}

impl Gap {
    /// Did it cover any part of this time?
    pub(crate) fn overlaps(&self, from_ns: u64, to_ns: u64) -> bool {
        self.from_ns <= to_ns && from_ns <= self.to_ns
    }

    /// How long it was.
    pub(crate) fn length_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }
}

/// The threads.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Gap>>>>,
}

impl Probe {
    /// Starts one thread on each CPU.
    pub(crate) fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |cpu| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || watch(cpu, &stop))
        };
        let threads = (0..cpu::online()?).map(start).collect();
        Ok(Self { stop, threads })
    }

    /// Ends the threads and returns the gaps of all CPUs.
    pub(crate) fn stop(self) -> Result<Vec<Gap>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut gaps = Vec::new();
        for thread in self.threads {
            let watched = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            gaps.extend(watched.context("the probe failed")?);
        }
        gaps.sort_by_key(|gap| gap.from_ns);
        Ok(gaps)
    }
}

fn watch(cpu: usize, stop: &AtomicBool) -> Result<Vec<Gap>> {
    cpu::pin(THIS_THREAD, cpu)?;
    cpu::schedule(THIS_THREAD, PRIORITY)?;
    let mut gaps = Vec::new();
    let mut last_ns = clock::monotonic_ns();
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(PERIOD);
        let now_ns = clock::monotonic_ns();
        if now_ns - last_ns > GAP_NS {
            gaps.push(Gap { cpu, from_ns: last_ns, to_ns: now_ns });
        }
        last_ns = now_ns;
    }
    Ok(gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_explains_what_it_touches() {
        let gap = Gap { cpu: 0, from_ns: 10, to_ns: 20 };
        assert_eq!(gap.length_ns(), 10);
        for (from_ns, to_ns, touched) in [(0, 9, false), (0, 10, true), (12, 13, true), (20, 30, true), (21, 30, false)]
        {
            assert_eq!(gap.overlaps(from_ns, to_ns), touched, "{from_ns}..{to_ns}");
        }
    }
}
