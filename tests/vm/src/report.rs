//! What a virtual machine tells its host: lines of JSON on its second serial port.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The line by which the host says that it has read everything, and that the machine may switch itself off.
pub const SWITCH_OFF: &str = "off";

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum Report {
    /// The kernel has started process 1.
    Booted(Booted),
    /// Something was tried.
    Check(Check),
    /// All that was to be tried has been tried.
    Finished(Facts),
    /// An event of the node that runs there.
    Event {
        /// The event, as in docs/events.md.
        event: Value,
    },
    /// Status of the node that runs there.
    Status {
        /// As in docs/api.md.
        status: Value,
    },
    /// Nothing more will come: this went wrong.
    Failed {
        /// In words.
        error: String,
    },
}

/// The kernel, by its own account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// Such as `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// What `uname -v` says.
    pub version: String,
    /// Whether it is a PREEMPT_RT kernel.
    pub realtime: bool,
    /// Processors.
    pub cpus: usize,
}

/// Outcome of one try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was tried.
    pub name: String,
    /// Whether it went as it should.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// What is worth a place in a table, apart from passed or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How programs are attached to interfaces, such as `native`.
    pub attached: String,
    /// `kernel-timer` or `reactor`.
    pub judge: String,
    /// What the node says it could not have; in words, each once.
    pub degraded: Vec<String>,
    /// Instructions that the verifier walked through, for each program that a node holds.
    pub verified_instructions: BTreeSet<u64>,
    /// Heartbeats that the programs of all nodes accepted during the count.
    pub counted: u64,
    /// Sequence numbers that never came meanwhile.
    pub lost: u64,
}

impl Report {
    /// Takes a line apart; `None` for what is no report, such as an echo of what the host sent.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }

    /// The line, without its end.
    #[must_use]
    pub fn line(&self) -> String {
        // Its maps have text keys and its numbers are finite, which is all that can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_was_reported() {
        let check = Check { name: "up".to_owned(), passed: true, detail: "a \"quoted\"\nline".to_owned() };
        let line = Report::Check(check.clone()).line();
        assert!(!line.contains('\n'), "{line}");
        match Report::parse(&format!("{line}\r\n")) {
            Some(Report::Check(read)) => assert_eq!(read, check),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_report_is_passed_over() {
        for line in ["", SWITCH_OFF, "[    0.000000] Linux version", "{\"report\":\"unknown\"}"] {
            assert!(Report::parse(line).is_none(), "{line}");
        }
    }
}
