//! Events: what an operator is told, as JSON, in the cluster log, on disk and live.

mod burst;
mod file;
pub mod kind;
mod log;
mod timestamp;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use burst::{BURST_INTERVAL_NS, Burst, BurstLimiter};
pub use kind::{Kind, Severity};
pub use log::{EventLog, Filter, Followed, Follower, LogCounters};
pub use timestamp::Timestamp;

/// One event, as it is written: one JSON object a line, with the fields in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Wall-clock time, UTC.
    pub time: Timestamp,
    /// The same moment in `CLOCK_MONOTONIC` nanoseconds of the node that logs.
    pub mono_ns: u64,
    /// Number of its kind.
    pub id: u16,
    /// Name of its kind.
    pub name: Cow<'static, str>,
    /// How urgent it is.
    pub severity: Severity,
    /// Who logs.
    pub node: u16,
    /// Whom it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u16>,
    /// The network that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// View of the node that logs; 0 = none.
    pub view: u64,
    /// One sentence for people.
    pub text: String,
    /// The evidence.
    pub detail: Value,
    /// Its number in this node's log, ascending from 1.
    pub number: u64,
}

/// An event before the log has numbered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What happened.
    pub kind: &'static Kind,
    /// When, `CLOCK_MONOTONIC` nanoseconds.
    pub mono_ns: u64,
    /// How urgent it is.
    pub severity: Severity,
    /// Whom it is about.
    pub peer: Option<u16>,
    /// Name of the network that it is about.
    pub network: Option<String>,
    /// View of this node; 0 = none.
    pub view: u64,
    /// One sentence for people.
    pub text: String,
    /// The evidence; a JSON object.
    pub detail: Value,
}

impl Draft {
    /// An event about nobody in particular, without evidence, with the severity of its kind.
    #[must_use]
    pub fn new(kind: &'static Kind, mono_ns: u64, text: impl Into<String>) -> Self {
        Self {
            kind,
            mono_ns,
            severity: kind.severity,
            peer: None,
            network: None,
            view: 0,
            text: text.into(),
            detail: Value::Object(serde_json::Map::new()),
        }
    }

    fn into_event(self, node: u16, number: u64) -> Event {
        Event {
            time: Timestamp::of_monotonic(self.mono_ns),
            mono_ns: self.mono_ns,
            id: self.kind.id,
            name: Cow::Borrowed(self.kind.name),
            severity: self.severity,
            node,
            peer: self.peer,
            network: self.network,
            view: self.view,
            text: self.text,
            detail: self.detail,
            number,
        }
    }
}

impl Event {
    /// The event as one line of JSON, without the newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Its maps have text keys and its numbers are finite, which is all that can fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The event as a line of the cluster log, `PID.TID::YYYY/MM/DD-HH:MM:SS.mmm LEVEL [TAG] text`, without the newline, told by
    /// this thread.
    ///
    /// Times are UTC, process and thread hexadecimal, as readers of such logs expect.
    #[must_use]
    pub fn cluster_log_line(&self) -> String {
        let thread = u32::try_from(nix::unistd::gettid().as_raw()).unwrap_or(0);
        self.cluster_log_line_of(std::process::id(), thread)
    }

    fn cluster_log_line_of(&self, process: u32, thread: u32) -> String {
        let tag = kind::kind(self.id).map_or("CORE", |kind| kind.tag);
        format!(
            "{process:08x}.{thread:08x}::{} {:<5} [{tag}] {} ({})",
            self.time.cluster_log_text(),
            self.severity.cluster_log_level(),
            printable(&self.text),
            self.id,
        )
    }
}

/// One line stays one line, whatever a text contains.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the documented format.
    const EXAMPLE: &str = r#"{"time":"2026-11-23T02:00:00.123456789Z","mono_ns":123456789,"id":1135,"name":"node_removed","severity":"critical","node":1,"peer":3,"network":"private","view":5,"text":"...","detail":{},"number":8}"#;

    #[test]
    fn the_documented_line_is_read_and_written_as_it_is() {
        let event: Event = serde_json::from_str(EXAMPLE).unwrap();
        assert_eq!((event.id, event.peer, event.severity), (1135, Some(3), Severity::Critical));
        assert_eq!(event.to_json(), EXAMPLE);
    }

    #[test]
    fn peer_and_network_are_absent_where_there_is_none() {
        let event = Draft::new(&kind::LOCAL_STALL, 7, "stood still").into_event(1, 1);
        let json = event.to_json();
        assert!(!json.contains("peer") && !json.contains("network"), "{json}");
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn the_cluster_log_line_has_the_known_form() {
        let mut event: Event = serde_json::from_str(EXAMPLE).unwrap();
        event.text = "node charlie\nwas removed".to_owned();
        assert_eq!(
            event.cluster_log_line_of(0xe3c, 0x1a2c),
            "00000e3c.00001a2c::2026/11/23-02:00:00.123 ERR   [NM] node charlie was removed (1135)"
        );
    }
}
