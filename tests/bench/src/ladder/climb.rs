//! One rung: a fresh cluster, the load, the faults, and what the nodes told.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST, LOCAL_STALL},
    naming::network_name,
    process::find_program,
    topology::TopologySpec,
};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{
    departures,
    gaps::GapWatch,
    guard::Demotion,
    load::Load,
    outcome::Outcome,
    records,
    rung::Rung,
    verdicts::Verdicts,
    witness::{Plain, Witness},
};
use crate::{detect::round::wait_for_view, distribution::Distribution, probe::Probe};

/// 9011: a controller has started.
const CONTROLLER_STARTED: u64 = 9011;
const NETWORKS: u8 = 2;
const LOST_AFTER: u64 = 3;
/// The link that is cut again and again: what node 1 sends to node 2 on the last network.
const CUT: (u16, u16, u8) = (1, 2, NETWORKS);
/// Intervals that it is cut for: late after two, and back well before anybody would call the node silent.
const CUT_INTERVALS: u32 = 5;
/// Between two cuts.
const CUT_PAUSE: Duration = Duration::from_millis(300);
/// Times that a controller is stopped or killed.
const FAULTS: u32 = 10;
/// For the removal and the view; a bound for failures under load, not a measure.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The same for nodes without a guard, which may never get there.
const DEMOTED_PATIENCE: Duration = Duration::from_secs(5);

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes, at least two.
    pub nodes: u16,
    /// `[local] sender`; the program's default if `None`.
    pub sender: Option<String>,
    /// Milliseconds between heartbeats.
    pub interval_ms: u64,
    /// How long a load lasts.
    pub seconds: u64,
    /// Of the bursts.
    pub seed: u64,
    /// Times that a node is cut off at the end, one after the other, while the load goes on.
    pub removals: u32,
    /// What is taken away from every node, to show that it is needed.
    pub demotion: Option<Demotion>,
}

impl Plan {
    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    fn interval_ns(&self) -> u64 {
        self.interval_ms * 1_000_000
    }

    pub(super) fn silent_ns(&self) -> u64 {
        LOST_AFTER * self.interval_ns() + (self.interval_ns() / 8).max(1_000_000)
    }
}

