//! The loads, from start to stop.

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use heartbeat_tests::topology::Topology;

use super::{
    hold::{Holds, hold},
    rung::Rung,
    witness::Witness,
};
use crate::{
    cpu::{self, Priority, THIS_THREAD},
    flood::{garbage::Garbage, pour},
};

/// Of one batch of the garbage generator at 200,000 frames a second.
const BATCH_TIME: Duration = Duration::from_millis(1);
/// Between two bursts: what is left for everybody else keeps the hog below the kernel's limit for real-time threads.
const BURST_PAUSE: Duration = Duration::from_millis(100);
/// How long the hog of one CPU holds it, and lets go of it.
const HOG: (Duration, Duration) = (Duration::from_millis(1500), Duration::from_millis(1000));

/// A load at work; ends with [`Load::stop`] or on drop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Done>>>,
    program: Option<Child>,
}

/// What a thread of a load did.
#[derive(Default)]
struct Done {
    busy_ns: u64,
    sent: u64,
}

impl Load {
    /// Starts what the rung asks for. `interval` is that of heartbeats, which the length of some loads goes by.
    pub(crate) fn start(rung: Rung, topology: &Topology, interval: Duration, seconds: u64, seed: u64) -> Result<Self> {
        let mut load = Self { stop: Arc::new(AtomicBool::new(false)), threads: Vec::new(), program: None };
        match rung {
            Rung::Idle | Rung::Stopped | Rung::Killed => {}
            Rung::Stress => load.program = Some(stress(seconds)?),
            Rung::Bursts => {
                for cpu in 0..cpu::online()? {
                    load.spawn(move |stop| bursts(cpu, seed, stop));
                }
            }
            Rung::Hog => load.spawn(hog),
            Rung::Garbage => load.spawn_garbage(topology, Some(BATCH_TIME))?,
            Rung::Flood => load.spawn_garbage(topology, None)?,
            Rung::Held => load.spawn_holds(Holds::long(interval))?,
            Rung::Stutter => load.spawn_holds(Holds::STUTTER)?,
        }
        Ok(load)
    }

    /// Ends it, and fills in what it did.
    pub(crate) fn stop(mut self, witness: &mut Witness) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let done = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            witness.hog_busy_ns += done.busy_ns;
            witness.frames_sent += done.sent;
        }
        Ok(())
    }

    fn spawn(&mut self, work: impl FnOnce(&AtomicBool) -> Result<Done> + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(thread::spawn(move || work(&stop)));
    }

    fn spawn_holds(&mut self, holds: Holds) -> Result<()> {
        /// Until all threads have their program.
        const PREPARATION: Duration = Duration::from_millis(500);
        let begin = Instant::now() + PREPARATION;
        for cpu in 0..cpu::online()? {
            self.spawn(move |stop| Ok(Done { busy_ns: hold(cpu, holds, begin, stop)?, sent: 0 }));
        }
        Ok(())
    }

    fn spawn_garbage(&mut self, topology: &Topology, pace: Option<Duration>) -> Result<()> {
        let socket = pour::cable(topology, 1, 1)?;
        // Right but for the tag: the most expensive kind of garbage.
        let frame = Garbage::BadTag.made((2, 1), 1);
        self.spawn(move |stop| Ok(Done { busy_ns: 0, sent: pour::pour(&socket, &[frame], pace, stop)? }));
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(program) = &mut self.program {
            // SIGTERM would let it report; it has been told to be quiet. Both fail only where it has ended already.
            let _ended = program.kill();
            let _status = program.wait();
        }
    }
}

fn stress(seconds: u64) -> Result<Child> {
    // It ends with this process, so that it can clean up, and by itself at the latest.
    let limit = (seconds + 60).to_string();
    Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "stress-ng"])
        .args(["--cpu", "8", "--vm", "2", "--vm-bytes", "1G", "--hdd", "2", "--hdd-bytes", "256M", "--switch", "2"])
        .args(["--quiet", "--timeout", &limit, "--temp-path"])
        .arg(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start `stress-ng` (package stress-ng)")
}

/// All threads draw the same lengths and start together, so that no CPU is left.
fn bursts(cpu: usize, seed: u64, stop: &AtomicBool) -> Result<Done> {
    cpu::pin(THIS_THREAD, cpu)?;
    cpu::schedule(THIS_THREAD, Priority::Fifo(50))?;
    let mut state = seed | 1;
    let mut next = Instant::now() + BURST_PAUSE;
    let mut done = Done::default();
    while !stop.load(Ordering::Relaxed) {
        // xorshift64: the same bursts for the same seed.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let length = Duration::from_millis(50 + state % 451);
        thread::sleep(next.saturating_duration_since(Instant::now()));
        done.busy_ns += spin_until(next + length, stop);
        next += length + BURST_PAUSE;
    }
    Ok(done)
}

fn hog(stop: &AtomicBool) -> Result<Done> {
    cpu::pin(THIS_THREAD, 0)?;
    cpu::schedule(THIS_THREAD, Priority::Fifo(99))?;
    let (busy, pause) = HOG;
    let mut done = Done::default();
    while !stop.load(Ordering::Relaxed) {
        done.busy_ns += spin_until(Instant::now() + busy, stop);
        thread::sleep(pause);
    }
    Ok(done)
}

/// Holds the CPU, and returns for how many nanoseconds.
fn spin_until(end: Instant, stop: &AtomicBool) -> u64 {
    let start = Instant::now();
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
