//! `cargo xtask test vm`: nodes in virtual machines, see docs/kernels.md.

use anyhow::Result;

use crate::{
    environment,
    exec::{command, exec},
    setup::{self, Scope},
    test::NODE_PROGRAM_VARIABLE,
    toolchain::TOOLCHAIN_VARIABLE,
};

/// What `test vm` takes beside the kind; no group, whose name would be that of the arguments that it is a part of.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// With vm: a kernel to try, such as 6.1-rt; all if none is named
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<String>,
    /// With vm: three machines instead, which stop as a whole
    #[arg(long)]
    faults: bool,
    /// With vm: write the results into docs/kernels.md
    #[arg(long)]
    record: bool,
}

impl Arguments {
    /// What CI runs: the oldest kernel, whose verifier sees the least.
    pub(crate) fn oldest_kernel() -> Self {
        Self { kernels: vec!["6.1".to_owned()], faults: false, record: false }
    }

    /// Whether one of them was given, which only `vm` understands.
    pub(crate) fn is_any(&self) -> bool {
        !self.kernels.is_empty() || self.faults || self.record
    }
}

/// Builds, and boots; what is not known here is passed on.
///
/// # Errors
///
/// When something cannot be installed or built, or a machine has failed.
pub(crate) fn run(arguments: &Arguments, further: &[String]) -> Result<()> {
    let ready = setup::ensure(Scope::Machines)?;
    let mut cargo = command("cargo");
    cargo.current_dir(environment::workspace_root()).env(TOOLCHAIN_VARIABLE, &ready.bpf_toolchain);
    exec(cargo.args(["build", "--package", "heartbeat-vm", "--package", "heartbeat-user"]))?;
    let built = environment::target_directory().join("debug");
    // Emulation needs no privilege: not even this may be asked for.
    let mut machines = command(built.join("heartbeat-vm"));
    machines.env(NODE_PROGRAM_VARIABLE, built.join("heartbeat"));
    machines.args(arguments.kernels.iter().flat_map(|kernel| ["--kernel", kernel]));
    machines.args(arguments.faults.then_some("--faults")).args(arguments.record.then_some("--record"));
    exec(machines.current_dir(environment::workspace_root()).args(further))
}
