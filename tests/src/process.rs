//! One node: the real program, in its namespace, with its own configuration.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    api,
    config::NodeFiles,
    events::{EventLog, follow},
    namespace::Namespace,
};

/// Names the program where it is not the one that was built beside the running one.
pub const PROGRAM_VARIABLE: &str = "HEARTBEAT_PROGRAM";

/// A node's process ends within this, or hangs.
const ENDING: Duration = Duration::from_secs(20);

/// Between two looks at something that gives no sign: a process that ends, a socket that appears.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);

/// The program `heartbeat`: the one that [`PROGRAM_VARIABLE`] names, or the one in the folder above this executable's.
///
/// # Errors
///
/// When there is none.
pub fn find_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(PROGRAM_VARIABLE) {
        return Ok(path.into());
    }
    let this = std::env::current_exe().context("cannot find this executable")?;
    let candidates = this.ancestors().skip(1).take(2).map(|directory| directory.join("heartbeat"));
    candidates.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("no program `heartbeat` near {}: build it, or name it with {PROGRAM_VARIABLE}", this.display())
    })
}

/// A node, running or not. Killed on drop.
#[derive(Debug)]
pub struct Node {
    id: u16,
    files: NodeFiles,
    program: PathBuf,
    child: Option<Child>,
    is_over: Arc<AtomicBool>,
    follower: Option<JoinHandle<()>>,
}

impl Node {
    /// A node that does not run yet, whose events will be pushed to `events` from its start on.
    pub(crate) fn new(id: u16, files: NodeFiles, program: &Path, events: &EventLog) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let follower = {
            let (socket, events, is_over) = (files.socket(), events.clone(), Arc::clone(&is_over));
            std::thread::spawn(move || follow(&socket, &events, &is_over))
        };
        Self { id, files, program: program.to_owned(), child: None, is_over, follower: Some(follower) }
    }

    /// Its id in the configuration.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Its folders and files.
    pub fn files(&self) -> &NodeFiles {
        &self.files
    }

    /// Starts the program inside the namespace. Its output goes to the node's log file.
    ///
    /// # Errors
    ///
    /// When it runs already, or cannot be started.
    pub fn start(&mut self, namespace: &Namespace, arguments: &[&str]) -> Result<()> {
        if self.child.is_some() {
            bail!("node {} runs already", self.id);
        }
        let path = self.files.log();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        let mut command = namespace.command(&self.program)?;
        command.arg("run").arg("--config").arg(self.files.config()).args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().context("cannot duplicate the log's handle")?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Asks the node over its control socket.
    ///
    /// # Errors
    ///
    /// As [`api::request`].
    pub fn request(&self, request: &Value) -> Result<Value> {
        self.request_within(request, api::PATIENCE)
    }

    /// As [`Node::request`], with the answer within `limit`.
    ///
    /// # Errors
    ///
    /// As [`api::request`].
    pub fn request_within(&self, request: &Value, limit: Duration) -> Result<Value> {
        api::request(&self.files.socket(), request, limit)
    }

    /// Its process; `None` where it does not run.
    pub fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(|child| Pid::from_raw(child.id().cast_signed()))
    }

    /// Whether its process has ended by itself, and how.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(child) => child.try_wait().context("cannot ask after a node's process"),
            None => Ok(None),
        }
    }

    /// Sends a signal, such as SIGSTOP, SIGCONT or SIGHUP.
    ///
    /// # Errors
    ///
    /// When the node does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("node {} does not run", self.id))?;
        kill(pid, signal).with_context(|| format!("cannot send {signal} to node {}", self.id))
    }

    /// SIGTERM: the node leaves in order. Returns how it ended.
    ///
    /// # Errors
    ///
    /// When it does not run, or does not end in time.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(ENDING)
    }

    /// SIGKILL: the node is gone at once, its pinned state stays.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait(ENDING)
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not run, or does not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let id = self.id;
        let child = self.child.as_mut().with_context(|| format!("node {id} does not run"))?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait().context("cannot ask after a node's process")? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("node {id} did not end within {limit:?}");
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The last lines that it wrote to its standard output and error.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = std::fs::read_to_string(self.files.log()).unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(mut child) = self.child.take() {
            // Both fail only where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(follower) = self.follower.take() {
            let _ = follower.join();
        }
    }
}
