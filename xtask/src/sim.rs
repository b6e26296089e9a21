//! `cargo xtask sim`: the simulator, as it was built for speed.

use anyhow::Result;

use crate::{
    environment,
    exec::{command, exec},
};

/// Run the simulator: real protocol cores on simulated kernels, clocks and networks
///
/// A failing run prints the one command that repeats it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// First seed; each run takes the next
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many runs
    #[arg(long, default_value_t = 100)]
    runs: u64,

    /// How many nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1024))]
    nodes: u16,

    /// Print what happens
    #[arg(long)]
    log: bool,

    /// One cluster of that many nodes that loses a hundredth of them, at least one, and gets them back: messages, bytes and virtual time
    #[arg(long, conflicts_with_all = ["log", "runs"])]
    large: bool,

    /// On how many networks the large cluster runs
    #[arg(long, default_value_t = 2, requires = "large", value_parser = clap::value_parser!(u16).range(1..=2))]
    networks: u16,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut cargo = command("cargo");
    cargo.current_dir(environment::workspace_root()).args(["run", "--release", "--package", "heartbeat-sim", "--"]);
    for (name, value) in [("--seed", arguments.seed), ("--runs", arguments.runs), ("--nodes", arguments.nodes.into())] {
        cargo.arg(name).arg(value.to_string());
    }
    if arguments.log {
        cargo.arg("--log");
    }
    if arguments.large {
        cargo.arg("--large").arg("--networks").arg(arguments.networks.to_string());
    }
    exec(&mut cargo)
}
