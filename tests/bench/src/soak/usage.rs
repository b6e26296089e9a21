//! What it takes: run time of the program, and the CPUs' time as the kernel accounts for it.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::{AsFd, AsRawFd as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Of `kernel.bpf_stats_enabled`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramRuns {
    pub(crate) count: u64,
    pub(crate) nanoseconds: u64,
}

/// How often a program ran while statistics were on, and for how long.
pub(crate) fn program_runs(program: &impl AsFd) -> Result<ProgramRuns> {
    let path = format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
            .with_context(|| format!("{path} has no {name}"))
    };
    Ok(ProgramRuns { count: field("run_cnt:")?, nanoseconds: field("run_time_ns:")? })
}

/// Memory of all maps that this process has open, as the kernel accounts for it.
pub(super) fn map_bytes() -> Result<u64> {
    let mut sum = 0;
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fdinfo").context("cannot list descriptors")? {
        // A descriptor that has been closed meanwhile is none of ours.
        let Ok(text) = fs::read_to_string(entry.context("cannot list descriptors")?.path()) else { continue };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        // Several descriptors may stand for one map.
        if let (Some(bytes), Some(id)) = (field("memlock:"), field("map_id:"))
            && seen.insert(id)
        {
            sum += bytes;
        }
    }
    Ok(sum)
}

/// Ticks of all CPUs, from /proc/stat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    busy: u64,
    softirq: u64,
    steal: u64,
}

/// Shares of one CPU, in percent; the whole machine, other work on it included.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Usage {
    /// Everything but idle and waiting.
    pub(crate) busy: f64,
    /// Softirqs, as far as the kernel's sampling sees them.
    pub(crate) softirq: f64,
    /// Taken by the host.
    pub(crate) steal: f64,
}

/// Reads the counters.
pub(crate) fn now() -> Result<Ticks> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or(0);
    // user nice system idle iowait irq softirq steal
    let busy = field(0) + field(1) + field(2) + field(5) + field(6);
    Ok(Ticks { busy, softirq: field(6), steal: field(7) })
}

impl Ticks {
    /// What was used since then.
    pub(crate) fn since(&self, before: &Self, time: Duration) -> Usage {
        /// USER_HZ is 100 on every architecture that Linux still supports.
        const TICKS_PER_SECOND: f64 = 100.0;
        let share =
            |now: u64, before: u64| (now.saturating_sub(before)) as f64 / TICKS_PER_SECOND / time.as_secs_f64() * 100.0;
        Usage {
            busy: share(self.busy, before.busy),
            softirq: share(self.softirq, before.softirq),
            steal: share(self.steal, before.steal),
        }
    }
}
