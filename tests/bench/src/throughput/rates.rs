//! How many heartbeats one CPU accepts, by XDP and by a socket, taking turns.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::programs::XdpMode;
use heartbeat_user::dataplane::{KernelCounts, kernel::Kernel};
use nix::unistd::Pid;
use serde::Serialize;

use crate::{
    arena::Wire,
    cpu::{self, Priority, SUBJECT_CPU, THIS_THREAD},
    generator::{Generator, Made},
    receiver::Receiver,
    scene,
};

/// Peers that send, taking turns.
const PEERS: u16 = 32;
const NETWORK: u8 = 1;
/// Until rings and caches are in the state that lasts.
const WARM_UP: Duration = Duration::from_millis(300);
/// Above the threads that it starts and measures, which set their own.
const PRIORITY: Priority = Priority::Fifo(70);
/// How long a round may take to end.
const TICK: Duration = Duration::from_millis(20);

/// Who receives, and how its threads are scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Priority of the kernel's thread that polls the interface.
    Xdp(Priority),
    /// Priorities of the receiving thread, and of that of the kernel.
    Socket(Priority, Priority),
}

const KINDS: [(&str, Kind); 6] = [
    ("XDP, polling SCHED_OTHER", Kind::Xdp(Priority::Other)),
    ("XDP, polling SCHED_FIFO", Kind::Xdp(Priority::Fifo(50))),
    ("socket, SCHED_OTHER", Kind::Socket(Priority::Other, Priority::Other)),
    ("socket, SCHED_FIFO", Kind::Socket(Priority::Fifo(50), Priority::Other)),
    ("socket, SCHED_FIFO, polling FIFO below it", Kind::Socket(Priority::Fifo(50), Priority::Fifo(40))),
    ("socket, SCHED_FIFO, polling FIFO above it", Kind::Socket(Priority::Fifo(40), Priority::Fifo(50))),
];

/// One receiver's rounds.
#[derive(Serialize)]
struct Receiving {
    name: &'static str,
    /// Accepted heartbeats per second, by round.
    accepted: Vec<f64>,
    /// Heartbeats per second that the generator offered, by round.
    offered: Vec<f64>,
}

/// The result.
#[derive(Serialize)]
pub(super) struct Report {
    seconds: u64,
    receivers: Vec<Receiving>,
    /// Best median of XDP over the best median of a SCHED_FIFO socket.
    ratio: f64,
}

/// Runs `rounds` rounds of `seconds` for each receiver.
pub(super) fn measure(rounds: usize, seconds: u64) -> Result<Report> {
    cpu::schedule(THIS_THREAD, PRIORITY)?;
    let peers: Vec<u16> = (scene::FIRST_PEER..scene::FIRST_PEER + PEERS).collect();
    let wire = Wire::lay(NETWORK)?;
    let poller = wire.poll_in_thread()?;
    cpu::pin(poller, SUBJECT_CPU)?;
    let (mut kernel, _memory) = scene::load(&peers, &[wire.receiver_index()?], 1)?;
    let counts = kernel.take_counts()?;
    let (mut generator, made) = Generator::new(&wire, &peers)?;
    let mut scene = Scene { wire: &wire, poller, kernel: &mut kernel, counts: &counts, made: &made, peers: &peers };

    let mut receivers: Vec<Receiving> =
        KINDS.iter().map(|(name, _)| Receiving { name, accepted: Vec::new(), offered: Vec::new() }).collect();
    for round in 1..=rounds {
        for ((name, kind), receiving) in KINDS.iter().zip(&mut receivers) {
            let (accepted, offered) =
                scene.round(&mut generator, *kind, Duration::from_secs(seconds)).with_context(|| (*name).to_owned())?;
            eprintln!("round {round}: {name}: {accepted:.0} accepted of {offered:.0} offered per second");
            receiving.accepted.push(accepted);
            receiving.offered.push(offered);
        }
    }
    cpu::schedule(THIS_THREAD, Priority::Other)?;
    let ratio = ratio(&receivers);
    Ok(Report { seconds, receivers, ratio })
}

