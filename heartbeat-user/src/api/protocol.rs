//! Requests and responses.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::operation::NodeName;
use crate::event::{Event, Filter, Timestamp};
use crate::why::About;

/// Version of requests; responses only ever gain fields within one.
pub const VERSION: u64 = 1;

/// What a client asks for, beside the version: `{"v":1,"request":"status"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Everything at a glance; answered by one status object.
    Status {},
    /// All links with their histograms; answered by one list.
    Links {},
    /// The remembered arrivals of a peer's heartbeats; answered by one list, an entry for each network.
    History {
        /// The peer.
        peer: NodeName,
        /// Only this network.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        network: Option<String>,
        /// The newest so many of each network.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// Everything that is counted and measured; answered by one text.
    Metrics {},
    /// The event log; answered by one line per event.
    Events {
        /// Not older than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
        /// Only this kind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u16>,
        /// Only events with a greater number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// The newest so many of the past.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        /// Go on with new events as they come.
        #[serde(default)]
        follow: bool,
    },
    /// The evidence for a verdict; answered by one object.
    Why {
        /// The node, or the number of the event; the last verdict on anybody if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<About>,
    },
    /// Leave the cluster in order; the node's process ends behind the answer.
    Leave {},
    /// Form a cluster without a majority.
    Form {
        /// The operator's word that all other nodes are off; refused without.
        #[serde(default)]
        force: bool,
    },
    /// The operator, or a fencing agent, says that a removed node is off.
    ConfirmFenced {
        /// The node.
        node: NodeName,
    },
    /// Let a quarantined node in again.
    ClearQuarantine {
        /// The node.
        node: NodeName,
    },
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response<T> {
    /// What was asked for.
    Ok(T),
    /// Why not.
    Error(Failure),
}

/// Why a request was refused. The node is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({remedy})")]
pub struct Failure {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// One line of the answer to [`Request::Events`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streamed {
    /// An event.
    Event(Event),
    /// This many events were missed here, because the client was too slow.
    Lagged(u64),
    /// There are no more; this many were sent. Never comes with `follow`.
    End(u64),
}

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// What a client gets to see: not JSON, no or another version, an unknown request or field.
    pub fn parse(line: &[u8]) -> Result<Self, Failure> {
        let example = "send one JSON object a line, such as {\"v\":1,\"request\":\"status\"}";
        let mut object: Map<String, Value> = serde_json::from_slice(line)
            .map_err(|error| Failure::new(format!("this is no request: {error}"), example))?;
        match object.remove("v") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            Some(version) => {
                return Err(Failure::new(
                    format!("version {version} is not spoken here"),
                    format!("this node speaks version {VERSION}: use the program that it was installed with"),
                ));
            }
            None => return Err(Failure::new("the version is missing", example)),
        }
        serde_json::from_value(Value::Object(object)).map_err(|error| {
            Failure::new(
                format!("this request is not known here: {error}"),
                "known: status, links, history, metrics, events, why, leave, form, confirm_fenced, clear_quarantine",
            )
        })
    }

    /// The request as a line, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["v"] = Value::from(VERSION);
        format!("{value}\n")
    }
}

impl Failure {
    /// A failure with its remedy.
    #[must_use]
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

impl<T: Serialize> Response<T> {
    /// The response as a line, with its newline.
    ///
    /// # Errors
    ///
    /// If `T` has no form in JSON.
    pub fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|mut line| {
            line.push('\n');
            line
        })
    }
}

/// Filter and limit of a request for events.
pub(super) fn filter(since: Option<Timestamp>, id: Option<u16>, after: Option<u64>) -> Filter {
    Filter { since, id, after }
}
