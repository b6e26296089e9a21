//! A system at work in namespaces: ours or somebody else's, and what its nodes said.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use heartbeat_tests::{namespace::Namespace, topology::Topology};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::adapter::{Door, Reading, State};

/// Between two looks at something that gives no sign.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// What a node said, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) node: u16,
    pub(super) reading: Reading,
    /// CLOCK_MONOTONIC.
    pub(super) at_ns: u64,
}

/// A running group of nodes.
pub(super) trait Subject {
    fn topology(&self) -> &Topology;
    fn door(&self) -> Door;
    /// Everything that was said since the start.
    fn said(&self) -> Vec<Said>;
    /// Waits until each node that should see another does.
    fn wait_until_up(&mut self, limit: Duration) -> Result<()>;
    /// Starts a node again that was killed.
    fn restart(&mut self, node: u16) -> Result<()>;
}

/// The processes in a namespace.
pub(super) fn processes(namespace: &Namespace) -> Result<Vec<Pid>> {
    let wanted = fs::metadata(namespace.path()).context("a namespace is gone")?.ino();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end meanwhile.
        if fs::metadata(entry.path().join("ns/net")).is_ok_and(|metadata| metadata.ino() == wanted) {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}

/// A signal to all processes of a node.
pub(super) fn signal(subject: &dyn Subject, node: u16, signal: Signal) -> Result<()> {
    let found = processes(subject.topology().node(node))?;
    ensure!(!found.is_empty(), "node {node} does not run");
    if signal == Signal::SIGKILL {
        // A process whose parent is killed may say goodbye before its own turn: all stand still first.
        send(&found, Signal::SIGSTOP)?;
    }
    send(&found, signal)
}

fn send(processes: &[Pid], signal: Signal) -> Result<()> {
    for pid in processes {
        match kill(*pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot send {signal} to process {pid}")),
        }
    }
    Ok(())
}

/// How often `node` (all if `None`) called a peer silent by itself in this time.
pub(super) fn accusations(said: &[Said], node: Option<u16>, from_ns: u64, to_ns: u64) -> usize {
    let is_one = |said: &&Said| {
        said.reading.state == State::Silent
            && node.is_none_or(|node| node == said.node)
            && (from_ns..=to_ns).contains(&said.at_ns)
    };
    said.iter().filter(is_one).count()
}

/// When `node` first held `peer` for gone from this time on, for whatever reason; waits for it.
pub(super) fn wait_for_loss(
    subject: &dyn Subject,
    (node, peer): (u16, u16),
    from_ns: u64,
    limit: Duration,
) -> Option<u64> {
    let deadline = Instant::now() + limit;
    loop {
        let found = subject.said().into_iter().find(|said| {
            said.node == node && said.reading.peer == peer && said.reading.state != State::Up && said.at_ns >= from_ns
        });
        match found {
            Some(said) => return Some(said.at_ns),
            None if Instant::now() > deadline => return None,
            None => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_node_found_by_itself_accuses() {
        let said = |node, state, at_ns| Said { node, reading: Reading { peer: 2, state }, at_ns };
        let all = [
            said(1, State::Silent, 10),
            said(1, State::Told, 11),
            said(1, State::Up, 12),
            said(2, State::Silent, 13),
            said(1, State::Silent, 99),
        ];
        assert_eq!(accusations(&all, Some(1), 0, 50), 1);
        assert_eq!(accusations(&all, None, 0, 50), 2);
        assert_eq!(accusations(&all, None, 0, 99), 3);
    }
}
