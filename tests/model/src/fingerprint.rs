//! What makes two states one.
//!
//! A core never looks at the absolute time, and counts with numbers of which only order and small distances matter.
//! Everything that is serialised is therefore told relative to the present:
//!
//! - times as distances from now, cut off where nothing looks further back or ahead;
//! - incarnations, view numbers, form epochs, regroup sequences and numbers of messages by rank among the numbers of
//!   their kind, small gaps kept;
//! - nonces and digests by which of them are equal.
//!
//! What kind a number is shows in its value: the model starts its clock, its incarnations and its message numbers far apart
//! and away from all small numbers. View numbers, epochs and sequences have no such range; their field names tell.
//!
//! Counters for operators, constants, texts and what only describes networks are left out.

mod collector;
mod token;

use std::hash::Hasher;

use heartbeat_membership::NodeId;
use serde::Serialize;

use self::collector::Collector;

/// When a run begins, `CLOCK_MONOTONIC`; no other number is anywhere near.
pub const EPOCH_NS: u64 = 1 << 60;

/// Hashes what there is to tell of a state.
pub fn hash<H: Hasher, S: Serialize>(state: &S, now_ns: u64, hasher: &mut H) {
    let mut collector = Collector::default();
    // Only types that refuse to be serialised fail; ours do not, and a state that does is like no other.
    if state.serialize(&mut collector).is_err() {
        hasher.write_u64(now_ns);
    }
    token::hash(&collector.into_tokens(), now_ns, hasher);
}

/// The incarnation before the first of a node.
#[must_use]
pub fn first_incarnation(node: NodeId) -> u64 {
    token::INCARNATIONS + (u64::from(node.0) << token::CLASS_SHIFT)
}

/// The number of the first control message from one node to another.
#[must_use]
pub fn first_sequence(from: NodeId, to: NodeId) -> u64 {
    token::MESSAGES + ((u64::from(from.0) << 6 | u64::from(to.0)) << token::CLASS_SHIFT) + 1
}
