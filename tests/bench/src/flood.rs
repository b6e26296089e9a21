//! `flood`: spoofed garbage at one node as fast as this machine makes it, while all go on; what became of each frame.
//!
//! Afterwards the node is cut off, so that nothing is on its way, and three books that know nothing of each other are
//! compared: what XDP dropped by the driver's count is what the counters of the data plane explain. A heartbeat that reached
//! XDP and was in no book would show.

mod books;
pub(crate) mod garbage;
pub(crate) mod pour;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST},
    naming::network_name,
    topology::TopologySpec,
};
use serde::Serialize;

pub use self::{books::Books, garbage::Garbage, pour::Flood};
use crate::{
    detect::round::wait_for_view,
    ladder::{Counts, Verdicts},
    probe::Probe,
    report::{self, Machine},
};

const NETWORKS: u8 = 2;
const LOST_AFTER: u64 = 3;
/// Who is flooded, on which network, and in whose name.
const TARGET: (u16, u8) = (1, 1);
const SPOOFED: u16 = 2;
/// A bound for the forming of the cluster, not a measure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Frames that are on their way when a node is cut off arrive within this.
const QUIET: Duration = Duration::from_millis(100);

/// Garbage at full rate: verdicts, and what became of each frame.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds of each kind
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Nodes
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=16))]
    nodes: u16,
    /// Milliseconds between heartbeats
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1200))]
    interval_ms: u64,
    /// Kinds, all if none is named
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Garbage>,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Nodes, at least two.
    pub nodes: u16,
    /// Milliseconds between heartbeats.
    pub interval_ms: u64,
    /// How long the flood lasts.
    pub seconds: u64,
}

/// What came out of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The kind.
    pub kind: Garbage,
    /// Frames that were sent.
    pub sent: u64,
    /// How long it lasted.
    pub seconds: f64,
    /// The node's books at the end.
    pub books: Books,
    /// 1123 of links of the flooded interface while it had no room for all frames: what was lost there was lost.
    pub late_for_want_of_room: usize,
    /// All other accusations.
    pub accusations: Counts,
    /// The same, over a time in which a CPU stood still.
    pub over_stops: Counts,
}

#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    nodes: u16,
    interval_ms: u64,
    outcomes: &'a [Outcome],
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let kinds = if arguments.kinds.is_empty() { Garbage::ALL.to_vec() } else { arguments.kinds.clone() };
    let Arguments { seconds, nodes, interval_ms, .. } = *arguments;
    let mut outcomes = Vec::new();
    for kind in kinds {
        println!("{kind:?}: {seconds} s");
        outcomes.push(flood(Plan { nodes, interval_ms, seconds }, kind)?);
    }
    print(&outcomes);
    let machine = report::machine()?;
    report::print_machine(&machine);
    report::save("flood", &Report { machine, nodes, interval_ms, outcomes: &outcomes })?;
    let wrong = outcomes.iter().filter(|outcome| outcome.books.unexplained() > 0 || outcome.accusations.total() > 0);
    anyhow::ensure!(wrong.count() == 0, "there were false verdicts, or frames that no counter explains");
    Ok(())
}

/// A fresh cluster, and one kind of garbage.
///
/// # Errors
///
/// When the cluster does not form, or a book cannot be read.
pub fn flood(plan: Plan, kind: Garbage) -> Result<Outcome> {
    let mut spec = ClusterSpec::new(&format!("{}ms", plan.interval_ms));
    spec.lost_after = Some(u32::try_from(LOST_AFTER)?);
    let cluster = Cluster::start(TopologySpec::new(plan.nodes, NETWORKS), &spec)?;
    wait_for_view(&cluster, PATIENCE)?;
    let frames = kind.frames(cluster.topology(), SPOOFED, TARGET)?;
    let probe = Probe::start()?;
    let place = cluster.events().len();
    let started = Instant::now();
    let pouring = Flood::start(cluster.topology(), TARGET, frames, None)?;
    thread::sleep(Duration::from_secs(plan.seconds));
    let sent = pouring.stop().context("the flood could not be sent")?;
    let seconds = started.elapsed().as_secs_f64();
    let interval_ns = plan.interval_ms * 1_000_000;
    let silent_ns = LOST_AFTER * interval_ns + (interval_ns / 8).max(1_000_000);
    // A verdict about the flood's last moment gets the time to come.
    thread::sleep(Duration::from_nanos(2 * silent_ns));
    let events = cluster.events().since(place);
    let stops = probe.stop()?;
    for network in cluster.topology().network_ids() {
        cluster.topology().cut(TARGET.0, network)?;
    }
    thread::sleep(QUIET);
    let books = Books::read(&cluster, TARGET.0, TARGET.1)?;
    let for_want_of_room = |event: &Event| {
        books.no_room > 0
            && event.id() == LINK_LOST
            && event.node() == u64::from(TARGET.0)
            && event.network() == Some(network_name(TARGET.1).as_str())
    };
    let late_for_want_of_room = events.iter().filter(|event| for_want_of_room(event)).count();
    let verdicts = Verdicts::of(&events, &stops, silent_ns, for_want_of_room);
    let (accusations, over_stops) = (verdicts.accusations, verdicts.over_stops);
    Ok(Outcome { kind, sent, seconds, books, late_for_want_of_room, accusations, over_stops })
}

fn print(outcomes: &[Outcome]) {
    println!(
        "\n| garbage | frames a second | refused | no room before XDP | heartbeats accepted | contended | dropped by XDP \
         | unexplained | false 1123, 1135, 1177 | over stops | 1123 for want of room |\n|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for outcome in outcomes {
        let Outcome { kind, sent, seconds, books, late_for_want_of_room, accusations, over_stops } = outcome;
        let refused: Vec<String> = books.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        println!(
            "| {kind:?} | {:.0} | {} | {} | {} | {} | {} | {} | {}, {}, {} | {} | {late_for_want_of_room} |",
            *sent as f64 / seconds,
            refused.join(", "),
            books.no_room,
            books.accepted,
            books.contended,
            books.dropped,
            books.unexplained(),
            accusations.late,
            accusations.removed,
            accusations.quorum_lost,
            over_stops.total(),
        );
    }
}
