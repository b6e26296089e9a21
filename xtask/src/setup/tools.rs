//! Programs that running and testing start.

use super::{requirement::Requirement, step::Step};
use crate::exec::{command, find_program, output};

/// A program and the Debian package that brings it.
struct Tool {
    program: &'static str,
    packages: &'static [&'static str],
}

const NODES: [Tool; 2] =
    [Tool { program: "ip", packages: &["iproute2"] }, Tool { program: "bpftool", packages: &["bpftool"] }];

const TESTING_NODES: [Tool; 7] = [
    Tool { program: "nft", packages: &["nftables"] },
    Tool { program: "ethtool", packages: &["ethtool"] },
    Tool { program: "tcpdump", packages: &["tcpdump"] },
    Tool { program: "ping", packages: &["iputils-ping"] },
    Tool { program: "tshark", packages: &["tshark"] },
    Tool { program: "stress-ng", packages: &["stress-ng"] },
    Tool { program: "systemd-analyze", packages: &["systemd"] },
];

/// `nft` and `ip` go into the machines; the others make and run them. `setpriv` is a part of every Debian.
const MACHINES: [Tool; 4] = [
    Tool { program: "qemu-system-x86_64", packages: &["qemu-system-x86"] },
    Tool { program: "depmod", packages: &["kmod"] },
    Tool { program: "nft", packages: &["nftables"] },
    Tool { program: "objcopy", packages: &["binutils"] },
];

/// libFuzzer is C++.
const FUZZING: [Tool; 1] = [Tool { program: "c++", packages: &["g++"] }];

/// What a cluster in network namespaces needs.
pub(super) fn for_nodes() -> Vec<Requirement> {
    NODES.iter().map(requirement).collect()
}

/// What tests of it need beside that.
pub(super) fn for_testing_nodes() -> Vec<Requirement> {
    TESTING_NODES.iter().map(requirement).collect()
}

/// What the fuzzers need.
pub(super) fn for_fuzzing() -> Vec<Requirement> {
    FUZZING.iter().map(requirement).collect()
}

/// What virtual machines need beside that.
pub(super) fn for_machines() -> Vec<Requirement> {
    MACHINES.iter().map(requirement).collect()
}

/// Runs every test in a process of its own, and ends one that hangs.
pub(super) fn test_runner() -> Requirement {
    const NAME: &str = "cargo-nextest";
    match output(command("cargo").args(["nextest", "--version"])) {
        Ok(version) => Requirement::ready(NAME, version.lines().next().unwrap_or_default().to_owned()),
        Err(_) => Requirement::missing(NAME, "not installed", vec![Step::BuildNextest]),
    }
}

/// Makes Debian packages.
pub(super) fn package_maker() -> Requirement {
    const NAME: &str = "cargo-deb";
    match output(command("cargo").args(["deb", "--version"])) {
        Ok(version) => Requirement::ready(NAME, version.trim().to_owned()),
        Err(_) => Requirement::missing(NAME, "not installed", vec![Step::BuildCargoDeb]),
    }
}

/// What an ordinary user needs to install packages, mount, and make namespaces.
pub(super) fn sudo() -> Requirement {
    const NAME: &str = "sudo";
    match find_program(NAME) {
        Some(path) => Requirement::ready(NAME, path.display().to_string()),
        None => {
            Requirement::missing(NAME, "not in PATH", vec![Step::ByHand("root: run this as root, or install sudo")])
        }
    }
}

fn requirement(tool: &Tool) -> Requirement {
    match find_program(tool.program) {
        Some(path) => Requirement::ready(tool.program, path.display().to_string()),
        None => Requirement::missing(tool.program, "not in PATH", vec![Step::Packages(tool.packages)]),
    }
}
