//! `throughput`: accepted heartbeats per second of XDP and of a socket, and a node with 200 peers.

mod rates;

use anyhow::Result;

use crate::{
    arena,
    report::{self, Machine},
    soak,
};

/// 200 peers at 10 ms.
const CROWD: soak::Crowd = soak::Crowd { peers: 200, interval_ns: 10_000_000, seconds: 0 };

/// Accepted heartbeats per second over veth, and a node with 200 peers.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Rounds over all receivers, one after the other
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one receiver in one round
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Seconds with 200 peers on two networks; 0 leaves this part out
    #[arg(long, default_value_t = 60)]
    soak_seconds: u64,
}

#[derive(serde::Serialize)]
struct Report {
    machine: Machine,
    rates: Option<rates::Report>,
    soak: Option<soak::Report>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arena::enter()?;
    let rates = if arguments.rounds > 0 { Some(rates::measure(arguments.rounds, arguments.seconds)?) } else { None };
    if let Some(rates) = &rates {
        rates.print();
    }
    let soak =
        if arguments.soak_seconds > 0 { Some(soak::measure(CROWD.lasting(arguments.soak_seconds))?) } else { None };
    if let Some(soak) = &soak {
        soak.print();
    }
    let report = Report { machine: report::machine()?, rates, soak };
    report::print_machine(&report.machine);
    report::save("throughput", &report)
}
