//! What is measured of one system: detection, steadiness under load, cost, and a flood.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use heartbeat_user::clock;
use nix::sys::signal::Signal;
use serde::Serialize;

use super::{
    adapter::SURVIVOR,
    garbage,
    subject::{self, Subject},
};
use crate::{
    flood::Flood,
    ladder::{Rung, Witness, load::Load},
    soak::usage,
};

/// For a group to come up, which takes BFD some seconds at its slow start, and corosync its own timeouts.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// A loss that is not told within this is none: a hundred times the budget.
const LIMIT: Duration = Duration::from_secs(3);
/// Between a return and the next fault, so that no timer of the return is left.
const SETTLE: Duration = Duration::from_millis(700);
/// How long a survivor is stopped.
const STALL: Duration = Duration::from_secs(1);
/// Of 200 frames of a flood: 200,000 a second.
const FLOOD_PACE: Duration = Duration::from_millis(1);
/// The peer that things happen to.
const VICTIM: u16 = 2;
const NETWORK: u8 = 1;

/// How a peer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fault {
    /// Its link is cut in both directions.
    Cut,
    /// SIGKILL to all of its processes.
    Kill,
    /// SIGSTOP to all of its processes.
    Stop,
}

impl Fault {
    pub(super) const ALL: [Self; 3] = [Self::Cut, Self::Kill, Self::Stop];
}

/// From just before the fault to the survivor's word, in nanoseconds; `None` where it did not notice within 3 s.
pub(super) fn detection(subject: &mut dyn Subject, fault: Fault) -> Result<Option<u64>> {
    subject.wait_until_up(PATIENCE)?;
    thread::sleep(SETTLE);
    let from_ns = clock::monotonic_ns();
    match fault {
        Fault::Cut => drop(subject.topology().cut(VICTIM, NETWORK)?),
        Fault::Kill => subject::signal(subject, VICTIM, Signal::SIGKILL)?,
        Fault::Stop => subject::signal(subject, VICTIM, Signal::SIGSTOP)?,
    }
    let noticed_ns = subject::wait_for_loss(subject, (SURVIVOR, VICTIM), from_ns, LIMIT);
    match fault {
        Fault::Cut => drop(subject.topology().heal(VICTIM, NETWORK)?),
        Fault::Kill => subject.restart(VICTIM)?,
        Fault::Stop => subject::signal(subject, VICTIM, Signal::SIGCONT)?,
    }
    Ok(noticed_ns.map(|at_ns| at_ns - from_ns))
}

/// Verdicts against peers that nothing was wrong with.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Steadiness {
    pub(super) idle: usize,
    pub(super) stress: usize,
    pub(super) bursts: usize,
    /// By a survivor that was stopped for a second, in the second after it goes on.
    pub(super) stopped: usize,
    /// Frames of the flood.
    pub(super) flood_frames: u64,
    /// During the flood.
    pub(super) flood: usize,
    /// Whether all held each other for up again within 10 s of the flood's end.
    pub(super) up_after_flood: bool,
    /// CPU milliseconds a second of the survivor during the flood.
    pub(super) flood_cpu_ms: f64,
    pub(super) seconds: f64,
}

/// Runs each load for so long.
pub(super) fn steadiness(subject: &mut dyn Subject, seconds: u64, seed: u64) -> Result<Steadiness> {
    let time = Duration::from_secs(seconds);
    let mut found = Steadiness { seconds: time.as_secs_f64(), ..Steadiness::default() };
    found.idle = under(subject, Rung::Idle, seconds, seed)?;
    found.stress = under(subject, Rung::Stress, seconds, seed)?;
    found.bursts = under(subject, Rung::Bursts, seconds, seed)?;
    found.stopped = stopped(subject)?;

    subject.wait_until_up(PATIENCE)?;
    let frames = vec![garbage::frame(subject.door(), VICTIM, SURVIVOR)];
    let (from_ns, before) = (clock::monotonic_ns(), run_time(subject)?);
    let flood = Flood::start(subject.topology(), (SURVIVOR, NETWORK), frames, Some(FLOOD_PACE))?;
    thread::sleep(time);
    found.flood_frames = flood.stop()?;
    found.flood_cpu_ms = (run_time(subject)?.saturating_sub(before)) as f64 / 1e6 / time.as_secs_f64();
    found.flood = subject::accusations(&subject.said(), None, from_ns, clock::monotonic_ns());
    found.up_after_flood = subject.wait_until_up(Duration::from_secs(10)).is_ok();
    Ok(found)
}

fn under(subject: &mut dyn Subject, rung: Rung, seconds: u64, seed: u64) -> Result<usize> {
    subject.wait_until_up(PATIENCE)?;
    thread::sleep(SETTLE);
    let from_ns = clock::monotonic_ns();
    let load = Load::start(rung, subject.topology(), Duration::from_millis(10), seconds, seed)?;
    thread::sleep(Duration::from_secs(seconds));
    load.stop(&mut Witness::default())?;
    Ok(subject::accusations(&subject.said(), None, from_ns, clock::monotonic_ns()))
}

fn stopped(subject: &mut dyn Subject) -> Result<usize> {
    subject.wait_until_up(PATIENCE)?;
    thread::sleep(SETTLE);
    subject::signal(subject, SURVIVOR, Signal::SIGSTOP)?;
    thread::sleep(STALL);
    let from_ns = clock::monotonic_ns();
    subject::signal(subject, SURVIVOR, Signal::SIGCONT)?;
    thread::sleep(STALL);
    Ok(subject::accusations(&subject.said(), Some(SURVIVOR), from_ns, clock::monotonic_ns()))
}

/// CPU time of a survivor at rest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Cost {
    pub(super) peers: u16,
    /// Milliseconds a second of its processes' threads, what they do in the kernel included.
    pub(super) processes_ms: f64,
    /// Milliseconds a second of softirqs on the whole machine, that is of all nodes of the group, as the tick samples them.
    pub(super) softirq_ms: f64,
}

/// Measures it for so long.
pub(super) fn cost(subject: &mut dyn Subject, peers: u16, seconds: u64) -> Result<Cost> {
    subject.wait_until_up(PATIENCE)?;
    thread::sleep(SETTLE);
    let (started, ticks, before) = (Instant::now(), usage::now()?, run_time(subject)?);
    thread::sleep(Duration::from_secs(seconds));
    let (time, after) = (started.elapsed(), run_time(subject)?);
    Ok(Cost {
        peers,
        processes_ms: after.saturating_sub(before) as f64 / 1e6 / time.as_secs_f64(),
        // A percent of a CPU is ten milliseconds a second.
        softirq_ms: usage::now()?.since(&ticks, time).softirq * 10.0,
    })
}

/// Nanoseconds that all threads of the survivor have run, from their schedstat.
fn run_time(subject: &dyn Subject) -> Result<u64> {
    let mut sum = 0;
    for pid in subject::processes(subject.topology().node(SURVIVOR))? {
        // A process or thread may end meanwhile.
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.filter_map(Result::ok) {
            let Ok(text) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let run = text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
            sum += run.context("a thread's schedstat has no run time")?;
        }
    }
    Ok(sum)
}
