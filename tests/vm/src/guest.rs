//! Process 1 of a virtual machine: mounts what programs expect, does what its kernel's command line asks for, reports, and
//! switches the machine off.

pub mod boot;
pub mod member;
pub mod port;
pub mod suite;
pub mod verifier;

use anyhow::{Context as _, Result, bail};

use self::port::Port;
use crate::report::Report;

/// Says what the machine is for.
pub const ROLE_VARIABLE: &str = "HEARTBEAT_ROLE";
/// [`ROLE_VARIABLE`]: a whole cluster in namespaces, to try the kernel.
pub const ROLE_SUITE: &str = "suite";
/// [`ROLE_VARIABLE`]: one node of a cluster of machines.
pub const ROLE_MEMBER: &str = "member";

/// Where the programs are in a machine.
pub const HEARTBEAT: &str = "/bin/heartbeat";

/// Does everything. Its end would be a kernel panic, by which the host knows that something is wrong: it comes only if the
/// machine cannot even be switched off.
pub fn main() {
    if let Err(error) = run() {
        eprintln!("process 1: {error:#}");
    }
}

fn run() -> Result<()> {
    boot::mount_all()?;
    let mut port = Port::open()?;
    let outcome = play(&mut port);
    if let Err(error) = &outcome {
        port.report(&Report::Failed { error: format!("{error:#}") })?;
    }
    port.wait_for_switch_off()?;
    boot::switch_off()
}

fn play(port: &mut Port) -> Result<()> {
    boot::load_modules()?;
    let booted = boot::describe()?;
    port.report(&Report::Booted(booted.clone()))?;
    let role = std::env::var(ROLE_VARIABLE).with_context(|| format!("the command line has no {ROLE_VARIABLE}"))?;
    match role.as_str() {
        ROLE_SUITE => suite::run(port, &booted),
        ROLE_MEMBER => member::run(port),
        _ => bail!("{ROLE_VARIABLE} is {role}: unknown"),
    }
}