/// Runs one rung.
///
/// # Errors
///
/// When the cluster does not come up, the load does not start, or a node that is cut off or killed is not removed.
pub fn climb(plan: &Plan, rung: Rung) -> Result<Outcome> {
    let mut cluster = start(plan)?;
    let place = cluster.events().len();
    let refused_before = refused(&cluster)?;
    let probe = Probe::start()?;
    let plain = Plain::start()?;
    let gap_watch = GapWatch::start(&cluster, plan.interval());
    let started = Instant::now();
    let load = Load::start(rung, cluster.topology(), plan.interval(), plan.seconds, plan.seed)?;
    let mut witness = Witness::default();
    let mut removed_rightly = Vec::new();
    match rung {
        Rung::Stopped => stop_and_continue(&cluster, plan, &mut witness)?,
        Rung::Killed => {
            removed_rightly = kill_and_start(&mut cluster, plan, &mut witness)?;
            witness.late_starts = u64::try_from(removed_rightly.len())?;
        }
        Rung::Idle
        | Rung::Stress
        | Rung::Bursts
        | Rung::Hog
        | Rung::Garbage
        | Rung::Flood
        | Rung::Held
        | Rung::Stutter => {
            cut_again_and_again(&cluster, plan, started)?;
        }
    }
    let events: Vec<_> = (place..).zip(cluster.events().since(place)).collect();
    let counts = |place: &usize| !removed_rightly.iter().any(|range| range.contains(place));
    let events: Vec<_> = events.into_iter().filter(|(place, _)| counts(place)).map(|(_, event)| event).collect();
    let seen = gap_watch.stop()?;
    let measured = Measured::of(&cluster)?;
    let on_rung = || format!("on rung {}", rung.name());
    let mut removals = Vec::new();
    match plan.demotion {
        None => departures::cut_off(&cluster, plan, PATIENCE, &mut removals).with_context(on_rung)?,
        // Nodes without a guard may have stopped, and then nobody is there to remove anybody.
        Some(_) => {
            let _stuck = departures::cut_off(&cluster, plan, DEMOTED_PATIENCE, &mut removals);
        }
    }
    let kill_told_ns = if matches!(rung, Rung::Stress | Rung::Bursts) && plan.demotion.is_none() {
        let told = departures::kill(&mut cluster, plan).with_context(on_rung)?;
        Some(u64::try_from(told.as_nanos())?)
    } else {
        None
    };
    witness.frames_refused = refused(&cluster)?.saturating_sub(refused_before);
    load.stop(&mut witness)?;
    plain.stop(&mut witness)?;
    let seconds = started.elapsed().as_secs_f64();
    let stops = probe.stop()?;
    // The hog of one CPU keeps the probe from running there as well.
    let stops: Vec<_> = stops.into_iter().filter(|gap| rung != Rung::Hog || gap.cpu != 0).collect();
    let (cut_from, cut_to, network) = CUT;
    let is_expected = |event: &Event| {
        event.id() == LINK_LOST
            && event.node() == u64::from(cut_to)
            && event.peer() == Some(u64::from(cut_from))
            && event.network() == Some(network_name(network).as_str())
    };
    Ok(Outcome {
        rung,
        nodes: plan.nodes,
        sender: plan.sender.clone().unwrap_or_else(|| "default".to_owned()),
        engine: measured.engine,
        interval_ns: plan.interval_ns(),
        seconds,
        verdicts: Verdicts::of(&events, &stops, plan.silent_ns(), is_expected),
        send_gaps: seen.beside(&stops, plan.interval_ns()),
        longest_send_gap_ns: measured.longest_send_gap_ns,
        longest_arrival_gap_ns: measured.longest_arrival_gap_ns,
        judge_latest_ns: measured.judge_latest_ns,
        told: Distribution::of(removals.iter().map(|removal| removal.detection_ns)),
        agreed: Distribution::of(removals.iter().map(|removal| removal.agreement_ns)),
        removals,
        kill_told_ns,
        witness,
        stops,
    })
}

fn start(plan: &Plan) -> Result<Cluster> {
    let mut spec = ClusterSpec::new(&format!("{}ms", plan.interval_ms));
    spec.lost_after = Some(u32::try_from(LOST_AFTER)?);
    spec.sender.clone_from(&plan.sender);
    let mut program = find_program()?;
    if plan.demotion == Some(Demotion::Catching) {
        program.set_file_name("heartbeat-unguarded");
    }
    let mut cluster = Cluster::prepare(TopologySpec::new(plan.nodes, NETWORKS), &spec, &program)?;
    for node in cluster.topology().node_ids() {
        cluster.start_node(node, &[])?;
    }
    wait_for_view(&cluster, PATIENCE)?;
    if let Some(demotion) = plan.demotion {
        cluster.nodes().iter().try_for_each(|node| demotion.apply(node))?;
    }
    Ok(cluster)
}

/// Until the plan's time is over: each cut is one true verdict.
fn cut_again_and_again(cluster: &Cluster, plan: &Plan, started: Instant) -> Result<()> {
    let (from, to, network) = CUT;
    while started.elapsed() < Duration::from_secs(plan.seconds) {
        cluster.topology().cut_one_way(network, from, to)?;
        thread::sleep(CUT_INTERVALS * plan.interval());
        cluster.topology().heal_one_way(network, from, to)?;
        thread::sleep(CUT_PAUSE.max(3 * plan.interval()));
    }
    Ok(())
}

