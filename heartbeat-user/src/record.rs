//! Recordings of the core: everything that went in and came out, so that its decisions can be made again.
//!
//! The core has no clock, no I/O and no randomness of its own. What it was built with, its inputs with the time of each, and
//! a core written down whole at the start of each further file are therefore enough to run it again, and to compare what it
//! decides then with what it decided. The reactor encodes into a bounded queue of bytes; a thread of normal priority writes.

mod entry;
mod files;
mod queue;
mod reader;
mod replay;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};

pub use self::{
    entry::{Built, End, Entry, FORMAT, Head, encode_action},
    queue::Recorder,
    reader::{Reader, RecordError},
    replay::{Difference, Outcome, ReplayError, Step, replay},
    writer::{RecordCounts, RecordStatistics, Writer, start},
};

/// Where the recordings of a node with this `state_dir` are.
#[must_use]
pub fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("record")
}
