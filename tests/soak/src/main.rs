//! `heartbeat-soak`; `cargo xtask soak` builds and starts it as root.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use heartbeat_soak::{Settings, soak};

/// Random faults on real nodes in network namespaces
#[derive(Parser)]
#[command(about, long_about = None)]
struct Arguments {
    /// No round of faults begins later than this
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Of the plan of faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=16))]
    nodes: u16,
    /// Milliseconds between heartbeats
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(10..=1200))]
    interval_ms: u64,
    /// Where what the nodes left behind is kept if it fails
    #[arg(long, default_value = "target/soak")]
    evidence: PathBuf,
}

fn main() -> ExitCode {
    let Arguments { minutes, seed, nodes, interval_ms, evidence } = Arguments::parse();
    let Ok(length) = Duration::try_from_secs_f64(minutes * 60.0) else {
        eprintln!("error: --minutes {minutes} is no length of time");
        return ExitCode::FAILURE;
    };
    println!("seed {seed}: {nodes} nodes at {interval_ms} ms, {minutes} minutes");
    let settings = Settings { seed, nodes, interval: Duration::from_millis(interval_ms), length };
    match soak(settings, &evidence) {
        Ok(report) => {
            println!("{} rounds without a violation, everyone in after each", report.rounds);
            println!("faults: {:?}", report.faults);
            println!("events by number: {:?}", report.events);
            println!("longest until everyone was in again: {} ms", report.longest_return.as_millis());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}\nrepeat the plan: cargo xtask soak --seed {seed} --nodes {nodes}");
            ExitCode::FAILURE
        }
    }
}
