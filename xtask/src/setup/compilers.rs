//! The compilers and the linker as they are on this machine.

use std::{cell::OnceCell, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{
    bpf_toolchain::Machine,
    probe::{self, Stamp},
};
use crate::{
    exec::{command, find_program, output},
    toolchain::{BPF_TARGET, DISTRIBUTION_TOOLCHAIN, NIGHTLY_TOOLCHAIN},
};

/// What rustup and PATH have to offer.
pub(super) struct Compilers {
    toolchains: Vec<String>,
    linker: OnceCell<Option<Linker>>,
    stamp: Stamp,
}

struct Linker {
    path: PathBuf,
    version: String,
}

impl Compilers {
    /// # Errors
    ///
    /// When there is no rustup.
    pub(super) fn find() -> Result<Self> {
        let list = output(command("rustup").args(["toolchain", "list", "--quiet"]))
            .or_else(|_| output(command("rustup").args(["toolchain", "list"])))
            .context("rustup is needed (https://rustup.rs): xtask builds with more than one toolchain")?;
        let toolchains = list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        Ok(Self { toolchains, linker: OnceCell::new(), stamp: Stamp::read() })
    }

    /// Keeps what was tried, so that the next look need not try again.
    pub(super) fn remember(&self) {
        self.stamp.write();
    }

    fn linker(&self) -> Option<&Linker> {
        let look = || {
            let path = find_program("bpf-linker")?;
            // "bpf-linker 0.13.0"
            let version = output(command(&path).arg("--version")).ok()?;
            Some(Linker { path, version: version.split_whitespace().nth(1)?.to_owned() })
        };
        self.linker.get_or_init(look).as_ref()
    }

    /// Whether rustup has `name`, or `name` for this host.
    fn has(&self, name: &str) -> bool {
        self.toolchains.iter().any(|toolchain| toolchain.strip_prefix(name).is_some_and(is_name_or_host))
    }
}

impl Machine for Compilers {
    fn linker_version(&self) -> Option<String> {
        self.linker().map(|linker| linker.version.clone())
    }

    fn nightly_llvm(&self) -> Option<u32> {
        if !self.has(NIGHTLY_TOOLCHAIN) {
            return None;
        }
        let core = sysroot(NIGHTLY_TOOLCHAIN)?.join("lib/rustlib/src/rust/library/core");
        core.is_dir().then(|| llvm_major(&verbose_version(NIGHTLY_TOOLCHAIN)?))?
    }

    fn has_distribution_toolchain(&self) -> bool {
        self.has(DISTRIBUTION_TOOLCHAIN)
            && sysroot(DISTRIBUTION_TOOLCHAIN)
                .is_some_and(|sysroot| sysroot.join("lib/rustlib").join(BPF_TARGET).is_dir())
    }

    fn try_to_build(&self, toolchain: &str) -> Result<()> {
        let linker = self.linker().context("no bpf-linker")?;
        let compiler = verbose_version(toolchain).with_context(|| format!("`rustc +{toolchain}` does not start"))?;
        self.stamp.unless_known(toolchain, &compiler, &linker.path, || probe::build(toolchain))
    }

    fn describe(&self, toolchain: &str) -> String {
        let version = verbose_version(toolchain).unwrap_or_default();
        let rustc = version.lines().next().unwrap_or_default().split(" (").next().unwrap_or_default();
        let llvm = llvm_major(&version).map_or_else(String::new, |llvm| format!(", LLVM {llvm}"));
        format!("toolchain `{toolchain}` ({rustc}{llvm})")
    }
}

fn is_name_or_host(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('-')
}

fn sysroot(toolchain: &str) -> Option<PathBuf> {
    let sysroot = output(command("rustc").args([&format!("+{toolchain}"), "--print", "sysroot"])).ok()?;
    Some(PathBuf::from(sysroot.trim()))
}

fn verbose_version(toolchain: &str) -> Option<String> {
    output(command("rustc").args([&format!("+{toolchain}"), "-vV"])).ok()
}

fn llvm_major(verbose_version: &str) -> Option<u32> {
    let version = verbose_version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_is_read_from_the_verbose_version() {
        assert_eq!(llvm_major("rustc 1.96.0\nhost: x86_64\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }

    #[test]
    fn toolchain_names_match_whole_words() {
        let compilers = Compilers {
            toolchains: vec!["nightly-x86_64-unknown-linux-gnu".to_owned(), "bpfcustom".to_owned()],
            linker: OnceCell::new(),
            stamp: Stamp::default(),
        };
        assert!(compilers.has("nightly"));
        assert!(!compilers.has("bpf"));
    }
}
