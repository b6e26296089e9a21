//! `heartbeat doctor`.

use std::path::Path;

use super::{DoctorArgs, EXIT_FAILED, output};
use crate::doctor::{Sources, examine, gather, render, render_json};

pub(super) const HELP: &str = "\
Looks for the known causes of false verdicts: how heartbeats are received and
sent, interfaces, networks, firewall, clocks, processors, configuration, and
what the last hour's events say. Each finding has its evidence and a remedy;
docs/doctor.md explains every check.

It reads only, and takes a second. Run it as root on the node, in the node's
network namespace; what it could not look at is listed as unknown.

Exit code 0 if nothing is wrong (advice is not wrong), 1 if something is.

Examples:
  heartbeat doctor
  heartbeat doctor --json | jq '.findings[] | select(.severity == \"wrong\")'
  heartbeat --socket /run/hb-b/heartbeat.sock doctor --config b.toml";

pub(super) fn doctor(socket: &Path, args: &DoctorArgs) -> anyhow::Result<u8> {
    let sources = Sources { config: args.config.clone(), socket: socket.to_owned(), root: "/".into() };
    let report = examine(&gather(&sources));
    output::print(&if args.json { render_json(&report)? } else { render(&report, output::coloured()) })?;
    Ok(if report.is_wrong() { EXIT_FAILED } else { 0 })
}
