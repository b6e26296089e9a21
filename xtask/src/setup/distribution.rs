//! Which distribution this is, and so whether its packages are known here.

use std::{fmt::Write as _, fs};

use super::step::Step;

/// What /etc/os-release says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Distribution {
    id: String,
    version: String,
    pretty_name: String,
}

impl Distribution {
    pub(super) fn detect() -> Self {
        Self::parse(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn parse(os_release: &str) -> Self {
        let value = |key: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        Self { id: value("ID"), version: value("VERSION_ID"), pretty_name: value("PRETTY_NAME") }
    }

    /// Only Debian 12: its package names and versions are pinned in [`crate::toolchain`].
    pub(super) fn is_supported(&self) -> bool {
        self.id == "debian" && self.version == "12"
    }

    /// What a person has to install by hand.
    pub(super) fn advice(&self, steps: &[Step]) -> String {
        let name = if self.pretty_name.is_empty() { "this system" } else { &self.pretty_name };
        let mut advice =
            format!("setup knows the packages of Debian 12 only, and this is {name}. Install what is missing by hand:");
        let mut toolchain = false;
        for step in steps {
            match step {
                Step::Packages(packages) if !packages.iter().any(|package| is_toolchain_package(package)) => {
                    let _ = write!(advice, "\n  - {} (Debian's package names)", packages.join(", "));
                }
                Step::ByHand(what) => {
                    let _ = write!(advice, "\n  - {what}");
                }
                Step::Packages(_) | Step::BuildLinker | Step::LinkToolchain => toolchain = true,
                Step::BuildNextest | Step::BuildCargoDeb | Step::MountBpffs => {}
            }
        }
        if toolchain {
            advice.push_str(
                "\n  - a compiler for BPF: `rustup toolchain install nightly --component rust-src`\
                 \n  - a bpf-linker whose LLVM is at least as new as that compiler's: `cargo install bpf-linker --locked` \
                 (it needs LLVM's development files)",
            );
        }
        advice.push_str("\nThen run the command again.");
        advice
    }
}

fn is_toolchain_package(package: &str) -> bool {
    let mut known = crate::toolchain::COMPILER_PACKAGES.iter().chain(&crate::toolchain::LINKER_PACKAGES);
    known.any(|known| *known == package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::{COMPILER_PACKAGES, LINKER_PACKAGES};

    const DEBIAN_12: &str =
        "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
    const FEDORA: &str = "NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=43\nPRETTY_NAME=\"Fedora Linux 43\"\n";

    #[test]
    fn only_debian_12_is_supported() {
        assert!(Distribution::parse(DEBIAN_12).is_supported());
        assert!(!Distribution::parse(&DEBIAN_12.replace("12", "13")).is_supported());
        assert!(!Distribution::parse(FEDORA).is_supported());
        assert!(!Distribution::parse("").is_supported());
    }

    #[test]
    fn others_are_told_what_to_install() {
        let steps = [
            Step::Packages(&COMPILER_PACKAGES),
            Step::Packages(&LINKER_PACKAGES),
            Step::BuildLinker,
            Step::LinkToolchain,
            Step::Packages(&["iproute2"]),
        ];
        let advice = Distribution::parse(FEDORA).advice(&steps);
        assert!(advice.contains("this is Fedora Linux 43"), "{advice}");
        assert!(advice.contains("iproute2 (Debian's package names)"), "{advice}");
        assert!(advice.contains("rustup toolchain install nightly --component rust-src"), "{advice}");
        // Debian's own compiler is not to be had elsewhere.
        assert!(!advice.contains("rustc-web"), "{advice}");
        assert_eq!(advice.matches("a compiler for BPF").count(), 1);
    }
}
