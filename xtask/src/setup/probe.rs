//! Whether a compiler and the linker really work together, tried on a small program.
//!
//! Versions alone do not tell: a bpf-linker whose LLVM is older than the compiler's starts fine and then cannot read
//! the bitcode.

use std::{cell::RefCell, fs, path::Path, path::PathBuf, time::UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::{
    environment,
    exec::{command, output},
    toolchain::{BPF_TARGET, DISTRIBUTION_TOOLCHAIN},
};

const PROGRAM: &str = r#"#![no_std]
#![no_main]
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
pub extern "C" fn probe() -> u64 { 0 }
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
"#;

const MANIFEST: &str = "[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
    [[bin]]\nname = \"probe\"\npath = \"main.rs\"\ntest = false\n[profile.dev]\npanic = \"abort\"\n[workspace]\n";

/// Compiles and links a program for BPF, the way heartbeat-ebpf is built.
///
/// # Errors
///
/// With what the compiler or the linker said.
pub(super) fn build(toolchain: &str) -> Result<()> {
    let directory = directory().join(format!("probe-{toolchain}"));
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let write = |name: &str, content: &str| {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    write("main.rs", PROGRAM)?;
    let (mut build, object) = if toolchain == DISTRIBUTION_TOOLCHAIN {
        let mut rustc = command("rustc");
        rustc.args([&format!("+{toolchain}"), "--edition=2024", "--crate-type=bin", "-Cpanic=abort"]);
        rustc.args(["--target", BPF_TARGET, "-Clink-arg=--btf", "main.rs", "-o", "probe"]);
        (rustc, directory.join("probe"))
    } else {
        write("Cargo.toml", MANIFEST)?;
        let mut cargo = command("cargo");
        cargo.args([&format!("+{toolchain}"), "build", "-Z", "build-std=core", "--target", BPF_TARGET]);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Clink-arg=--btf").env("CARGO_TARGET_DIR", "target");
        (cargo, directory.join("target").join(BPF_TARGET).join("debug/probe"))
    };
    // Set by rustup for the toolchain that runs xtask; it would win over a `rustc` that cargo starts.
    build.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").current_dir(&directory);
    eprintln!("setup: trying whether `{toolchain}` and bpf-linker work together");
    // Of an earlier try: it would hide a linker that says nothing and does nothing.
    let _ = fs::remove_file(&object);
    output(&mut build)?;
    let linked = fs::read(&object).with_context(|| format!("the linker left no {}", object.display()))?;
    ensure!(linked.starts_with(b"\x7fELF"), "the linker made no object file of {}", object.display());
    Ok(())
}

/// The pairs of compiler and linker that are known to work, kept between runs.
#[derive(Default)]
pub(super) struct Stamp {
    known: RefCell<Vec<String>>,
}

impl Stamp {
    pub(super) fn read() -> Self {
        let content = fs::read_to_string(stamp_file()).unwrap_or_default();
        Self { known: RefCell::new(content.lines().map(str::to_owned).collect()) }
    }

    /// Only a cache: where it cannot be written, the next run tries again.
    pub(super) fn write(&self) {
        let _ = fs::create_dir_all(directory());
        let _ = fs::write(stamp_file(), self.known.borrow().join("\n"));
    }

    /// Runs `attempt` unless this pair has succeeded before.
    pub(super) fn unless_known(
        &self,
        toolchain: &str,
        compiler: &str,
        linker: &Path,
        attempt: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let pair = format!("{toolchain}: {}", pair(compiler, linker)?);
        if self.known.borrow().contains(&pair) {
            return Ok(());
        }
        attempt()?;
        self.known.borrow_mut().push(pair);
        Ok(())
    }
}

/// Compiler by what it says of itself, linker by its file, on one line.
fn pair(compiler: &str, linker: &Path) -> Result<String> {
    let metadata = linker.metadata().with_context(|| format!("cannot read {}", linker.display()))?;
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let compiler = compiler.lines().collect::<Vec<_>>().join(" ");
    Ok(format!("{compiler} | {} {} {}", linker.display(), metadata.len(), modified.as_nanos()))
}

fn directory() -> PathBuf {
    environment::target_directory().join("xtask")
}

fn stamp_file() -> PathBuf {
    directory().join("known-toolchains")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_tried_once_and_a_failure_again() {
        let linker = std::env::current_exe().unwrap();
        let stamp = Stamp::default();
        let mut tries = 0;
        let mut attempt = |works: bool| {
            let outcome = stamp.unless_known("bpf", "rustc 1.0\nLLVM version: 22", &linker, || {
                tries += 1;
                anyhow::ensure!(works, "no");
                Ok(())
            });
            outcome.is_ok()
        };
        assert!(!attempt(false));
        assert!(attempt(true));
        assert!(attempt(false), "known by now");
        assert_eq!(tries, 2);
    }
}
