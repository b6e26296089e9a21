//! `send`: how long the time between two heartbeats of a node gets, by sender and by load.
//!
//! Two real nodes; what counts is when heartbeats arrived, by the stamps of the receiver's program in the kernel, every one of
//! them, read out of ARRIVALS before the ring comes round.

mod cost;

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use heartbeat_common::{ABI_VERSION, ids, records::ArrivalRecord};
use heartbeat_tests::{cluster::Cluster, config::ClusterSpec, topology::TopologySpec};
use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::json;

use crate::{
    cpu::{self, Priority, THIS_THREAD},
    detect::round::wait_for_view,
    distribution::Distribution,
    ladder::{Rung, Witness, load::Load},
    probe::{Gap, Probe},
    report::{self, Machine},
};

const SENDER: u16 = 1;
const RECEIVER: u16 = 2;
const NETWORK: u8 = 1;
/// The ring holds 64 arrivals.
const SAMPLE: u64 = 20;
/// Whoever reads the ring must not wait for the hogs.
const READER: Priority = Priority::Fifo(70);
/// On the rung that stops the controller.
const STOP: Duration = Duration::from_secs(1);
/// So that nobody is removed while it stands still.
const LOST_AFTER: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest time between two heartbeats, by sender, interval and load.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// `[local] sender`, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = ["realtime".to_owned(), "metronome".to_owned()])]
    senders: Vec<String>,
    /// Milliseconds between heartbeats, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100], value_parser = clap::value_parser!(u64).range(1..=1200))]
    interval_ms: Vec<u64>,
    /// Loads
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Rung::Idle, Rung::Bursts, Rung::Hog, Rung::Stopped])]
    loads: Vec<Rung>,
    /// Of the lengths of bursts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instead: what heartbeats to and from as many peers on two networks cost, at the first interval
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=240))]
    peers: Option<u16>,
}

#[derive(Serialize)]
struct Measured {
    sender: String,
    engine: String,
    interval_ms: u64,
    load: &'static str,
    /// Between two arrivals.
    gaps: Distribution,
    /// Longer than two intervals.
    over_two_intervals: usize,
    /// Of those, ones during which a CPU stood still, by an independent probe.
    machine_stood_still: usize,
    longest_stop_ns: u64,
    hog_busy_ms: u64,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    measured: Vec<Measured>,
}

#[derive(Serialize)]
struct CostReport {
    machine: Machine,
    cost: cost::Cost,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(peers) = arguments.peers {
        let interval_ms = arguments.interval_ms.first().copied().unwrap_or(10);
        let cost = cost::measure(peers, interval_ms, arguments.seconds)?;
        cost::print(&cost);
        let report = CostReport { machine: report::machine()?, cost };
        report::print_machine(&report.machine);
        return report::save("send-cost", &report);
    }
    let mut measured = Vec::new();
    println!(
        "| interval | load | sender | heartbeats | gap: min | median | p99 | max (ms) | > 2 intervals | of them, CPU stood still | longest stop (ms) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for interval_ms in &arguments.interval_ms {
        for load in &arguments.loads {
            for sender in &arguments.senders {
                let one = measure(arguments, sender, *interval_ms, *load)
                    .with_context(|| format!("{sender} at {interval_ms} ms, {}", load.name()))?;
                println!(
                    "| {interval_ms} ms | {} | {} | {} | {} | {} | {} | {:.1} |",
                    one.load,
                    one.engine,
                    one.gaps.count + 1,
                    one.gaps.milliseconds(),
                    one.over_two_intervals,
                    one.machine_stood_still,
                    one.longest_stop_ns as f64 / 1e6
                );
                measured.push(one);
            }
        }
    }
    let report = Report { machine: report::machine()?, measured };
    report::print_machine(&report.machine);
    report::save("send", &report)
}

fn measure(arguments: &Arguments, sender: &str, interval_ms: u64, rung: Rung) -> Result<Measured> {
    let interval = Duration::from_millis(interval_ms);
    let mut spec = ClusterSpec::new(&format!("{interval_ms}ms"));
    (spec.sender, spec.lost_after) = (Some(sender.to_owned()), Some(LOST_AFTER));
    let cluster = Cluster::start(TopologySpec::new(2, 1), &spec)?;
    wait_for_view(&cluster, PATIENCE)?;
    // Until everybody knows where everybody is.
    thread::sleep(Duration::from_secs(1).max(3 * interval));
    let engine = cluster.node(SENDER).request(&json!({"request": "status"}))?["sender"]["engine"].clone();
    let path = cluster.node(RECEIVER).files().bpf_directory.join(format!("v{ABI_VERSION}/ARRIVALS"));
    let arrivals: Array<MapData, ArrivalRecord> = Array::try_from(Map::Array(MapData::from_pin(path)?))?;

    let probe = Probe::start()?;
    let load = Load::start(rung, cluster.topology(), interval, arguments.seconds, arguments.seed)?;
    cpu::schedule(THIS_THREAD, READER)?;
    let mut seen = BTreeMap::new();
    let start = Instant::now();
    let mut stopped = None;
    let begin_ns = heartbeat_user::clock::monotonic_ns();
    while start.elapsed() < Duration::from_secs(arguments.seconds) {
        let record = arrivals.get(&ids::link_index(SENDER, NETWORK), 0).context("ARRIVALS cannot be read")?;
        let new = record.arrivals.iter().filter(|arrival| arrival.stamp_ns >= begin_ns);
        seen.extend(new.map(|arrival| (arrival.sequence, arrival.stamp_ns)));
        if rung == Rung::Stopped {
            match stopped {
                None if start.elapsed() > Duration::from_millis(500) => {
                    cluster.node(SENDER).signal(Signal::SIGSTOP)?;
                    stopped = Some((Instant::now(), false));
                }
                Some((since, false)) if since.elapsed() >= STOP => {
                    cluster.node(SENDER).signal(Signal::SIGCONT)?;
                    stopped = Some((since, true));
                }
                None | Some(_) => {}
            }
        }
        thread::sleep(interval.min(Duration::from_millis(SAMPLE)));
    }
    cpu::schedule(THIS_THREAD, Priority::Other)?;
    let mut witness = Witness::default();
    load.stop(&mut witness)?;
    let stops = probe.stop()?;
    let stamps: Vec<u64> = seen.values().copied().collect();
    ensure!(stamps.len() > 1, "nothing arrived");
    let gaps: Vec<(u64, u64)> = stamps.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let long: Vec<&(u64, u64)> = gaps.iter().filter(|(from, to)| to - from > 2 * 1_000_000 * interval_ms).collect();
    // A hog keeps the probe off its CPU as well.
    let hogged = matches!(rung, Rung::Hog | Rung::Bursts | Rung::Held | Rung::Stutter);
    let stood_still = |gap: &&&(u64, u64)| !hogged && stops.iter().any(|stop| stop.overlaps(gap.0, gap.1));
    Ok(Measured {
        sender: sender.to_owned(),
        engine: engine.as_str().unwrap_or("unknown").to_owned(),
        interval_ms,
        load: rung.name(),
        over_two_intervals: long.len(),
        machine_stood_still: long.iter().filter(stood_still).count(),
        gaps: Distribution::of(gaps.iter().map(|(from, to)| to - from)),
        longest_stop_ns: stops.iter().map(Gap::length_ns).max().unwrap_or(0),
        hog_busy_ms: witness.hog_busy_ns / 1_000_000,
    })
}
