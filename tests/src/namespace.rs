//! Named network namespaces.
//!
//! Programs are started inside with `setns`, not with `ip netns exec`: that would mount a fresh /sys over the one with
//! the BPF file system, and a node could not pin anything.

use std::{
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::naming::NAMESPACES;

/// An open network namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes one namespace per name.
    ///
    /// # Errors
    ///
    /// Without root, or where one of them exists. Those made before the failure stay.
    pub fn create(names: &[String]) -> Result<Vec<Self>> {
        ip_batch(None, &names.iter().map(|name| format!("netns add {name}")).collect::<Vec<_>>())?;
        names.iter().map(|name| Self::open(name)).collect()
    }

    /// Opens the namespace of this name.
    ///
    /// # Errors
    ///
    /// Where there is none, or without the right to read it.
    pub fn open(name: &str) -> Result<Self> {
        let path = Path::new(NAMESPACES).join(name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { name: name.to_owned(), file })
    }

    /// The name that `ip netns` shows.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace, for `nsenter --net=`.
    pub fn path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.name)
    }

    /// Runs `action` on a thread inside the namespace. Sockets opened there stay there.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, which takes root.
    ///
    /// # Panics
    ///
    /// With what `action` panics with.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        let inside = || -> Result<T> {
            setns(&self.file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", self.name))?;
            Ok(action())
        };
        let joined = std::thread::scope(|scope| scope.spawn(inside).join());
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A command that will run inside the namespace, with this process's view of all else. It is killed when the thread
    /// that spawns it ends, so that a crashed test or demo leaves no process behind: spawn from one that lives as long.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be held open for it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let file = self.file.try_clone().with_context(|| format!("cannot duplicate the handle of {}", self.name))?;
        let enter = move || -> std::io::Result<()> {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            Ok(())
        };
        let mut command = Command::new(program);
        // Ctrl-C is for the process that started it, which ends it in its own way.
        command.process_group(0);
        // SAFETY: between fork and exec `enter` makes two system calls on a descriptor that it owns; it takes no lock
        // and allocates nothing.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }
}

/// Feeds all lines to one `ip`, in the named namespace if there is one: a process per line would take most of the time
/// that setting up a topology takes.
pub(crate) fn ip_batch(namespace: Option<&str>, lines: &[String]) -> Result<()> {
    start_ip_batch(namespace, lines)?.wait()
}

/// As [`ip_batch`], without waiting.
pub(crate) fn start_ip_batch(namespace: Option<&str>, lines: &[String]) -> Result<IpBatch> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start `ip` (package iproute2)")?;
    let mut batch = lines.join("\n");
    batch.push('\n');
    let Some(mut stdin) = child.stdin.take() else { bail!("`ip` has no standard input") };
    stdin.write_all(batch.as_bytes()).context("cannot write to `ip -batch`")?;
    Ok(IpBatch { child })
}

/// A running `ip -batch`.
pub(crate) struct IpBatch {
    child: std::process::Child,
}

impl IpBatch {
    pub(crate) fn wait(self) -> Result<()> {
        let output = self.child.wait_with_output().context("cannot wait for `ip`")?;
        if !output.status.success() {
            bail!("`ip -batch` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}
