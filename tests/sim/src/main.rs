//! `heartbeat-sim [--seed S] [--runs N] [--nodes N] [--log]`: runs seeds S, S+1, ...; a failing run prints how to repeat it.

use std::process::ExitCode;

use heartbeat_sim::run;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut seed, mut runs, mut nodes, mut log) = (1_u64, 100_u64, 5_u64, false);
    while let Some(argument) = arguments.next() {
        let target = match argument.as_str() {
            "--seed" => &mut seed,
            "--runs" => &mut runs,
            "--nodes" => &mut nodes,
            "--log" => {
                log = true;
                continue;
            }
            other => {
                eprintln!("unknown argument {other}; known: --seed, --runs, --nodes, --log");
                return ExitCode::from(2);
            }
        };
        match arguments.next().and_then(|value| value.parse().ok()) {
            Some(value) => *target = value,
            None => {
                eprintln!("{argument} needs a number");
                return ExitCode::from(2);
            }
        }
    }
    let Some(size) = u16::try_from(nodes).ok().filter(|nodes| (1..=1024).contains(nodes)) else {
        eprintln!("--nodes must be 1 to 1024");
        return ExitCode::from(2);
    };
    let mut totals = heartbeat_sim::check::Tally::default();
    let mut virtual_ns = 0;
    for current in seed..seed.saturating_add(runs) {
        let outcome = run::mixed(current, size);
        if log || !outcome.violations.is_empty() {
            outcome.log.iter().for_each(|line| println!("{line}"));
        }
        if !outcome.violations.is_empty() {
            outcome.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
            println!("repeat: cargo run --release -p heartbeat-sim -- --seed {current} --runs 1 --nodes {size} --log");
            return ExitCode::FAILURE;
        }
        virtual_ns += outcome.virtual_ns;
        totals.views += outcome.tally.views;
        totals.removals += outcome.tally.removals;
        totals.safe += outcome.tally.safe;
        totals.quorum_lost += outcome.tally.quorum_lost;
        totals.pruned += outcome.tally.pruned;
        totals.suspended += outcome.tally.suspended;
        totals.joined += outcome.tally.joined;
    }
    println!(
        "{runs} runs from seed {seed}, {nodes} nodes, {} s of virtual time: no violation",
        virtual_ns / 1_000_000_000
    );
    println!("{totals:?}");
    ExitCode::SUCCESS
}
