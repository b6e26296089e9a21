//! `ladder`: a cluster of real nodes under one load after the other, and whether it tells the truth meanwhile.
//!
//! On each rung a fresh cluster runs under a load. One link is cut for a moment again and again, so that there are
//! verdicts whose error can be measured; every other verdict is false. At the end a node is cut off while the load goes
//! on, and on two rungs killed as well: a system that never accuses is no solution.

mod climb;
mod departures;
mod gaps;
mod guard;
mod hold;
pub(crate) mod load;
mod outcome;
mod records;
mod rung;
mod verdicts;
mod witness;

use anyhow::Result;
use serde::Serialize;

pub(crate) use self::climb::forget_removals;
pub use self::{
    climb::{Plan, climb},
    gaps::SendGaps,
    guard::Demotion,
    outcome::Outcome,
    rung::Rung,
    verdicts::{Counts, Verdicts},
    witness::Witness,
};
use crate::report::{self, Machine};

/// Nodes under load: false verdicts, gaps, errors and reactions, rung by rung.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds on each rung; on the rungs that stop or kill a controller, ten times each, as long as that takes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// Sizes of the cluster, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [2, 8], value_parser = clap::value_parser!(u16).range(2..=16))]
    nodes: Vec<u16>,
    /// `[local] sender` of all nodes, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = ["auto".to_owned(), "realtime".to_owned()])]
    senders: Vec<String>,
    /// Milliseconds between heartbeats, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [10], value_parser = clap::value_parser!(u64).range(1..=1200))]
    interval_ms: Vec<u64>,
    /// Rungs, all if none is named
    #[arg(long, value_enum, value_delimiter = ',')]
    rungs: Vec<Rung>,
    /// Of the lengths of bursts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Times that a node is cut off on each rung, at the end, while the load goes on
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    removals: u32,
}

impl Arguments {
    /// Every size with every interval and every sender.
    fn plans(&self) -> impl Iterator<Item = Plan> {
        self.nodes.iter().flat_map(move |nodes| {
            self.interval_ms.iter().flat_map(move |interval_ms| {
                self.senders.iter().map(move |sender| Plan {
                    nodes: *nodes,
                    sender: Some(sender.clone()),
                    interval_ms: *interval_ms,
                    seconds: self.seconds,
                    seed: self.seed,
                    removals: self.removals,
                    demotion: None,
                })
            })
        })
    }
}

#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    outcomes: &'a [Outcome],
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let rungs = if arguments.rungs.is_empty() { Rung::ALL.to_vec() } else { arguments.rungs.clone() };
    let mut outcomes = Vec::new();
    for plan in arguments.plans() {
        for rung in &rungs {
            let Plan { nodes, interval_ms, .. } = &plan;
            let sender = plan.sender.as_deref().unwrap_or("default");
            println!("{nodes} nodes, {interval_ms} ms, sender {sender}, {}: {}", rung.name(), rung.describe());
            let outcome = climb(&plan, *rung)?;
            println!("  {}", outcome.line());
            outcomes.push(outcome);
        }
    }
    outcome::print(&outcomes);
    let machine = report::machine()?;
    report::print_machine(&machine);
    report::save("ladder", &Report { machine, outcomes: &outcomes })
}
