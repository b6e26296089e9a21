//! `heartbeat-sim [--seed S] [--runs N] [--nodes N] [--threads N] [--log] [--large [--networks 1]]`: runs seeds S, S+1, ...; a failing run
//! prints how to repeat it. `--large`: one partition and heal of a cluster of N nodes, and what it cost.

use std::process::ExitCode;

use heartbeat_sim::{campaign, large, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut seed, mut runs, mut nodes, mut log, mut large_run) = (1_u64, 100_u64, 5_u64, false, false);
    let mut networks = 2_u64;
    let mut threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    while let Some(argument) = arguments.next() {
        let target = match argument.as_str() {
            "--seed" => &mut seed,
            "--runs" => &mut runs,
            "--nodes" => &mut nodes,
            "--networks" => &mut networks,
            "--threads" => &mut threads,
            "--log" => {
                log = true;
                continue;
            }
            "--large" => {
                large_run = true;
                continue;
            }
            other => {
                eprintln!(
                    "unknown argument {other}; known: --seed, --runs, --nodes, --networks, --threads, --log, --large"
                );
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
    let Some(networks) = usize::try_from(networks).ok().filter(|networks| (1..=2).contains(networks)) else {
        eprintln!("--networks must be 1 or 2");
        return ExitCode::from(2);
    };
    if large_run {
        return match large::partition_and_heal(size, networks, seed) {
            Ok(report) => {
                println!("{report}");
                ExitCode::SUCCESS
            }
            Err(why) => {
                println!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    if log {
        return logged(seed, runs, size);
    }
    let campaign = campaign::run(seed, runs, size, usize::try_from(threads).unwrap_or(1));
    if let Some((seed, outcome)) = campaign.failed {
        return fail(seed, size, &outcome);
    }
    let virtual_s = campaign.virtual_ns / 1_000_000_000;
    println!("{runs} runs from seed {seed}, {nodes} nodes, {virtual_s} s of virtual time: no violation");
    println!("{:?}", campaign.tally);
    ExitCode::SUCCESS
}

/// One after the other, with everything that happens.
fn logged(seed: u64, runs: u64, nodes: u16) -> ExitCode {
    for current in seed..seed.saturating_add(runs) {
        let outcome = run::mixed(current, nodes);
        if !outcome.violations.is_empty() {
            return fail(current, nodes, &outcome);
        }
        outcome.log.iter().for_each(|line| println!("{line}"));
    }
    ExitCode::SUCCESS
}

fn fail(seed: u64, nodes: u16, outcome: &run::Outcome) -> ExitCode {
    outcome.log.iter().for_each(|line| println!("{line}"));
    outcome.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
    println!("repeat: cargo run --release -p heartbeat-sim -- --seed {seed} --runs 1 --nodes {nodes} --log");
    ExitCode::FAILURE
}
