//! `cargo xtask setup`: finds or installs what building and testing need.
//!
//! Looking costs about a second and changes nothing, so `run` and `test` look every time and install only what they
//! need themselves.

mod bpf_toolchain;
mod bpffs;
mod compilers;
mod distribution;
mod probe;
mod requirement;
mod step;
mod tools;

use anyhow::{Result, bail};

pub(crate) use self::step::{install_packages, is_installed};
use self::{
    compilers::Compilers,
    distribution::Distribution,
    requirement::{Requirement, State},
    step::Step,
};
use crate::environment;

/// A second round is needed where the first one showed that the nightly compiler does not work after all.
const ROUNDS: usize = 2;

/// Find or install what building and testing need.
///
/// Prints each command that it runs. Running it again takes about a second and changes nothing.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only report what is there and what is missing; exit with 1 if something is
    #[arg(long)]
    check: bool,
}

/// What a command needs beside compiling everything, the XDP program included.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    /// The tests that need no privilege.
    UnitTests,
    /// Nodes in network namespaces.
    Nodes,
    /// The Debian package.
    Package,
    /// Every test but those in virtual machines.
    AllTests,
    /// Nodes in virtual machines.
    Machines,
}

impl Scope {
    fn has_nodes(self) -> bool {
        matches!(self, Self::Nodes | Self::AllTests | Self::Machines)
    }

    fn has_package(self) -> bool {
        matches!(self, Self::Package | Self::AllTests)
    }

    fn has_machines(self) -> bool {
        matches!(self, Self::Machines)
    }

    fn has_tests(self) -> bool {
        matches!(self, Self::UnitTests | Self::AllTests)
    }
}

/// What the setup chose.
pub(crate) struct Ready {
    /// The rustup toolchain that compiles heartbeat-ebpf.
    pub(crate) bpf_toolchain: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.check {
        ensure(Scope::AllTests)?;
        return Ok(());
    }
    let requirements = look(Scope::AllTests)?;
    let missing = report(&requirements);
    if missing > 0 {
        bail!("{missing} of {} missing: `cargo xtask setup` installs what it can", requirements.len());
    }
    Ok(())
}

/// Installs what `scope` needs and is not there yet.
///
/// # Errors
///
/// When something is missing and this machine's distribution has no known packages for it, or when a step fails.
pub(crate) fn ensure(scope: Scope) -> Result<Ready> {
    for _ in 0..ROUNDS {
        let requirements = look(scope)?;
        if let Some(ready) = all_ready(&requirements) {
            eprintln!("setup: ready, heartbeat-ebpf is built by {}", ready.detail);
            return Ok(Ready { bpf_toolchain: ready.toolchain });
        }
        report(&requirements);
        let steps: Vec<Step> = requirements.iter().flat_map(Requirement::steps).collect();
        let distribution = Distribution::detect();
        if !distribution.is_supported() && steps.iter().any(Step::needs_packages) {
            bail!("{}", distribution.advice(&steps));
        }
        step::take(steps)?;
    }
    let requirements = look(scope)?;
    if let Some(ready) = all_ready(&requirements) {
        return Ok(Ready { bpf_toolchain: ready.toolchain });
    }
    report(&requirements);
    bail!("every step ran, and something is still missing: see above")
}

struct Chosen {
    toolchain: String,
    detail: String,
}

/// The chosen toolchain if nothing at all is missing.
fn all_ready(requirements: &[Requirement]) -> Option<Chosen> {
    let mut chosen = None;
    for requirement in requirements {
        match &requirement.state {
            State::Ready { detail, toolchain } => {
                if let Some(toolchain) = toolchain {
                    chosen = Some(Chosen { toolchain: toolchain.clone(), detail: detail.clone() });
                }
            }
            State::Missing { .. } => return None,
        }
    }
    chosen
}

fn look(scope: Scope) -> Result<Vec<Requirement>> {
    let compilers = Compilers::find()?;
    let mut requirements = vec![bpf_toolchain::requirement(&compilers)];
    if scope.has_nodes() {
        requirements.extend(tools::for_nodes());
        requirements.push(bpffs::requirement());
    }
    if scope.has_tests() {
        requirements.push(tools::test_runner());
    }
    if scope.has_package() {
        requirements.push(tools::package_maker());
    }
    if scope.has_nodes() && scope.has_tests() {
        requirements.extend(tools::for_testing_nodes());
        requirements.extend(tools::for_fuzzing());
    }
    if scope.has_machines() {
        requirements.extend(tools::for_machines());
    }
    if !environment::is_root() && requirements.iter().any(Requirement::is_missing) {
        requirements.insert(0, tools::sudo());
    }
    compilers.remember();
    Ok(requirements)
}

/// Prints one line per requirement and says how many are missing.
fn report(requirements: &[Requirement]) -> usize {
    for requirement in requirements {
        eprintln!("{requirement}");
    }
    requirements.iter().filter(|requirement| requirement.is_missing()).count()
}
