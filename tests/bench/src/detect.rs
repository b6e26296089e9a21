//! `detect`: how long real processes take to notice that a node is cut off, and to agree on the view without it.

pub(crate) mod round;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use heartbeat_tests::{cluster::Cluster, config::ClusterSpec, topology::TopologySpec};
use serde::Serialize;

use crate::{
    distribution::Distribution,
    probe::{Gap, Probe},
    report::{self, Machine},
};
use round::{Round, Timing};

/// Removals that a node survives without being quarantined: the third within an hour keeps it out.
const REMOVALS_PER_NODE: usize = 2;

/// Detection of a node that is cut off, with real processes in namespaces.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Repetitions at 10 ms x 3; nodes take turns
    #[arg(long, default_value_t = 50)]
    repetitions: usize,
    /// Repetitions at the default timing, 1.2 s x 6
    #[arg(long, default_value_t = 5)]
    default_repetitions: usize,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(3..=16))]
    nodes: u16,
    /// Networks of the cluster
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    networks: u8,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    nodes: u16,
    networks: u8,
    timings: Vec<Measured>,
    /// Stops of a CPU above 5 ms that an independent probe saw meanwhile.
    gaps: Vec<Gap>,
}

/// All repetitions at one timing.
#[derive(Serialize)]
struct Measured {
    interval_ms: f64,
    lost_after: u32,
    rounds: Vec<Round>,
    detection: Distribution,
    agreement: Distribution,
    /// Repetitions during which the probe saw a CPU stop.
    disturbed: usize,
    /// 1135 about a node that was not cut off.
    false_removals: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.repetitions + arguments.default_repetitions > 0, "nothing to repeat");
    let mut taken = Vec::new();
    let probe = Probe::start()?;
    let wanted = [(Timing::FAST, arguments.repetitions), (Timing::DEFAULT, arguments.default_repetitions)];
    for (timing, repetitions) in wanted.into_iter().filter(|(_, repetitions)| *repetitions > 0) {
        taken.push((timing, repeat(arguments, timing, repetitions)?));
    }
    let gaps = probe.stop()?;
    let timings = taken.into_iter().map(|(timing, rounds)| Measured::new(timing, rounds, &gaps)).collect();
    let report =
        Report { machine: report::machine()?, nodes: arguments.nodes, networks: arguments.networks, timings, gaps };
    print(&report);
    report::save("detect", &report)
}

/// Nodes are cut off in turn; the cluster is a new one before any of them would be quarantined.
fn repeat(arguments: &Arguments, timing: Timing, repetitions: usize) -> Result<Vec<Round>> {
    let mut rounds = Vec::with_capacity(repetitions);
    let victims: Vec<u16> = (1..=arguments.nodes).cycle().take(repetitions).collect();
    for victims in victims.chunks(REMOVALS_PER_NODE * usize::from(arguments.nodes)) {
        let cluster = start(arguments, timing)?;
        for victim in victims {
            let round = round::cut_off(&cluster, timing, *victim)?;
            println!(
                "{} x {}, node {victim}: 1135 on all {:.2} ms after its last heartbeat, view {:.2} ms after the last \
                 verdict fell due",
                timing.interval,
                timing.lost_after,
                round.removal.detection_ns as f64 / 1e6,
                round.removal.agreement_ns as f64 / 1e6
            );
            rounds.push(round);
        }
    }
    Ok(rounds)
}

fn start(arguments: &Arguments, timing: Timing) -> Result<Cluster> {
    let mut spec = ClusterSpec::new(timing.interval);
    spec.lost_after = Some(timing.lost_after);
    let topology = TopologySpec::new(arguments.nodes, arguments.networks);
    let cluster = Cluster::start(topology, &spec)?;
    round::wait_for_view(&cluster, timing.patience)?;
    Ok(cluster)
}

impl Measured {
    fn new(timing: Timing, rounds: Vec<Round>, gaps: &[Gap]) -> Self {
        let disturbed = |round: &&Round| {
            gaps.iter().any(|gap| gap.overlaps(round.removal.last_heard_ns, round.removal.installed_ns))
        };
        Self {
            interval_ms: timing.interval_ns as f64 / 1e6,
            lost_after: timing.lost_after,
            detection: Distribution::of(rounds.iter().map(|round| round.removal.detection_ns)),
            agreement: Distribution::of(rounds.iter().map(|round| round.removal.agreement_ns)),
            disturbed: rounds.iter().filter(disturbed).count(),
            false_removals: rounds.iter().map(|round| round.false_removals).sum(),
            rounds,
        }
    }
}

fn print(report: &Report) {
    println!("\n{} nodes on {} networks; milliseconds\n", report.nodes, report.networks);
    println!("| timing | from, to | repetitions | min | median | p99 | max |\n|---|---|---|---|---|---|---|");
    for measured in &report.timings {
        let timing = format!("{} ms x {}", measured.interval_ms, measured.lost_after);
        let rows = BTreeMap::from([
            ("last accepted heartbeat, 1135 on all survivors", measured.detection),
            ("verdict due on the last survivor, view on all", measured.agreement),
        ]);
        for (what, distribution) in rows {
            println!("| {timing} | {what} | {} | {} |", measured.rounds.len(), distribution.milliseconds());
        }
        println!(
            "\n{timing}: {} false removals; {} of {} repetitions overlap a stop of a CPU above 5 ms\n",
            measured.false_removals,
            measured.disturbed,
            measured.rounds.len()
        );
    }
    report::print_machine(&report.machine);
}
