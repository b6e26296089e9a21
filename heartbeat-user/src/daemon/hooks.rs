//! Programs that run when something has happened: the event as JSON on their standard input, a time limit, the outcome in
//! the log. They run beside the node, one after the other, so that the last one that is started tells the latest.

use std::{path::PathBuf, process::Stdio, time::Duration};

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

/// The queue of programs to run.
pub(super) struct HookRunner {
    hooks: Hooks,
    queue: Sender<Call>,
}

struct Call {
    program: PathBuf,
    name: &'static str,
    event: String,
}

impl HookRunner {
    /// Starts the task that runs them; it ends with the runner.
    pub(super) fn start(hooks: Hooks) -> Self {
        let (queue, calls) = mpsc::channel(WAITING);
        tokio::spawn(run_all(calls));
        Self { hooks, queue }
    }

    /// Runs the program that is configured for an event, if there is one.
    pub(super) fn event(&self, event: &Event) {
        let hooks = &self.hooks;
        let (name, program) = match event.id {
            id if id == kind::NODE_REMOVED.id => ("on_node_removed", &hooks.on_node_removed),
            id if id == kind::REMOVAL_SAFE.id => ("on_removal_safe", &hooks.on_removal_safe),
            id if id == kind::QUORUM_LOST.id || id == kind::PRUNED.id => ("on_quorum_lost", &hooks.on_quorum_lost),
            id if id == kind::VIEW_INSTALLED.id => ("on_view", &hooks.on_view),
            _ => return,
        };
        let Some(program) = program else { return };
        let call = Call { program: program.clone(), name, event: event.to_json() };
        match self.queue.try_send(call) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                tracing::error!("hook {name} is not run for event {}: {WAITING} are waiting already", event.number);
            }
        }
    }
}

async fn run_all(mut calls: Receiver<Call>) {
    while let Some(call) = calls.recv().await {
        match run(&call, LIMIT).await {
            Ok(()) => tracing::info!("hook {} ({}) ended well", call.name, call.program.display()),
            Err(error) => tracing::error!("hook {} ({}): {error}", call.name, call.program.display()),
        }
    }
}

async fn run(call: &Call, limit: Duration) -> Result<(), String> {
    let mut child = Command::new(&call.program)
        .env("HEARTBEAT_HOOK", call.name)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
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
        (directory, Call { program, name: "on_view", event: "{\"id\":9007}".to_owned() })
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
        let missing = Call { program: "/nonexistent/hook".into(), name: "on_view", event: String::new() };
        assert!(run(&missing, LIMIT).await.expect_err("fails").contains("cannot be started"));
    }

    #[tokio::test]
    async fn a_hook_that_hangs_is_killed() {
        let (_directory, hanging) = call("#!/bin/sh\nexec sleep 600\n");
        assert!(run(&hanging, Duration::from_millis(200)).await.expect_err("fails").contains("killed"));
    }
}
