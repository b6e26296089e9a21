//! Why something happened: the evidence for a verdict, in order and with times, out of the event log.
//!
//! A verdict carries what it rests on in its detail: stamps, misses, what each survivor reported, stages, votes. What led to
//! it and what followed are events of their own. Both become facts on one line of time.

mod facts;
mod select;
#[cfg(test)]
mod tests;
mod text;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

pub use self::select::About;
use crate::{
    api::Failure,
    event::{Event, Timestamp},
};

/// The names that a story is told with.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The node that tells it.
    pub local: u16,
    /// Every configured node.
    pub nodes: &'a BTreeMap<u16, String>,
    /// Every configured network.
    pub networks: &'a BTreeMap<u8, String>,
}

/// The evidence for one verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The verdict.
    pub verdict: Event,
    /// What it means, in a sentence.
    pub summary: String,
    /// What it rests on, what led to it and what followed, in the order of time.
    pub facts: Vec<Fact>,
    /// Earlier facts of the same kind that are left out, because they would be too many.
    #[serde(default)]
    pub left_out: u64,
    /// The newest earlier verdict of each kind on the same node that is no part of this story, newest first: a node that
    /// came back may have lost a link since it was removed.
    #[serde(default)]
    pub earlier: Vec<Event>,
}

/// One thing that was so at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// When, by the wall clock.
    pub time: Timestamp,
    /// When, by `CLOCK_MONOTONIC` of the node that tells it.
    pub mono_ns: u64,
    /// What kind of fact it is.
    pub kind: FactKind,
    /// What was so.
    pub text: String,
    /// Number of the event that it comes from.
    pub event: u64,
}

/// What a fact is about. Facts of one moment are told in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// Something that happened before or meanwhile.
    Before,
    /// The last that was heard on a network.
    Stamp,
    /// A deadline passed without a heartbeat.
    Missed,
    /// What a survivor reported.
    Report,
    /// A stage of the regroup was entered.
    Stage,
    /// The votes, and the rule that decided.
    Votes,
    /// The verdict itself.
    Verdict,
    /// When a takeover was safe.
    Safe,
    /// Something that followed.
    After,
}

/// Explains a verdict.
///
/// # Errors
///
/// When there is no such verdict among these events, or no such node.
pub fn explain(events: &[Arc<Event>], about: Option<&About>, names: Names<'_>) -> Result<Why, Failure> {
    let verdict = select::verdict(events, about, names)?;
    let mut why = facts::story(events, &verdict, names);
    why.earlier = select::earlier(events, &why);
    Ok(why)
}

impl Names<'_> {
    fn node(&self, id: u16) -> String {
        self.nodes.get(&id).cloned().unwrap_or_else(|| format!("node {id}"))
    }

    fn network(&self, id: u8) -> String {
        self.networks.get(&id).cloned().unwrap_or_else(|| format!("network {id}"))
    }
}
