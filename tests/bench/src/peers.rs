//! `peers`: failure detectors of others beside ours, in one run, at equal detection budgets.
//!
//! Each system runs alone, so that none disturbs another; systems take turns round by round, so that a machine that changes
//! meanwhile is the same for all.

mod adapter;
mod bird;
mod corosync;
mod daemons;
mod frr;
mod garbage;
mod keepalived;
mod measure;
mod ours;
mod subject;
mod table;

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;

use self::{
    adapter::{Adapter, Care},
    daemons::Daemons,
    measure::{Cost, Fault, Steadiness},
    ours::Ours,
    subject::Subject,
};
use crate::report::{self, Machine};

/// Sizes of the groups of which the cost is measured.
const PEERS: [u16; 3] = [1, 3, 7];

/// Failure detectors of others beside ours: detection, false verdicts, cost, a flood.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Three repetitions, 3 s for each load
    #[arg(long)]
    quick: bool,
    /// Systems, all if none is named
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<System>,
    /// Repetitions of each fault [default: 20, or 3]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=200))]
    repetitions: Option<u16>,
    /// Seconds for each load [default: 20, or 3]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: Option<u64>,
    /// The report goes to this file as well
    #[arg(long)]
    json: Option<PathBuf>,
    /// Of the lengths of bursts
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum System {
    /// This project
    Ours,
    /// bfdd of FRR
    Frr,
    /// BFD of BIRD 2
    Bird,
    /// VRRP of keepalived
    Vrrp,
    /// BFD of keepalived
    KeepalivedBfd,
    /// corosync with knet
    Corosync,
}

/// A system, and how it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant {
    system: System,
    careful: bool,
}

/// Of ours with `sender = "auto"`, below the tables.
const KERNEL_SENDS: &str = "SIGKILL and SIGSTOP end the controller, not the machine: the kernel goes on sending for it until \
                            hang_timeout, 10 s at the least, so that nobody is to notice. A machine that dies is the cut.";

/// What is known of a variant in the end.
#[derive(Serialize)]
struct Outcome {
    system: &'static str,
    how: &'static str,
    budget_ms: f64,
    /// Times in nanoseconds; `null` where the survivor did not notice.
    detections: BTreeMap<Fault, Vec<Option<u64>>>,
    steadiness: Option<Steadiness>,
    costs: Vec<Cost>,
    /// How its numbers are to be read.
    remark: Option<&'static str>,
    /// Why something of it is missing.
    failures: Vec<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    seed: u64,
    outcomes: &'a [Outcome],
}

impl System {
    fn adapter(self) -> Option<Arc<dyn Adapter + Send + Sync>> {
        match self {
            Self::Ours => None,
            Self::Frr => Some(Arc::new(frr::Frr)),
            Self::Bird => Some(Arc::new(bird::Bird)),
            Self::Vrrp => Some(Arc::new(keepalived::Vrrp)),
            Self::KeepalivedBfd => Some(Arc::new(keepalived::Bfd)),
            Self::Corosync => Some(Arc::new(corosync::Corosync)),
        }
    }
}

impl Variant {
    /// A system that takes care of itself is run once.
    fn all(systems: &[System]) -> Vec<Self> {
        let of = |system: System| {
            let once = system.adapter().is_some_and(|adapter| adapter.care() == Care::Packaged);
            let ways: &[bool] = if once { &[false] } else { &[false, true] };
            ways.iter().map(move |careful| Self { system, careful: *careful })
        };
        systems.iter().copied().flat_map(of).collect()
    }

    fn start(self, peers: u16) -> Result<Box<dyn Subject>> {
        Ok(match self.system.adapter() {
            None => Box::new(Ours::start(!self.careful, peers)?),
            Some(adapter) => Box::new(Daemons::start(adapter, self.careful, peers)?),
        })
    }

    fn outcome(self) -> Outcome {
        let adapter = self.system.adapter();
        Outcome {
            system: adapter.as_ref().map_or("heartbeat", |adapter| adapter.name()),
            how: match (self.system, self.careful) {
                (System::Ours, false) => "sender = auto",
                (System::Ours, true) => "sender = realtime",
                (_, false) => "as packaged",
                (_, true) => "careful",
            },
            budget_ms: adapter.map_or(f64::from(adapter::INTERVAL_MS * adapter::MULTIPLIER), |one| one.budget_ms()),
            detections: BTreeMap::new(),
            steadiness: None,
            costs: Vec::new(),
            remark: (self.system == System::Ours && !self.careful).then_some(KERNEL_SENDS),
            failures: Vec::new(),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    /// Of each fault, before another system's turn.
    const OF_A_TURN: u16 = 5;
    let few = if arguments.quick { 3 } else { 20 };
    let repetitions = arguments.repetitions.unwrap_or(few);
    let seconds = arguments.seconds.unwrap_or(few.into());
    let systems = if arguments.only.is_empty() { System::value_variants() } else { &arguments.only };
    let variants = Variant::all(systems);
    ensure!(!variants.is_empty(), "nothing to compare");
    let mut outcomes: Vec<Outcome> = variants.iter().map(|variant| variant.outcome()).collect();
    let mut left = repetitions;
    while left > 0 {
        let turn = left.min(OF_A_TURN);
        left -= turn;
        attempt(&variants, &mut outcomes, "detection", |variant, outcome| {
            let mut subject = variant.start(1)?;
            for fault in (0..turn).flat_map(|_| Fault::ALL) {
                let time_ns = measure::detection(subject.as_mut(), fault)?;
                outcome.detections.entry(fault).or_default().push(time_ns);
            }
            Ok(())
        });
    }
    attempt(&variants, &mut outcomes, "loads", |variant, outcome| {
        let mut subject = variant.start(1)?;
        outcome.steadiness = Some(measure::steadiness(subject.as_mut(), seconds, arguments.seed)?);
        Ok(())
    });
    for peers in PEERS {
        attempt(&variants, &mut outcomes, "cost", |variant, outcome| {
            let mut subject = variant.start(peers)?;
            outcome.costs.push(measure::cost(subject.as_mut(), peers, seconds)?);
            Ok(())
        });
    }
    table::print(&outcomes);
    let report = Report { machine: report::machine()?, seed: arguments.seed, outcomes: &outcomes };
    report::print_machine(&report.machine);
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report).context("the report is not JSON")?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    report::save("peers", &report)?;
    let all_failed = outcomes.iter().all(|outcome| outcome.detections.is_empty());
    ensure!(!all_failed, "no system could be measured");
    Ok(())
}

/// Every variant in turn; one that fails is told of, and does not keep the others from their turn.
fn attempt(
    variants: &[Variant],
    outcomes: &mut [Outcome],
    what: &str,
    measure: impl Fn(Variant, &mut Outcome) -> Result<()>,
) {
    for (variant, outcome) in variants.iter().zip(outcomes) {
        println!("{}, {}: {what}", outcome.system, outcome.how);
        if let Err(error) = measure(*variant, outcome) {
            println!("  failed: {error:#}");
            outcome.failures.push(format!("{what}: {error:#}"));
        }
    }
}
