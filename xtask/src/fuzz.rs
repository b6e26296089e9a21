//! `cargo xtask fuzz`: the fuzz targets under libFuzzer, built with the coverage that it needs.
//!
//! The instrumentation is the compiler's own and needs no nightly. No address sanitizer: what is fuzzed has no `unsafe`,
//! but for what other tests run under the kernel's verifier.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    environment,
    exec::{command, exec},
    setup::{self, Ready, Scope},
    toolchain::TOOLCHAIN_VARIABLE,
};

/// The targets, in the order in which they run.
const TARGETS: [&str; 4] = ["decode", "control", "core", "config"];

/// Not a program but a cluster: real nodes that are sent what is random or spoiled.
const LIVE: &str = "live";

/// The test that does it, and how it learns for how long.
const LIVE_TEST: &str = "noise_and_spoiled_messages_move_nothing_but_counters";
const LIVE_SECONDS_VARIABLE: &str = "HEARTBEAT_FUZZ_SECONDS";

/// What CI spends on each target.
const CI_TIME: Duration = Duration::from_secs(20);

/// Longer inputs than the longest frame, and sequences of a hundred inputs for the core.
const LONGEST_INPUT: u32 = 4096;

/// Coverage of edges with counters, and of comparisons; one unit keeps the table of program counters whole.
const INSTRUMENTATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Names the folder that a target writes its seeds into.
const SEEDS_VARIABLE: &str = "HEARTBEAT_FUZZ_SEEDS";

/// Fuzz decoders, control messages, the protocol core and the configuration
///
/// A failure prints the command that repeats it. What was learned is kept in target/fuzz/corpus.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this one: a decoder, or `live`, which sends to a cluster of real nodes
    #[arg(value_parser = ["decode", "control", "core", "config", LIVE])]
    target: Option<String>,

    /// Stop after so many minutes, shared by all targets
    #[arg(long, default_value_t = 4.0)]
    minutes: f64,

    /// Run this input once, instead of looking for others
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let time = Duration::try_from_secs_f64(arguments.minutes * 60.0).context("--minutes")?;
    if arguments.target.as_deref() == Some(LIVE) {
        return live(time);
    }
    let ready = setup::ensure(Scope::AllTests)?;
    let targets: Vec<&str> = match &arguments.target {
        Some(target) => vec![target],
        None => TARGETS.to_vec(),
    };
    build(&ready)?;
    if let (Some(input), [target]) = (&arguments.input, targets.as_slice()) {
        return exec(command(program(target)?).arg(input));
    }
    fuzz(&targets, time / u32::try_from(targets.len())?)
}

/// The same test as in `cargo xtask test netns`, for longer.
fn live(time: Duration) -> Result<()> {
    let mut test = command(std::env::current_exe()?);
    test.env(LIVE_SECONDS_VARIABLE, time.as_secs().max(1).to_string());
    exec(test.args(["test", "netns", "--", "--profile", "long", "--no-capture", LIVE_TEST]))
}

/// What CI runs.
pub(crate) fn briefly(ready: &Ready) -> Result<()> {
    build(ready)?;
    fuzz(&TARGETS, CI_TIME)
}

fn build(ready: &Ready) -> Result<()> {
    let mut cargo = command("cargo");
    cargo.current_dir(environment::workspace_root()).env(TOOLCHAIN_VARIABLE, &ready.bpf_toolchain);
    // Build scripts and the object for the kernel are not instrumented: flags of a named target are for it alone.
    let host = host()?;
    let flags = INSTRUMENTATION.map(|flag| format!("{flag:?}")).join(",");
    cargo.arg("--config").arg(format!("target.{host}.rustflags=[{flags}]"));
    // As fast as a release, and as strict as a test.
    for name in ["DEBUG_ASSERTIONS", "OVERFLOW_CHECKS"] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{name}"), "true");
    }
    cargo.args(["build", "--release", "--package", "heartbeat-fuzz", "--features", "libfuzzer", "--target", &host]);
    for target in TARGETS {
        cargo.args(["--bin", target]);
    }
    exec(cargo.arg("--target-dir").arg(folder()))
}

fn fuzz(targets: &[&str], time: Duration) -> Result<()> {
    for target in targets {
        let (corpus, found) = (folder().join("corpus").join(target), folder().join("found").join(target));
        for folder in [&corpus, &found] {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut fuzzer = command(program(target)?);
        fuzzer.env(SEEDS_VARIABLE, corpus.join("seeds"));
        fuzzer.arg(format!("-max_total_time={}", time.as_secs().max(1)));
        fuzzer.arg(format!("-max_len={LONGEST_INPUT}"));
        // An input takes microseconds; one that takes seconds is a way to stop a node.
        fuzzer.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"]);
        let mut prefix = OsString::from("-artifact_prefix=");
        prefix.push(&found);
        prefix.push("/");
        if let Err(error) = exec(fuzzer.arg(prefix).arg(&corpus)) {
            bail!("{error:#}\n{}", advice(target, &found));
        }
    }
    Ok(())
}

/// How to go on after a failure.
fn advice(target: &str, found: &Path) -> String {
    let newest = std::fs::read_dir(found)
        .into_iter()
        .flatten()
        .flatten()
        .max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
    let Some(input) = newest.map(|entry| entry.path()) else {
        return format!("no input was written to {}", found.display());
    };
    format!(
        "repeat it: cargo xtask fuzz {target} --input {}\nkeep it as a test: copy it to tests/fuzz/crashes/{target}/",
        input.display()
    )
}

fn program(target: &str) -> Result<PathBuf> {
    Ok(folder().join(host()?).join("release").join(target))
}

/// Apart from other builds, whose crates are not instrumented.
fn folder() -> PathBuf {
    environment::target_directory().join("fuzz")
}

fn host() -> Result<String> {
    let version = crate::exec::output(command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}
