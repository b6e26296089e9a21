//! `cargo xtask model`: the model checker, as it was built for speed.

use anyhow::Result;

use crate::{
    environment,
    exec::{command, exec},
};

/// Check the protocol core through every sequence of a bounded number of faults
///
/// With no fault first, then with one, and so on until the time is up; prints how many states there are.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=5))]
    nodes: u16,

    /// Stop after so many minutes
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,

    /// Passed on to the model checker: `--help` lists what it knows
    #[arg(last = true)]
    checker_arguments: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut cargo = command("cargo");
    cargo.current_dir(environment::workspace_root()).args(["run", "--release", "--package", "heartbeat-model", "--"]);
    cargo.arg("--nodes").arg(arguments.nodes.to_string());
    cargo.arg("--minutes").arg(arguments.minutes.to_string());
    exec(cargo.args(&arguments.checker_arguments))
}