struct Scene<'a> {
    wire: &'a Wire,
    poller: Pid,
    kernel: &'a mut Kernel,
    counts: &'a KernelCounts,
    made: &'a Made,
    peers: &'a [u16],
}

impl Scene<'_> {
    /// Accepted and offered heartbeats per second.
    fn round(&mut self, generator: &mut Generator, kind: Kind, time: Duration) -> Result<(f64, f64)> {
        match kind {
            Kind::Xdp(polling) => {
                cpu::schedule(self.poller, polling)?;
                let index = self.wire.receiver_index()?;
                let program = self.kernel.receiver()?;
                let link = program.attach_to_if_index(index, XdpMode::Driver).context("XDP cannot be attached")?;
                let (counts, made) = (self.counts, self.made);
                let result = during(generator, made, time, || Ok(counts.read()?.1.accepted));
                cpu::schedule(self.poller, Priority::Other)?;
                self.kernel.receiver()?.detach(link).context("XDP cannot be detached")?;
                result
            }
            Kind::Socket(receiving, polling) => {
                cpu::schedule(self.poller, polling)?;
                let result = self.socket_round(generator, receiving, time);
                cpu::schedule(self.poller, Priority::Other)?;
                result
            }
        }
    }

    fn socket_round(&self, generator: &mut Generator, priority: Priority, time: Duration) -> Result<(f64, f64)> {
        let mut receiver = Receiver::bind(self.wire.network, self.peers)?;
        let (stop, accepted) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let receiving = scope.spawn(|| receiver.receive(priority, &stop, &accepted));
            let result = during(generator, self.made, time, || Ok(accepted.load(Ordering::Relaxed)));
            stop.store(true, Ordering::Relaxed);
            join(receiving)?;
            result
        })
    }
}

/// Sends for `time` after the warm-up; rates of what `accepted` counts, and of what was sent.
fn during(
    generator: &mut Generator,
    made: &Made,
    time: Duration,
    accepted: impl Fn() -> Result<u64>,
) -> Result<(f64, f64)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| generator.send(&stop));
        let counted = (|| {
            thread::sleep(WARM_UP);
            let (start, first, first_sent) = (Instant::now(), accepted()?, made.count()?);
            while start.elapsed() < time {
                thread::sleep(TICK);
            }
            let (elapsed, last, last_sent) = (start.elapsed(), accepted()?, made.count()?);
            let rate = |count: u64| count as f64 / elapsed.as_secs_f64();
            Ok((rate(last - first), rate(last_sent - first_sent)))
        })();
        stop.store(true, Ordering::Relaxed);
        join(sending)?;
        counted
    })
}

fn join(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ratio(receivers: &[Receiving]) -> f64 {
    let of = |wanted: fn(Kind) -> bool| {
        KINDS.iter().zip(receivers).filter(move |((_, kind), _)| wanted(*kind)).map(|(_, one)| median(&one.accepted))
    };
    let xdp = of(|kind| matches!(kind, Kind::Xdp(_))).fold(0.0, f64::max);
    let fifo = of(|kind| matches!(kind, Kind::Socket(Priority::Fifo(_), _))).fold(0.0, f64::max);
    xdp / fifo
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

impl Report {
    /// Prints to stdout, in Markdown.
    pub(super) fn print(&self) {
        println!("\nAccepted heartbeats per second, {} s a round, {PEERS} peers\n", self.seconds);
        println!("| receiver | min | median | max | offered, median |");
        println!("|---|---|---|---|---|");
        for receiving in &self.receivers {
            let least = receiving.accepted.iter().copied().fold(f64::INFINITY, f64::min);
            let most = receiving.accepted.iter().copied().fold(0.0, f64::max);
            let (middle, offered) = (median(&receiving.accepted), median(&receiving.offered));
            println!("| {} | {least:.0} | {middle:.0} | {most:.0} | {offered:.0} |", receiving.name);
        }
        let met = if self.ratio >= 4.0 { "met" } else { "MISSED" };
        println!("\nXDP over the best SCHED_FIFO socket, by medians: {:.2} (wanted: 4, {met})", self.ratio);
    }
}
