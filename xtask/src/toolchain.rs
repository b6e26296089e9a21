//! Versions and names of what builds the workspace, in this one place.
//!
//! bpf-linker's LLVM must be at least as new as the LLVM of the compiler whose bitcode it reads, and aya 0.14 is the
//! newest that the distribution's compiler can build: compiler, linker and aya move together or not at all.

/// The bpf-linker that `setup` installs.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";

/// The LLVM that bpf-linker is built against; compilers with a newer one are not used.
pub(crate) const LLVM_MAJOR: u32 = 22;

/// Folder of that LLVM in Debian's packages.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// The test runner that `setup` installs where none is; any newer than the minimum in .config/nextest.toml will do.
pub(crate) const NEXTEST_VERSION: &str = "0.9.143";

/// The cargo-deb that `setup` installs where none is; `dist` makes the package with it.
pub(crate) const CARGO_DEB_VERSION: &str = "3.8.0";

/// Name under which rustup knows the distribution's compiler.
pub(crate) const DISTRIBUTION_TOOLCHAIN: &str = "bpf";

/// The rustup toolchain that can compile `core` itself.
pub(crate) const NIGHTLY_TOOLCHAIN: &str = "nightly";

/// Read by heartbeat-user's build script: the toolchain that compiles heartbeat-ebpf.
pub(crate) const TOOLCHAIN_VARIABLE: &str = "HEARTBEAT_BPF_TOOLCHAIN";

/// Target of heartbeat-ebpf.
pub(crate) const BPF_TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// Debian 12: a compiler with a precompiled `core` for the BPF targets.
pub(crate) const COMPILER_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];

/// Debian 12: what bpf-linker is built from.
pub(crate) const LINKER_PACKAGES: [&str; 4] = ["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev"];
