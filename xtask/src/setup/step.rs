//! The things that setup can do to a machine.

use std::{collections::BTreeSet, fmt};

use anyhow::{Context as _, Result};

use crate::{
    exec::{command, exec, output, privileged},
    toolchain::{
        BPF_LINKER_VERSION, CARGO_DEB_VERSION, DISTRIBUTION_TOOLCHAIN, LLVM_MAJOR, LLVM_PREFIX, NEXTEST_VERSION,
    },
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Install packages of the distribution.
    Packages(&'static [&'static str]),
    /// Compile bpf-linker against the distribution's LLVM, over one that is there.
    BuildLinker,
    /// Compile the test runner.
    BuildNextest,
    /// Compile what makes Debian packages.
    BuildCargoDeb,
    /// Make the distribution's compiler known to rustup.
    LinkToolchain,
    /// Mount the file system that keeps programs and maps.
    MountBpffs,
    /// Something that only the person at the machine can do.
    ByHand(&'static str),
}

impl Step {
    /// Whether the step is tied to the distribution that the package names are of.
    pub(super) fn needs_packages(&self) -> bool {
        match self {
            Self::Packages(_) | Self::BuildLinker | Self::LinkToolchain | Self::ByHand(_) => true,
            Self::BuildNextest | Self::BuildCargoDeb | Self::MountBpffs => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packages(packages) => write!(formatter, "package {}", packages.join(", ")),
            Self::BuildLinker => write!(formatter, "bpf-linker {BPF_LINKER_VERSION}, built against LLVM {LLVM_MAJOR}"),
            Self::BuildNextest => write!(formatter, "cargo-nextest {NEXTEST_VERSION}"),
            Self::BuildCargoDeb => write!(formatter, "cargo-deb {CARGO_DEB_VERSION}"),
            Self::LinkToolchain => write!(formatter, "`rustup toolchain link {DISTRIBUTION_TOOLCHAIN} /usr`"),
            Self::MountBpffs => write!(formatter, "`mount -t bpf bpf {}`", super::bpffs::MOUNT_POINT),
            Self::ByHand(what) => formatter.write_str(what),
        }
    }
}

/// Takes the steps in the order in which they depend on each other, each at most once, all packages in one go.
///
/// # Errors
///
/// When a command fails; what earlier steps did stays, and the next run goes on from there.
pub(super) fn take(steps: Vec<Step>) -> Result<()> {
    install_packages(&packages(&steps))?;
    let mut taken: Vec<Step> = Vec::new();
    for step in steps {
        if taken.contains(&step) {
            continue;
        }
        match &step {
            // Already there, in one go.
            Step::Packages(_) => {}
            Step::BuildLinker => build_linker()?,
            Step::BuildNextest => build_nextest()?,
            Step::BuildCargoDeb => build_cargo_deb()?,
            Step::LinkToolchain => {
                exec(command("rustup").args(["toolchain", "link", DISTRIBUTION_TOOLCHAIN, "/usr"]))?;
            }
            Step::MountBpffs => exec(privileged("mount").args(["-t", "bpf", "bpf", super::bpffs::MOUNT_POINT]))?,
            Step::ByHand(what) => anyhow::bail!("{what}"),
        }
        taken.push(step);
    }
    Ok(())
}

/// All packages that the steps name, sorted and without repetition.
fn packages(steps: &[Step]) -> BTreeSet<&'static str> {
    let packages = steps.iter().filter_map(|step| match step {
        Step::Packages(packages) => Some(packages.iter().copied()),
        Step::BuildLinker
        | Step::BuildNextest
        | Step::BuildCargoDeb
        | Step::LinkToolchain
        | Step::MountBpffs
        | Step::ByHand(_) => None,
    });
    packages.flatten().collect()
}

/// The packages' lists are fetched only where a package is really missing.
pub(crate) fn install_packages(wanted: &BTreeSet<&'static str>) -> Result<()> {
    let missing: Vec<&str> = wanted.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    exec(privileged("apt-get").args(["update", "-q"]))?;
    // `env`, because sudo does not pass variables on. No question may be asked: nobody is there in CI.
    let install = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-q", "-y", "--no-install-recommends"];
    exec(privileged("env").args(install).args(missing))
}

/// Whether a package of Debian is there, as dpkg has it.
pub(crate) fn is_installed(package: &str) -> bool {
    output(command("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn build_linker() -> Result<()> {
    let mut install = command("cargo");
    install.env("LLVM_PREFIX", LLVM_PREFIX).env("LLVM_SYS_221_PREFIX", LLVM_PREFIX);
    install.args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked", "--force"]);
    install.args(["--no-default-features", "--features", &format!("llvm-{LLVM_MAJOR}")]);
    exec(&mut install).context("bpf-linker could not be built")
}

/// Without self-update, which brings a TLS library, and with little optimization: it starts tests, and the default would
/// compile for several minutes more.
fn build_nextest() -> Result<()> {
    let mut install = command("cargo");
    install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    install.args(["install", "cargo-nextest", "--version", NEXTEST_VERSION, "--locked"]);
    install.args(["--no-default-features", "--features", "default-no-update"]);
    exec(&mut install).context("cargo-nextest could not be built")
}

/// With little optimization: it packs a few files.
fn build_cargo_deb() -> Result<()> {
    let mut install = command("cargo");
    install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
    install.args(["install", "cargo-deb", "--version", CARGO_DEB_VERSION, "--locked"]);
    exec(&mut install).context("cargo-deb could not be built")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_merged() {
        let steps = [Step::Packages(&["b", "a"]), Step::BuildLinker, Step::Packages(&["a", "c"])];
        assert_eq!(packages(&steps).into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn a_step_by_hand_stops_with_its_words() {
        let error = take(vec![Step::ByHand("turn the key")]).unwrap_err().to_string();
        assert_eq!(error, "turn the key");
    }
}
