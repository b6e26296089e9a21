//! `cargo xtask soak`: random faults on real nodes, see docs/testing.md.

use anyhow::{Context as _, Result};

use crate::{
    environment,
    exec::{command, exec, privileged},
    setup::{self, Ready, Scope},
    toolchain::TOOLCHAIN_VARIABLE,
};

/// What CI spends on it.
const CI_MINUTES: f64 = 2.0;

/// Break a cluster of real nodes at random, mend it, and check everything that it logged and recorded
///
/// Ends with 1 at the first violation, and says where the nodes' files are. The seed repeats the plan of faults; how
/// processes meet them is not the same each time.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// No round of faults begins later than this
    #[arg(long, default_value_t = CI_MINUTES)]
    minutes: f64,

    /// Of the plan of faults
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// How many nodes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=16))]
    nodes: u16,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    soak(&setup::ensure(Scope::Nodes)?, arguments)
}

/// What CI runs.
pub(crate) fn briefly(ready: &Ready) -> Result<()> {
    soak(ready, &Arguments { minutes: CI_MINUTES, seed: 1, nodes: 5 })
}

/// With the development build, whose assertions are checked.
fn soak(ready: &Ready, arguments: &Arguments) -> Result<()> {
    let mut cargo = command("cargo");
    cargo.current_dir(environment::workspace_root()).env(TOOLCHAIN_VARIABLE, &ready.bpf_toolchain);
    exec(cargo.args(["build", "--package", "heartbeat-soak", "--package", "heartbeat-user"]))?;
    let program = environment::target_directory().join("debug/heartbeat-soak");
    let mut soak = privileged(program.to_str().context("the path of the program is not UTF-8")?);
    soak.current_dir(environment::workspace_root());
    for (name, value) in [
        ("--minutes", arguments.minutes.to_string()),
        ("--seed", arguments.seed.to_string()),
        ("--nodes", arguments.nodes.to_string()),
    ] {
        soak.arg(name).arg(value);
    }
    exec(soak.arg("--evidence").arg(environment::target_directory().join("soak")))
}
