//! `cargo xtask test`: every test through one runner, so that one summary closes the run.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::{
    environment,
    exec::{command, exec},
    setup::{self, Ready, Scope},
    toolchain::TOOLCHAIN_VARIABLE,
    vm,
};

/// Names the program that tests run as a node.
pub(crate) const NODE_PROGRAM_VARIABLE: &str = "HEARTBEAT_PROGRAM";

/// Tests that load programs, make namespaces and run nodes in them: as root. All other crates' tests need no privilege.
const PRIVILEGED_PACKAGES: [&str; 2] = ["heartbeat-tests", "heartbeat-bench"];

/// Compiled for the kernel: it has no tests of its own that this machine could run.
const KERNEL_PACKAGE: &str = "heartbeat-ebpf";

/// Run the tests; installs what they need where it is missing.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which tests
    #[arg(value_enum, default_value_t = Kind::All)]
    kind: Kind,
    #[command(flatten)]
    machines: vm::Arguments,
    /// Passed on to `cargo nextest run`, such as a part of a test's name
    #[arg(last = true)]
    runner_arguments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Of the crates themselves, without privileges
    Unit,
    /// Programs in the kernel and nodes in network namespaces, as root
    Netns,
    /// The simulator's fixed seeds and the scripts, which `unit` has too
    Sim,
    /// Nodes in virtual machines: other kernels, and machines that stop as a whole
    Vm,
    /// All but virtual machines; what CI runs
    All,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let machines = &arguments.machines;
    ensure!(arguments.kind == Kind::Vm || !machines.is_any(), "--kernel, --faults and --record go with `test vm`");
    let scope = match arguments.kind {
        Kind::Unit | Kind::Sim => Scope::UnitTests,
        Kind::Netns | Kind::All => Scope::AllTests,
        Kind::Vm => return vm::run(machines, &arguments.runner_arguments),
    };
    let ready = setup::ensure(scope)?;
    test(&ready, arguments.kind, &arguments.runner_arguments)
}

/// All tests.
pub(crate) fn all(ready: &Ready) -> Result<()> {
    test(ready, Kind::All, &[])
}

fn test(ready: &Ready, kind: Kind, runner_arguments: &[String]) -> Result<()> {
    if kind == Kind::Sim {
        let packages = ["--package", "heartbeat-sim", "--package", "heartbeat-scripts"];
        return exec(nextest(ready, runner_arguments).args(packages));
    }
    let with_unit = matches!(kind, Kind::Unit | Kind::All);
    let with_privileged = matches!(kind, Kind::Netns | Kind::All);
    if with_privileged {
        // Integration tests start the real programs, which cargo does not build for another package's tests.
        let programs = ["build", "--package", "heartbeat-user", "--package", "heartbeat-pages", "--package", "xtask"];
        exec(build_environment(&mut command("cargo"), ready).args(programs))?;
        // And the node without a guard, under a name of its own.
        let unguarded =
            ["build", "--package", "heartbeat-user", "--features", "unguarded", "--bin", "heartbeat-unguarded"];
        exec(build_environment(&mut command("cargo"), ready).args(unguarded))?;
    }
    // As root one run does, with one summary for everything.
    if with_unit && with_privileged && environment::is_root() {
        return exec(nextest(ready, runner_arguments).args(["--workspace", "--exclude", KERNEL_PACKAGE]));
    }
    if with_unit {
        let mut others = nextest(ready, runner_arguments);
        others.args(["--workspace", "--exclude", KERNEL_PACKAGE]);
        exec(others.args(PRIVILEGED_PACKAGES.iter().flat_map(|package| ["--exclude", package])))?;
    }
    if with_privileged {
        let mut nextest = nextest(ready, runner_arguments);
        nextest.args(PRIVILEGED_PACKAGES.iter().flat_map(|package| ["--package", package]));
        if !environment::is_root() {
            // Cargo's way to start what it built through another program: only the tests run as root.
            nextest.env(runner_variable(), "sudo --preserve-env");
        }
        exec(&mut nextest)?;
    }
    Ok(())
}

/// Fails where no test ran at all, which is nextest's own rule.
fn nextest(ready: &Ready, runner_arguments: &[String]) -> Command {
    let mut command = command("cargo");
    build_environment(&mut command, ready);
    command.env(NODE_PROGRAM_VARIABLE, environment::target_directory().join("debug/heartbeat"));
    command.args(["nextest", "run", "--no-tests=fail"]).args(runner_arguments);
    command
}

fn build_environment<'a>(command: &'a mut Command, ready: &Ready) -> &'a mut Command {
    command.current_dir(environment::workspace_root()).env(TOOLCHAIN_VARIABLE, &ready.bpf_toolchain)
}

fn runner_variable() -> String {
    format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase())
}
