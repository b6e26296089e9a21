//! `cargo xtask run`: a cluster in network namespaces of this machine, or this machine as a node of one.

mod demo;
mod duration;
mod table;

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    environment,
    exec::{command, exec, privileged, show},
    setup::{self, Scope},
    toolchain::TOOLCHAIN_VARIABLE,
};

/// Run a cluster in network namespaces of this machine, with a live table
///
/// Installs what is missing, builds, and starts one real node per namespace. Ctrl-C ends it and removes everything.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=26))]
    nodes: u16,

    /// How many networks join them
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    networks: u8,

    /// Time between two heartbeats, 1ms to 60s
    #[arg(long, default_value = "1.2s")]
    interval: String,

    /// End after this long: with 0 if every link was up, with 1 and the names of the others if not
    #[arg(long, value_parser = duration::parse)]
    duration: Option<Duration>,

    /// Print the nodes' events, one JSON object a line, instead of the table
    #[arg(long)]
    json: bool,

    /// What sends: auto, realtime or metronome
    #[arg(long)]
    sender: Option<String>,

    /// What receives: auto, native, generic or socket
    #[arg(long)]
    dataplane: Option<String>,

    /// Have the XDP program print each of its verdicts, into the nodes' logs
    #[arg(long)]
    trace: bool,

    /// Do not build, run this program: used by tests, and when this starts itself through sudo
    #[arg(long, hide = true)]
    program: Option<PathBuf>,

    /// Run this machine as a node instead: `-- --config FILE`
    #[arg(last = true)]
    node_arguments: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => build()?,
    };
    if !arguments.node_arguments.is_empty() {
        return become_node(&program, &arguments.node_arguments);
    }
    if !environment::is_root() {
        return become_root(&program);
    }
    demo::run(arguments, &program)
}

/// What a user would run: the release build.
fn build() -> Result<PathBuf> {
    let ready = setup::ensure(Scope::Nodes)?;
    let mut cargo = command("cargo");
    cargo.current_dir(environment::workspace_root()).env(TOOLCHAIN_VARIABLE, &ready.bpf_toolchain);
    exec(cargo.args(["build", "--release", "--package", "heartbeat-user"]))?;
    Ok(environment::target_directory().join("release/heartbeat"))
}

fn become_node(program: &Path, arguments: &[OsString]) -> Result<()> {
    let program = program.to_str().context("the path of the program is not UTF-8")?;
    let mut node = privileged(program);
    node.arg("run").args(arguments);
    eprintln!("+ {}", show(&node));
    Err(node.exec()).context("cannot start the node")
}

/// The same command as root: making namespaces takes that, building does not.
fn become_root(program: &Path) -> Result<()> {
    let this = std::env::current_exe().context("cannot find this executable")?;
    let mut sudo = command("sudo");
    sudo.arg(this).args(std::env::args_os().skip(1)).arg("--program").arg(program);
    eprintln!("+ {}", show(&sudo));
    Err(sudo.exec()).context("cannot start sudo: run this as root")
}
