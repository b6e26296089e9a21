//! `heartbeat replay`.

use heartbeat_membership::{Action, Event, Input, Now};
use serde_json::json;

use super::{ReplayArgs, output};
use crate::event::{Timestamp, printable};
use crate::record::{self, End, Head, Outcome, Step};

pub(super) const HELP: &str = "\
A node records everything that goes into its core, and everything that comes out,
in files of `record/` in its state_dir. This command runs the core again, hands
it the same inputs at the same times, and compares what it decides with what it
decided then. It needs no running node, and changes nothing.

Exit code 1 at the first difference, which is named with both decisions; also
where the file is cut off, damaged, or has a gap. Nothing behind is replayed.

Example:
  heartbeat replay /var/lib/heartbeat/record/core-0000000007.record";

pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<u8> {
    let mut failure = None;
    let mut input = None;
    let outcome = record::replay(&args.file, |head, step| {
        if let Step::Input(now, _) = step {
            input = Some(*now);
        }
        let Some(line) = line(args, head, step, input) else { return };
        if failure.is_none()
            && let Err(error) = output::print(&line)
        {
            failure = Some(error);
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    output::complain(&summary(&outcome?))?;
    Ok(0)
}

fn summary(outcome: &Outcome) -> String {
    let Outcome { inputs, actions, end } = outcome;
    let end = match end {
        Some(End::Continued) => "The next file goes on.",
        Some(End::Stopped) => "The node ended in order.",
        None => "The file ends without a word: its node runs still, or was killed, or the rest was cut off.",
    };
    format!("{inputs} inputs led to the same {actions} actions as recorded. {end}")
}

/// A step in the form that was asked for; nothing for what was not.
fn line(args: &ReplayArgs, head: &Head, step: &Step, last_input: Option<Now>) -> Option<String> {
    let event = match step {
        Step::Action(Action::Event(event)) => Some(event),
        Step::Action(_) | Step::Input(..) if !args.all => return None,
        Step::Action(_) | Step::Input(..) => None,
    };
    Some(match (event, args.json) {
        (Some(event), false) => event_line(head, event),
        (Some(event), true) if !args.all => format!("{}\n", with_time(head, json!(event), event.mono_ns)),
        (_, true) => match step {
            Step::Input(now, input) => format!("{}\n", json!({ "now": now, "input": input })),
            Step::Action(action) => format!("{}\n", json!({ "now": last_input, "action": action })),
        },
        (None, false) => match step {
            Step::Input(now, input) => format!("{} > {}\n", time(head, now.mono_ns), brief(input)),
            Step::Action(action) => format!("{:30} < {}\n", "", action_text(action)),
        },
    })
}

fn event_line(head: &Head, event: &Event) -> String {
    let severity = match event.id.severity() {
        heartbeat_membership::Severity::Info => "info",
        heartbeat_membership::Severity::Warning => "warning",
        heartbeat_membership::Severity::Error => "error",
        heartbeat_membership::Severity::Critical => "critical",
    };
    format!("{} {severity:<8} {:>4} {}\n", time(head, event.mono_ns), event.id.number(), printable(&event.text))
}

fn with_time(head: &Head, mut value: serde_json::Value, mono_ns: u64) -> serde_json::Value {
    value["time"] = json!(time(head, mono_ns));
    value
}

/// The time of a moment on the recorded node's monotonic clock.
fn time(head: &Head, mono_ns: u64) -> Timestamp {
    Timestamp::from_unix_ns(head.unix_ns.saturating_sub(head.mono_ns).saturating_add(mono_ns))
}

fn brief(input: &Input) -> String {
    printable(&format!("{input:?}"))
}

fn action_text(action: &Action) -> String {
    printable(&format!("{action:?}"))
}
