//! Where things are on this machine, and starting other programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Folders and programs that a run works with.
#[derive(Clone, Debug)]
pub struct Workplace {
    /// Kernels, images and what the machines said; kept between runs.
    pub directory: PathBuf,
    /// The program `heartbeat`.
    pub heartbeat: PathBuf,
    /// Process 1 of the machines.
    pub guest: PathBuf,
}

impl Workplace {
    /// `heartbeat` and the guest's program are beside this one, where cargo has built them.
    ///
    /// # Errors
    ///
    /// When one of them is not there, or the folder cannot be made.
    pub fn find() -> Result<Self> {
        let this = std::env::current_exe().context("cannot find this executable")?;
        let built = this.parent().context("this executable is in no folder")?;
        let guest = built.join("heartbeat-vm-guest");
        let heartbeat = heartbeat_tests::process::find_program()?;
        for program in [&guest, &heartbeat] {
            if !program.is_file() {
                bail!("there is no program {}: build it", program.display());
            }
        }
        let target = built.parent().context("this executable is in no target folder")?;
        let directory = target.join("vm");
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self { directory, heartbeat, guest })
    }

    /// The folder of one machine, made new: what an earlier one said is gone.
    ///
    /// # Errors
    ///
    /// When the old one cannot be removed, or the new one not made.
    pub fn of_machine(&self, name: &str) -> Result<PathBuf> {
        let directory = self.directory.join("machines").join(name);
        if directory.exists() {
            std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(directory)
    }
}

/// A command with the folders in its PATH that an ordinary user's PATH on Debian leaves out.
#[must_use]
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", search_path()).stdin(Stdio::null());
    command
}

/// Where `program` finds programs.
fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// The file that the shell would start.
///
/// # Errors
///
/// When there is none.
pub fn locate(program: &str) -> Result<PathBuf> {
    let found =
        std::env::split_paths(&search_path()).map(|directory| directory.join(program)).find(|path| path.is_file());
    found.with_context(|| format!("there is no program `{program}` in PATH"))
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
///
/// When it cannot be started or does not end with 0; the message has what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{name} {}` failed, {}: {}", words.join(" "), output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{name}` printed no UTF-8"))
}

/// Reads a file; the message names it.
///
/// # Errors
///
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
