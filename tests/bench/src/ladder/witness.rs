//! That the load was really there: what it did to a plain thread, and what the machine says of its CPUs.

use std::{
    fs,
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

/// What showed that the rung was what it says.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Witness {
    /// Longest time that a SCHED_OTHER thread which wakes every millisecond did not run.
    pub plain_gap_ns: u64,
    /// CPU time that hogs held, over all CPUs.
    pub hog_busy_ns: u64,
    /// Frames sent at port 3343.
    pub frames_sent: u64,
    /// Frames that the data plane refused for their tag.
    pub frames_refused: u64,
    /// Times that a controller was stopped, and told so, or killed.
    pub faults: u64,
    /// Starts that came when the lease of the controller that was killed had ended. Such a start is a new life
    /// (membership.md 3.5), and that the old one is removed is true: verdicts from the kill to the new view do not count.
    pub late_starts: u64,
    /// Share of all CPUs that was busy, percent.
    pub busy_percent: f64,
    /// Time that the host took away from the machine's CPUs, ms.
    pub stolen_ms: u64,
}

/// A plain thread that looks at the clock.
pub(super) struct Plain {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
    before: Times,
}

impl Plain {
    pub(super) fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || longest_gap(&stop)
        });
        Ok(Self { stop, thread, before: Times::read()? })
    }

    /// Fills in its part.
    pub(super) fn stop(self, witness: &mut Witness) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        witness.plain_gap_ns = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let times = Times::read()?;
        let all = times.all - self.before.all;
        witness.busy_percent = 100.0 * (all - (times.idle - self.before.idle)) as f64 / all.max(1) as f64;
        // The kernel counts in hundredths of a second.
        witness.stolen_ms = 10 * (times.stolen - self.before.stolen);
        Ok(())
    }
}

fn longest_gap(stop: &AtomicBool) -> u64 {
    let (mut longest_ns, mut last_ns) = (0, clock::monotonic_ns());
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
        let now_ns = clock::monotonic_ns();
        longest_ns = longest_ns.max(now_ns - last_ns);
        last_ns = now_ns;
    }
    longest_ns
}

/// The first line of /proc/stat.
struct Times {
    all: u64,
    idle: u64,
    stolen: u64,
}

impl Times {
    fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("/proc/stat has no CPUs")?;
        let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guests are counted in user.
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        Ok(Self { all: fields.iter().take(8).sum(), idle: field(3) + field(4), stolen: field(7) })
    }
}
