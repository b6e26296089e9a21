//! Benchmarks of the data plane on this machine; `cargo xtask bench` builds and starts them as root.
//!
//! A library as well, so that short forms of ladder and flood are tests.

mod arena;
mod cost;
mod cpu;
mod detect;
mod distribution;
pub mod flood;
mod frames;
mod generator;
pub mod ladder;
mod paced;
mod packet;
mod peers;
mod probe;
mod programs;
mod receiver;
mod removal;
mod report;
mod scale;
mod scene;
mod send;
mod soak;
mod throughput;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Cost(cost::Arguments),
    Detect(detect::Arguments),
    Flood(flood::Arguments),
    Ladder(ladder::Arguments),
    Peers(peers::Arguments),
    Scale(scale::Arguments),
    Send(send::Arguments),
    Throughput(throughput::Arguments),
}

/// The program `heartbeat-bench`.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Cost(arguments) => cost::run(&arguments),
        Command::Detect(arguments) => detect::run(&arguments),
        Command::Flood(arguments) => flood::run(&arguments),
        Command::Ladder(arguments) => ladder::run(&arguments),
        Command::Peers(arguments) => peers::run(&arguments),
        Command::Scale(arguments) => scale::run(&arguments),
        Command::Send(arguments) => send::run(&arguments),
        Command::Throughput(arguments) => throughput::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
