//! `cargo xtask dist`: the Debian package, and what it is made of.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    environment,
    exec::{command, exec},
    setup::{self, Scope},
    toolchain::TOOLCHAIN_VARIABLE,
};

/// The package with the program.
const PROGRAM_PACKAGE: &str = "heartbeat-user";
/// The package whose program writes man pages and completions.
const PAGES_PACKAGE: &str = "heartbeat-pages";

/// Make the Debian package heartbeat-xdp: program, unit, man pages, completions, dashboard, dissector, documents
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to put it, instead of target/dist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Revision of the package: the last part of its version
    #[arg(long, value_name = "N", default_value_t = 1)]
    revision: u32,
    /// Pack the development build instead of the release build
    #[arg(long)]
    debug: bool,
    /// Pack what has been built already
    #[arg(long)]
    no_build: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_build {
        build(arguments.debug)?;
    }
    let built = environment::target_directory().join(if arguments.debug { "debug" } else { "release" });
    let staging = staging_directory(arguments)?;
    let result = pack(arguments, &built, &staging);
    fs::remove_dir_all(&staging).with_context(|| format!("cannot remove {}", staging.display()))?;
    result
}

fn build(debug: bool) -> Result<()> {
    let ready = setup::ensure(Scope::Package)?;
    let mut cargo = command("cargo");
    cargo.current_dir(environment::workspace_root()).env(TOOLCHAIN_VARIABLE, &ready.bpf_toolchain);
    cargo.args(["build", "--package", PROGRAM_PACKAGE, "--package", PAGES_PACKAGE]);
    if !debug {
        cargo.arg("--release");
    }
    exec(&mut cargo)
}

/// The folder that cargo-deb takes for cargo's: it packs what it finds in `release` there, whichever build that is of.
fn staging_directory(arguments: &Arguments) -> Result<PathBuf> {
    let name = format!("staging-{}-{}", std::process::id(), arguments.revision);
    let staging = environment::target_directory().join("dist").join(name);
    fs::create_dir_all(staging.join("release")).with_context(|| format!("cannot make {}", staging.display()))?;
    Ok(staging)
}

fn pack(arguments: &Arguments, built: &Path, staging: &Path) -> Result<()> {
    let (program, staged) = (built.join("heartbeat"), staging.join("release/heartbeat"));
    fs::copy(&program, &staged).with_context(|| format!("{} is not built", program.display()))?;
    exec(command(built.join(PAGES_PACKAGE)).arg("--out").arg(staging.join("release/pages")))?;
    let out = arguments.out.clone().unwrap_or_else(|| environment::target_directory().join("dist"));
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    // Relative to where the user is, while cargo-deb runs in the workspace.
    let out = fs::canonicalize(&out).with_context(|| out.display().to_string())?;
    let mut cargo = command("cargo");
    cargo.current_dir(environment::workspace_root()).env("CARGO_TARGET_DIR", staging);
    cargo.args(["deb", "--package", PROGRAM_PACKAGE, "--no-build", "--strip"]);
    cargo.args(["--deb-revision", &arguments.revision.to_string()]).arg("--output").arg(&out);
    if arguments.debug {
        cargo.arg("--fast");
    }
    exec(&mut cargo)
}
