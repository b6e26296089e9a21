//! Programs that run when something has happened: the event as JSON on their standard input, a time limit, the outcome in
//! the log. They run beside the node, one after the other, so that the last one that is started tells the latest.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    process::Command,
    sync::mpsc::{self, Receiver, Sender, error::TrySendError},
};

use crate::{
    config::Hooks,
    event::{Event, kind},
};

/// How long a program may run. It is part of the time after which a takeover is safe: a node that lost quorum has stopped
/// acting when its hook has ended, or has been ended.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// Calls that may wait: a regroup of a large cluster removes many nodes at once.
const WAITING: usize = 256;

/// Names of the hooks.
pub(super) const NAMES: [&str; 4] = ["on_node_removed", "on_removal_safe", "on_quorum_lost", "on_view"];

/// What became of hooks, in the order of [`NAMES`].
#[derive(Debug, Default)]
pub(super) struct HookCounters {
    /// Ended well.
    pub(super) ok: [AtomicU64; NAMES.len()],
    /// Could not be started, failed, or was killed.
    pub(super) failed: [AtomicU64; NAMES.len()],
    /// Not run, because too many were waiting.
    pub(super) dropped: AtomicU64,
}

/// The queue of programs to run.
pub(super) struct HookRunner {
    queue: Sender<Call>,
    counters: Arc<HookCounters>,
}

struct Call {
    program: PathBuf,
    /// Place in [`NAMES`].
    hook: usize,
    event: String,
}

impl Call {
    fn name(&self) -> &'static str {
        NAMES[self.hook]
    }
}

impl HookRunner {
    /// Starts the task that runs them; it ends with the runner.
    pub(super) fn start(counters: Arc<HookCounters>) -> Self {
        let (queue, calls) = mpsc::channel(WAITING);
        tokio::spawn(run_all(calls, Arc::clone(&counters)));
        Self { queue, counters }
    }

    /// Runs the program that `hooks` has for an event, if there is one.
    pub(super) fn event(&self, hooks: &Hooks, event: &Event) {
        let (hook, program) = match event.id {
            id if id == kind::NODE_REMOVED.id => (0, &hooks.on_node_removed),
            id if id == kind::REMOVAL_SAFE.id => (1, &hooks.on_removal_safe),
            id if id == kind::QUORUM_LOST.id || id == kind::PRUNED.id => (2, &hooks.on_quorum_lost),
            id if id == kind::VIEW_INSTALLED.id => (3, &hooks.on_view),
            _ => return,
        };
        let Some(program) = program else { return };
        let name = NAMES[hook];
        let call = Call { program: program.clone(), hook, event: event.to_json() };
        match self.queue.try_send(call) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::error!("hook {name} is not run for event {}: {WAITING} are waiting already", event.number);
            }
        }
    }
}

async fn run_all(mut calls: Receiver<Call>, counters: Arc<HookCounters>) {
    while let Some(call) = calls.recv().await {
        let ended = match run(&call, LIMIT).await {
            Ok(()) => {
                tracing::info!("hook {} ({}) ended well", call.name(), call.program.display());
                &counters.ok
            }
            Err(error) => {
                tracing::error!("hook {} ({}): {error}", call.name(), call.program.display());
                &counters.failed
            }
        };
        ended[call.hook].fetch_add(1, Ordering::Relaxed);
    }
}

async fn run(call: &Call, limit: Duration) -> Result<(), String> {
    let mut child = Command::new(&call.program)
        .env("HEARTBEAT_HOOK", call.name())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    // It has inherited that this program is the last to be ended when memory runs out. It may have ended already.
    if let Some(id) = child.id() {
        let _ordinary_again = std::fs::write(format!("/proc/{id}/oom_score_adj"), "0");
    }
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input is not wrong.
        let _unread = input.write_all(format!("{}\n", call.event).as_bytes()).await;
    }
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("ended with {status}")),
        Ok(Err(error)) => Err(format!("cannot be waited for: {error}")),
        Err(_elapsed) => {
            // Its own group would be better; what it started may live on.
            let _ended = child.kill().await;
            Err(format!("did not end within {limit:?} and was killed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn call(script: &str) -> (tempfile::TempDir, Call) {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("hook");
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
        (directory, Call { program, hook: 3, event: "{\"id\":9007}".to_owned() })
    }

    #[tokio::test]
    async fn a_hook_gets_the_event_and_its_name() {
        let (directory, call) = call("#!/bin/sh\ncat > \"$0.out\"; echo $HEARTBEAT_HOOK >> \"$0.out\"\n");
        run(&call, LIMIT).await.expect("ends well");
        let out = std::fs::read_to_string(directory.path().join("hook.out")).expect("output");
        assert_eq!(out, "{\"id\":9007}\non_view\n");
    }

    #[tokio::test]
    async fn failures_are_told() {
        let (_directory, failing) = call("#!/bin/sh\nexit 3\n");
        assert!(run(&failing, LIMIT).await.expect_err("fails").contains('3'));
        let missing = Call { program: "/nonexistent/hook".into(), hook: 3, event: String::new() };
        assert!(run(&missing, LIMIT).await.expect_err("fails").contains("cannot be started"));
    }

    #[tokio::test]
    async fn a_hook_that_hangs_is_killed() {
        let (_directory, hanging) = call("#!/bin/sh\nexec sleep 600\n");
        assert!(run(&hanging, Duration::from_millis(200)).await.expect_err("fails").contains("killed"));
    }
}
