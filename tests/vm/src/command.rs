//! The command line.

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use heartbeat_tests::interrupt::Interrupt;

use crate::{
    docs::{self, FAULTS, KERNELS, Table},
    faults::{self, Scene},
    kernel::Kernel,
    kernels,
    workplace::Workplace,
};

/// The same program on other kernels, and machines that stop as a whole: emulated by QEMU
#[derive(Debug, Parser)]
#[command(name = "heartbeat-vm")]
struct Arguments {
    /// Kernels to try; all if none is named
    #[arg(long = "kernel", value_enum)]
    kernels: Vec<Kernel>,
    /// Three machines instead, one of which is stopped, or loses its power
    #[arg(long)]
    faults: bool,
    /// With --faults: only these
    #[arg(long = "scene", value_enum, requires = "faults")]
    scenes: Vec<Scene>,
    /// Write the rows into docs/kernels.md
    #[arg(long)]
    record: bool,
    /// Fetch the kernels again, as Debian has them today
    #[arg(long)]
    refresh: bool,
    /// Processors of a machine
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    cpus: u8,
}

/// Runs; 0 if all passed.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(std::env::consts::ARCH == "x86_64", "the kernels that are known here are those of Debian for amd64");
    let interrupt = Interrupt::install()?;
    let workplace = Workplace::find()?;
    if arguments.faults {
        run_faults(arguments, &workplace, interrupt)
    } else {
        run_kernels(arguments, &workplace, interrupt)
    }
}

fn run_kernels(arguments: &Arguments, workplace: &Workplace, interrupt: &Interrupt) -> Result<()> {
    let wanted = if arguments.kernels.is_empty() { &Kernel::ALL[..] } else { &arguments.kernels[..] };
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for kernel in wanted {
        let outcome = kernels::try_kernel(*kernel, workplace, arguments.cpus, arguments.refresh, interrupt)?;
        for wrong in &outcome.wrong {
            eprintln!("{}: FAIL {wrong}", kernel.name());
        }
        if !outcome.wrong.is_empty() {
            failed.push(kernel.name());
        }
        rows.push(docs::kernel_row(&outcome));
    }
    show(KERNELS, &rows, arguments.record)?;
    if failed.is_empty() { Ok(()) } else { bail!("failed on {}", failed.join(", ")) }
}

fn run_faults(arguments: &Arguments, workplace: &Workplace, interrupt: &Interrupt) -> Result<()> {
    let kernel = match arguments.kernels[..] {
        [] => Kernel::Linux6_12,
        [kernel] => kernel,
        _ => bail!("faults are tried on one kernel at a time"),
    };
    let scenes = if arguments.scenes.is_empty() { Scene::ALL.to_vec() } else { arguments.scenes.clone() };
    let played = faults::run(kernel, &scenes, workplace, arguments.refresh, interrupt)?;
    show(FAULTS, &played.rows, arguments.record)?;
    if played.failed.is_empty() { Ok(()) } else { bail!("failed: {}", played.failed.join(", ")) }
}

fn show(table: Table, rows: &[Vec<String>], record: bool) -> Result<()> {
    println!("{}", table.markdown(rows));
    if record {
        table.record(&docs::page(), rows)?;
    }
    Ok(())
}
