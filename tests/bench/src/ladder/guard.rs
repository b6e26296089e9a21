//! Guards that are taken away from running nodes, to show that each is needed.

use std::{fs, mem::offset_of, sync::atomic::Ordering};

use anyhow::{Context as _, Result, ensure};
use heartbeat_common::records::{JudgeRecord, StallRecord};
use heartbeat_tests::process::Node;
use nix::unistd::Pid;

use super::records;
use crate::cpu::{self, Priority};

/// A guard that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demotion {
    /// The sender runs as any other thread.
    Sender,
    /// The reactor runs as any other thread.
    Reactor,
    /// Stalls of the machine excuse nobody.
    StallCredit,
    /// A controller that comes back tests its lease before it reads what its kernel booked: the nodes run the program
    /// `heartbeat-unguarded`, which is built with the feature `unguarded`.
    Catching,
}

impl Demotion {
    /// Takes it away from a node that runs.
    pub(super) fn apply(self, node: &Node) -> Result<()> {
        match self {
            Self::Sender => demote(node, "heartbeat-send"),
            Self::Reactor => demote(node, "heartbeat-react"),
            Self::StallCredit => exhaust(node),
            Self::Catching => Ok(()),
        }
    }
}

/// Gives a real-time thread the policy of any other.
fn demote(node: &Node, name: &str) -> Result<()> {
    let process = node.pid().context("a node has ended")?;
    let mut found = false;
    for entry in fs::read_dir(format!("/proc/{process}/task")).context("a node has no threads")? {
        let entry = entry.context("a node's threads cannot be listed")?;
        if fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim_end() == name {
            let thread = entry.file_name().to_string_lossy().parse().context("a thread without number")?;
            cpu::schedule(Pid::from_raw(thread), Priority::Other)?;
            found = true;
        }
    }
    ensure!(found, "process {process} has no thread {name}");
    Ok(())
}

/// Writes that the credit is used up, in a window that does not end. JUDGE_STATE is not the element that holds the timer.
fn exhaust(node: &Node) -> Result<()> {
    /// The judge adds the length of the window.
    const FAR_NS: u64 = u64::MAX / 4;
    let judge = records::shared::<JudgeRecord>(node, "JUDGE_STATE")?;
    let stalls = offset_of!(JudgeRecord, stalls);
    for (offset, value) in [
        (offset_of!(StallRecord, spent_ns), FAR_NS),
        (offset_of!(StallRecord, window_ns), FAR_NS),
        (offset_of!(StallRecord, exhausted), 1),
    ] {
        judge.word(0, stalls + offset).context("JUDGE_STATE is empty")?.store(value, Ordering::SeqCst);
    }
    Ok(())
}
