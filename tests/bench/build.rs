//! Builds the benchmark's programs as heartbeat-user builds the data plane.

use std::{env, process::Command};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain, build_ebpf};

/// See heartbeat-user/build.rs: crates that may write BPF instructions without a nightly.
const UNSTABLE_CRATES: &str = "aya_ebpf,heartbeat_bench_ebpf";

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../heartbeat-common/src");
    println!("cargo:rerun-if-changed=../../heartbeat-ebpf/src");
    println!("cargo:rerun-if-env-changed=HEARTBEAT_BPF_TOOLCHAIN");
    let toolchain = env::var("HEARTBEAT_BPF_TOOLCHAIN").unwrap_or_else(|_| default_toolchain());
    if !toolchain.starts_with("nightly") {
        // SAFETY: a build script has one thread here.
        unsafe { env::set_var("RUSTC_BOOTSTRAP", UNSTABLE_CRATES) };
    }
    let package = Package { name: "heartbeat-bench-ebpf", root_dir: "../bench-ebpf", ..Package::default() };
    build_ebpf([package], Toolchain::Custom(&toolchain))
        .with_context(|| format!("the benchmark's programs were not built with the toolchain `{toolchain}`"))
}

/// The linked distribution toolchain where there is one, else a nightly.
fn default_toolchain() -> String {
    let listed = Command::new("rustup").args(["toolchain", "list"]).output();
    let linked = listed.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line.split_whitespace().next() == Some("bpf"))
    });
    if linked { "bpf".to_owned() } else { "nightly".to_owned() }
}
