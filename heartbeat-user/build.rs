//! Builds the eBPF object, twice: as it runs, and with the verdict trace of `cargo xtask run --trace`.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use aya_build::{Package, Toolchain, build_ebpf};

/// Crates that may use unstable features when the toolchain is not a nightly: aya-ebpf and the program write BPF
/// instructions in line. Naming them, rather than setting 1, keeps aya-build from rebuilding `core`, for which the
/// distribution's toolchain has no source but a precompiled library.
const UNSTABLE_CRATES: &str = "aya_ebpf,heartbeat_ebpf";
/// What aya-build calls the object: the name of the package's binary.
const BINARY: &str = "heartbeat-ebpf";

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../heartbeat-common/src");
    println!("cargo:rerun-if-env-changed=HEARTBEAT_BPF_TOOLCHAIN");
    let toolchain = env::var("HEARTBEAT_BPF_TOOLCHAIN").unwrap_or_else(|_| default_toolchain());
    if !toolchain.starts_with("nightly") {
        // SAFETY: a build script has one thread here.
        unsafe { env::set_var("RUSTC_BOOTSTRAP", UNSTABLE_CRATES) };
    }
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set: not run by cargo")?);
    for (features, object) in [(["trace"].as_slice(), "heartbeat-trace.o"), ([].as_slice(), "heartbeat.o")] {
        let package = Package { name: BINARY, root_dir: "../heartbeat-ebpf", features, ..Package::default() };
        build_ebpf([package], Toolchain::Custom(&toolchain)).with_context(|| {
            format!(
                "the eBPF object was not built with the toolchain `{toolchain}`; `cargo xtask setup` installs what it \
                 needs, `cargo xtask setup --check` says what is missing"
            )
        })?;
        let built = out_dir.join(BINARY);
        ensure!(built.exists(), "aya-build left no {}", built.display());
        fs::rename(&built, out_dir.join(object)).with_context(|| format!("cannot rename {}", built.display()))?;
    }
    Ok(())
}

/// The linked distribution toolchain where there is one, else a nightly.
fn default_toolchain() -> String {
    let listed = Command::new("rustup").args(["toolchain", "list"]).output();
    let linked = listed.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line.split_whitespace().next() == Some("bpf"))
    });
    if linked { "bpf".to_owned() } else { "nightly".to_owned() }
}
