//! Which verdict is meant.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Names, Why};
use crate::{
    api::Failure,
    event::{Event, kind},
};

/// What is asked about: a node, or an event by its number in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum About {
    /// A node's id; the number of an event where no node has this id.
    Number(u64),
    /// A node's name; `#` and a number is an event.
    Name(String),
}

impl About {
    /// As typed by a person.
    #[must_use]
    pub fn typed(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Number)
    }
}

/// Verdicts on others.
const ON_PEERS: &[u16] = &[
    kind::NODE_REMOVED.id,
    kind::LINK_LOST.id,
    kind::CONTROLLER_HUNG.id,
    kind::NODE_LEFT.id,
    kind::CONFIG_DIFFERS.id,
    kind::DUPLICATE_ID.id,
    kind::QUARANTINED.id,
];
/// Verdicts on the node that logs.
const ON_ITSELF: &[u16] =
    &[kind::QUORUM_LOST.id, kind::PRUNED.id, kind::SUPERSEDED.id, kind::SUSPENDED.id, kind::LOCAL_STALL.id];

enum Wanted {
    Node(u16),
    Number(u64),
}

pub(super) fn verdict(events: &[Arc<Event>], about: Option<&About>, names: Names<'_>) -> Result<Arc<Event>, Failure> {
    let newest = |wanted: &dyn Fn(&Event) -> bool| events.iter().rev().find(|event| wanted(event)).cloned();
    let on_peer = |event: &Event| ON_PEERS.contains(&event.id);
    let on_itself = |event: &Event| ON_ITSELF.contains(&event.id);
    let Some(about) = about else {
        // A stall of its own excuses others; as an answer it is of use only where nothing else is.
        return newest(&|event| on_peer(event) || (on_itself(event) && event.id != kind::LOCAL_STALL.id))
            .or_else(|| newest(&on_itself))
            .ok_or_else(|| nothing("anybody", events.len()));
    };
    match resolve(about, names)? {
        Wanted::Number(number) => {
            let event = newest(&|event| event.number == number)
                .ok_or_else(|| Failure::new(format!("event {number} is not in the log"), where_events_are(events)))?;
            Ok(whole(events, event))
        }
        Wanted::Node(node) if node == names.local => {
            newest(&on_itself).ok_or_else(|| nothing("this node", events.len()))
        }
        Wanted::Node(node) => newest(&|event| on_peer(event) && event.peer == Some(node))
            .ok_or_else(|| nothing(&names.node(node), events.len())),
    }
}

/// The newest verdict of each kind on the same node before this one, which the story does not tell; newest first.
pub(super) fn earlier(events: &[Arc<Event>], why: &Why) -> Vec<Event> {
    let kinds = if why.verdict.peer.is_some() { ON_PEERS } else { ON_ITSELF };
    let told = |event: &Event| why.facts.iter().any(|fact| fact.event == event.number);
    let mut earlier: Vec<Event> = Vec::new();
    for event in events.iter().rev().filter(|event| event.number < why.verdict.number) {
        let other_kind = event.id != why.verdict.id && earlier.iter().all(|known| known.id != event.id);
        if kinds.contains(&event.id) && event.peer == why.verdict.peer && other_kind && !told(event) {
            earlier.push((**event).clone());
        }
    }
    earlier
}

/// What follows a removal is explained by the removal.
fn whole(events: &[Arc<Event>], event: Arc<Event>) -> Arc<Event> {
    if event.id != kind::REMOVAL_SAFE.id {
        return event;
    }
    let removal = events.iter().rev().find(|earlier| {
        earlier.number < event.number && earlier.id == kind::NODE_REMOVED.id && earlier.peer == event.peer
    });
    removal.cloned().unwrap_or(event)
}

fn resolve(about: &About, names: Names<'_>) -> Result<Wanted, Failure> {
    match about {
        About::Number(number) => Ok(match u16::try_from(*number) {
            Ok(id) if names.nodes.contains_key(&id) => Wanted::Node(id),
            Ok(_) | Err(_) => Wanted::Number(*number),
        }),
        About::Name(name) => {
            if let Some(number) = name.strip_prefix('#').and_then(|number| number.parse().ok()) {
                return Ok(Wanted::Number(number));
            }
            let found = names.nodes.iter().find(|(_, known)| *known == name);
            found.map(|(id, _)| Wanted::Node(*id)).ok_or_else(|| {
                let known: Vec<String> = names.nodes.iter().map(|(id, name)| format!("{name} ({id})")).collect();
                Failure::new(
                    format!("there is no node {name} in the configuration"),
                    format!("known: {}; #17 is the event with number 17", known.join(", ")),
                )
            })
        }
    }
}

fn nothing(whom: &str, events: usize) -> Failure {
    Failure::new(
        format!("none of the {events} events that this node remembers is a verdict on {whom}"),
        "ask the node that gave one; `heartbeat events` shows what there is",
    )
}

fn where_events_are(events: &[Arc<Event>]) -> String {
    match (events.first(), events.last()) {
        (Some(first), Some(last)) => {
            format!("in memory are {} to {}; older ones are in events.*.jsonl of state_dir", first.number, last.number)
        }
        _ => "the log is empty".to_owned(),
    }
}
