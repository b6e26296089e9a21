//! `cargo xtask ci`: exactly what .ci/run runs. Tests come last, so that their summary closes the output.

use anyhow::Result;

use crate::{
    environment,
    exec::{command, exec, find_program},
    setup::{self, Scope},
    test,
    toolchain::TOOLCHAIN_VARIABLE,
};

/// The crate that is compiled for the kernel, not for this machine: heartbeat-user's build script builds it.
const NOT_FOR_THE_HOST: &str = "heartbeat-ebpf";

/// Checks that take minutes to install and whose verdict rarely changes: run where they are installed.
const OPTIONAL: [(&str, &[&str]); 2] = [("cargo-deny", &["deny", "check"]), ("typos", &[])];

/// Formatting, lints, documentation, then all tests.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<()> {
    let ready = setup::ensure(Scope::AllTests)?;
    let cargo = |arguments: &[&str]| {
        let mut command = command("cargo");
        command.current_dir(environment::workspace_root()).env(TOOLCHAIN_VARIABLE, &ready.bpf_toolchain);
        command.args(arguments);
        command
    };
    exec(&mut cargo(&["fmt", "--all", "--check"]))?;
    let host_crates = ["--workspace", "--exclude", NOT_FOR_THE_HOST];
    exec(cargo(&["clippy"]).args(host_crates).args(["--all-targets", "--", "--deny", "warnings"]))?;
    exec(cargo(&["doc", "--no-deps"]).args(host_crates).env("RUSTDOCFLAGS", "--deny warnings"))?;
    for (program, arguments) in OPTIONAL {
        if find_program(program).is_none() {
            eprintln!("NOT CHECKED: {program} is not installed (`cargo install --locked {program}`)");
            continue;
        }
        let name = if program.starts_with("cargo-") { "cargo" } else { program };
        exec(command(name).current_dir(environment::workspace_root()).args(arguments))?;
    }
    test::all(&ready)
}
