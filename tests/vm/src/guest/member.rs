//! One node of a cluster of machines: the program runs, and all that it reports goes to the host until the power goes.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use heartbeat_tests::{
    api::{self, Connection},
    naming::node_name,
};
use serde_json::{Value, json};

use super::{HEARTBEAT, boot, port::Port};
use crate::{
    faults::cluster::{INTERFACE, address, config_path, socket_path},
    report::Report,
};

/// Id of the node that this machine is.
pub const NODE_VARIABLE: &str = "HEARTBEAT_NODE";

/// Between two looks at the status, which nothing announces.
const STATUS_EVERY: Duration = Duration::from_millis(500);
/// Between two tries to reach a program that has only just been started.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs the node, and reports until the machine is ended from outside.
///
/// # Errors
///
/// When the node cannot be started, or ends.
pub fn run(port: &mut Port) -> Result<()> {
    let node = std::env::var(NODE_VARIABLE).context("the command line does not say which node this is")?;
    let node: u16 = node.parse().with_context(|| format!("{NODE_VARIABLE} is {node}"))?;
    boot::configure(INTERFACE, &format!("{}/24", address(node)))?;
    let mut command = Command::new(HEARTBEAT);
    command.args(["run", "--config"]).arg(format!("/{}", config_path(&node_name(node)))).stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot start {HEARTBEAT}"))?;

    let socket = Path::new(socket_path());
    let mut events = port.another()?;
    std::thread::spawn(move || forward_events(socket, &mut events));
    loop {
        if let Some(status) = child.try_wait().context("cannot ask after the node")? {
            bail!("the node ended with {status}");
        }
        // A node that only just starts does not answer yet.
        if let Ok(status) = api::request(socket, &json!({"request": "status"}), api::PATIENCE) {
            port.report(&Report::Status { status })?;
        }
        std::thread::sleep(STATUS_EVERY);
    }
}

fn forward_events(socket: &Path, port: &mut Port) {
    loop {
        if let Ok(mut connection) = Connection::open(socket, &json!({"request": "events", "follow": true}), None) {
            while let Ok(Some(mut line)) = connection.next() {
                // `lagged` cannot be told from a missing verdict: the host must not take silence for peace.
                let report = match line.get_mut("event").map(Value::take) {
                    Some(event) => Report::Event { event },
                    None => Report::Failed { error: format!("events were missed: {line}") },
                };
                if port.report(&report).is_err() {
                    return;
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}
