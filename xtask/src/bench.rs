//! `cargo xtask bench`: what the data plane costs on this machine, see docs/benchmarks.md.

mod peers;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    environment,
    exec::{command, exec, privileged},
    setup::{self, Scope},
    toolchain::TOOLCHAIN_VARIABLE,
};

/// Measure the data plane: results on the screen and in bench-results
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure
    #[arg(value_enum)]
    what: What,
    /// Passed on to the benchmark; `-- --help` lists them
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Nanoseconds per datagram, by kind and by step
    Cost,
    /// Heartbeats per second against a socket, and a node with 200 peers
    Throughput,
    /// From a node's last heartbeat to the view without it, with real processes
    Detect,
    /// Spoofed garbage as fast as it goes: verdicts, and what became of each frame
    Flood,
    /// False verdicts, gaps and reactions under load after load
    Ladder,
    /// Failure detectors of others beside ours
    Peers,
    /// From 10 to 1,000 peers
    Scale,
    /// Longest time between two heartbeats, by sender and load
    Send,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let ready = setup::ensure(Scope::Nodes)?;
    if arguments.what == What::Peers {
        peers::install()?;
    }
    let mut cargo = command("cargo");
    cargo.current_dir(environment::workspace_root()).env(TOOLCHAIN_VARIABLE, &ready.bpf_toolchain);
    exec(cargo.args(["build", "--release", "--package", "heartbeat-bench", "--package", "heartbeat-user"]))?;
    let program = environment::target_directory().join("release/heartbeat-bench");
    let what = match arguments.what {
        What::Cost => "cost",
        What::Throughput => "throughput",
        What::Detect => "detect",
        What::Flood => "flood",
        What::Ladder => "ladder",
        What::Peers => "peers",
        What::Scale => "scale",
        What::Send => "send",
    };
    let mut bench = match program.to_str() {
        Some(program) => privileged(program),
        None => anyhow::bail!("the path of the program is not UTF-8"),
    };
    exec(bench.current_dir(environment::workspace_root()).arg(what).args(&arguments.arguments))
}