fn stop_and_continue(cluster: &Cluster, plan: &Plan, witness: &mut Witness) -> Result<()> {
    let node = cluster.node(plan.nodes);
    for round in 0..FAULTS {
        let place = cluster.events().len();
        node.signal(Signal::SIGSTOP)?;
        thread::sleep(Duration::from_secs(if round % 2 == 0 { 1 } else { 3 }));
        node.signal(Signal::SIGCONT)?;
        let stalled = |event: &Event| {
            event.node() == u64::from(plan.nodes)
                && event.id() == LOCAL_STALL
                && event.detail()["source"] == "controller"
                && event.detail()["length_ns"].as_u64().is_some_and(|length_ns| length_ns > 900_000_000)
        };
        cluster.events().wait_for(place, PATIENCE, "9001 of the stopped controller", stalled)?;
        witness.faults += 1;
        wait_for_view(cluster, PATIENCE)?;
        forget_removals(cluster, plan.nodes);
        thread::sleep(CUT_PAUSE);
    }
    Ok(())
}

/// Gives the places of the events in which starts are told that came after the end of the lease.
fn kill_and_start(cluster: &mut Cluster, plan: &Plan, witness: &mut Witness) -> Result<Vec<Range<usize>>> {
    let mut late_starts = Vec::new();
    for _ in 0..FAULTS {
        let place = cluster.events().len();
        cluster.node_mut(plan.nodes).kill()?;
        cluster.start_node(plan.nodes, &[])?;
        witness.faults += 1;
        let started = |event: &Event| event.node() == u64::from(plan.nodes) && event.id() == CONTROLLER_STARTED;
        let start = cluster.events().wait_for(place, PATIENCE, "9011 of the new controller", started)?;
        wait_for_view(cluster, PATIENCE)?;
        forget_removals(cluster, plan.nodes);
        thread::sleep(CUT_PAUSE);
        if start.detail()["why_new"] == "its lease has ended" {
            late_starts.push(place..cluster.events().len());
        }
    }
    Ok(late_starts)
}

/// A node that was removed three times within an hour would be kept out.
pub(crate) fn forget_removals(cluster: &Cluster, victim: u16) {
    for node in cluster.nodes().iter().filter(|node| node.id() != victim) {
        // A node that has removed nobody has nothing to forget, and says so.
        let _answer = node.request_within(&json!({"request": "clear_quarantine", "node": victim}), PATIENCE);
    }
}

/// Datagrams that node 1 refused for their tag.
fn refused(cluster: &Cluster) -> Result<u64> {
    let status = cluster.node(1).request_within(&json!({"request": "status"}), PATIENCE)?;
    status["rejects"]["bad_tag"].as_u64().context("status has no count of bad tags")
}

struct Measured {
    engine: String,
    longest_send_gap_ns: u64,
    longest_arrival_gap_ns: u64,
    judge_latest_ns: u64,
}

impl Measured {
    fn of(cluster: &Cluster) -> Result<Self> {
        let mut measured =
            Self { engine: String::new(), longest_send_gap_ns: 0, longest_arrival_gap_ns: 0, judge_latest_ns: 0 };
        let (cut_from, cut_to, cut_network) = CUT;
        for node in cluster.nodes() {
            let sender = node.request_within(&json!({"request": "status"}), PATIENCE)?["sender"].take();
            let engine = sender["engine"].as_str().unwrap_or_default();
            if !measured.engine.split(", ").any(|known| known == engine) {
                let comma = if measured.engine.is_empty() { "" } else { ", " };
                measured.engine = format!("{}{comma}{engine}", measured.engine);
            }
            let gap_ns = sender["longest_gap_ns"].as_u64().context("status has no longest gap")?;
            measured.longest_send_gap_ns = measured.longest_send_gap_ns.max(gap_ns);
            let peers = cluster.topology().node_ids().filter(|peer| *peer != node.id());
            let links = peers.flat_map(|peer| cluster.topology().network_ids().map(move |network| (peer, network)));
            let whole = links.filter(|(peer, network)| (*peer, node.id(), *network) != (cut_from, cut_to, cut_network));
            let gap_ns = records::longest_arrival_gap_ns(node, whole)?;
            measured.longest_arrival_gap_ns = measured.longest_arrival_gap_ns.max(gap_ns);
            measured.judge_latest_ns = measured.judge_latest_ns.max(records::judge_latest_ns(node)?);
        }
        Ok(measured)
    }
}
