//! `cargo xtask ci`: exactly what .ci/run runs. Tests come last, so that their summary closes the output.

use anyhow::Result;

use crate::{
    environment,
    exec::{command, exec, find_program},
    fuzz,
    setup::{self, Ready, Scope},
    soak, test,
    toolchain::{BPF_TARGET, NIGHTLY_TOOLCHAIN, TOOLCHAIN_VARIABLE},
    vm,
};

/// The crate that is compiled for the kernel, not for this machine: heartbeat-user's build script builds it.
const NOT_FOR_THE_HOST: &str = "heartbeat-ebpf";

/// The same for the benchmarks: on this machine it is an empty program.
const BENCH_NOT_FOR_THE_HOST: &str = "heartbeat-bench-ebpf";

/// Checks that take minutes to install and whose verdict rarely changes: run where they are installed.
const OPTIONAL: [Optional; 2] = [
    Optional { program: "cargo-deny", package: "cargo-deny", command: &["cargo", "deny", "check"] },
    Optional { program: "typos", package: "typos-cli", command: &["typos"] },
];

struct Optional {
    /// What it is called in PATH.
    program: &'static str,
    /// What cargo installs.
    package: &'static str,
    command: &'static [&'static str],
}

/// Formatting, lints, documentation and its examples, a little fuzzing, a cluster on another kernel, two minutes of random faults, then all tests.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<()> {
    let ready = setup::ensure(Scope::AllTests)?;
    let cargo = |arguments: &[&str]| {
        let mut command = command("cargo");
        command.current_dir(environment::workspace_root()).env(TOOLCHAIN_VARIABLE, &ready.bpf_toolchain);
        command.args(arguments);
        command
    };
    exec(&mut cargo(&["fmt", "--all", "--check"]))?;
    let host_crates = ["--workspace", "--exclude", NOT_FOR_THE_HOST];
    exec(cargo(&["clippy"]).args(host_crates).args(["--all-targets", "--", "--deny", "warnings"]))?;
    check_for_the_kernel(&ready)?;
    exec(cargo(&["doc", "--no-deps"]).args(host_crates).env("RUSTDOCFLAGS", "--deny warnings"))?;
    for Optional { program, package, command: words } in OPTIONAL {
        if find_program(program).is_none() {
            eprintln!("NOT CHECKED: {program} is not installed (`cargo install --locked {package}`)");
            continue;
        }
        exec(command(words[0]).current_dir(environment::workspace_root()).args(&words[1..]))?;
    }
    // nextest does not run the examples in documentation comments.
    exec(cargo(&["test", "--doc"]).args(host_crates).args(["--exclude", BENCH_NOT_FOR_THE_HOST]))?;
    fuzz::briefly(&ready)?;
    vm::run(&vm::Arguments::oldest_kernel(), &[])?;
    soak::briefly(&ready)?;
    test::all(&ready)
}

/// The build script shows the compiler's warnings about heartbeat-ebpf and goes on; here they are errors.
fn check_for_the_kernel(ready: &Ready) -> Result<()> {
    for features in ["", "trace"] {
        let mut cargo = command("rustup");
        cargo.current_dir(environment::workspace_root()).args(["run", &ready.bpf_toolchain, "cargo", "check"]);
        cargo.args(["--package", NOT_FOR_THE_HOST, "--bins", "--release", "--target", BPF_TARGET]);
        cargo.args(["--features", features]);
        if ready.bpf_toolchain.starts_with(NIGHTLY_TOOLCHAIN) {
            cargo.args(["-Z", "build-std=core"]);
        }
        // As aya-build and the build script do; the variables of the toolchain that runs xtask would get in the way.
        let architecture = std::env::consts::ARCH;
        let flags = format!("--cfg=bpf_target_arch=\"{architecture}\" --deny=warnings");
        cargo.env("RUSTFLAGS", flags).env("RUSTC_BOOTSTRAP", "1");
        exec(cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").env_remove("CARGO"))?;
    }
    Ok(())
}
