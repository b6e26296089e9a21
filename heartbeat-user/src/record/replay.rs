//! A recorded core, run again.

use std::path::{Path, PathBuf};

use heartbeat_membership::{Action, ConfigError, Input, Node, Now};
use thiserror::Error;

use super::{
    entry::{Built, End, Entry, Head, encode_action, is_action},
    reader::{Reader, RecordError},
};

/// One step of a recording that was made again with the same result.
#[derive(Debug, Clone)]
pub enum Step {
    /// The core was handed this.
    Input(Now, Input),
    /// It gave this, then and now.
    Action(Action),
}

/// A recording that was replayed to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Inputs handed in.
    pub inputs: u64,
    /// Actions compared.
    pub actions: u64,
    /// Why the file ends; `None` where it does without a word: its node runs still, or was killed.
    pub end: Option<End>,
}

/// Where a replay ends early.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The file cannot be read on.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Entries are missing.
    #[error(
        "{}: {lost} entries are missing at byte {offset}, because the disk was too slow: what follows does not follow from \
         what is here (the next file starts with the core as it was behind them)",
        path.display()
    )]
    Gap {
        /// The file.
        path: PathBuf,
        /// How many.
        lost: u64,
        /// Where they would be.
        offset: u64,
    },
    /// There is no core to hand inputs to.
    #[error("{}: the entry at byte {offset} comes before any core", path.display())]
    NoCore {
        /// The file.
        path: PathBuf,
        /// Where the entry ends.
        offset: u64,
    },
    /// The recorded configuration builds no core.
    #[error("the recorded core cannot be built: {0}")]
    Config(#[from] ConfigError),
    /// The core decides otherwise now.
    #[error(transparent)]
    Differs(Box<Difference>),
}

/// The first action that is not the recorded one.
#[derive(Debug, Error)]
#[error(
    "{}: the decisions differ at byte {offset}, behind input {input} and action {action} (recorded by version {version}, \
     replayed by version {}):\n  recorded: {recorded}\n  replayed: {replayed}",
    path.display(),
    env!("CARGO_PKG_VERSION")
)]
pub struct Difference {
    /// The file.
    pub path: PathBuf,
    /// Where the recorded action ends.
    pub offset: u64,
    /// Inputs handed in so far.
    pub input: u64,
    /// Actions that were the same before.
    pub action: u64,
    /// What was recorded.
    pub recorded: String,
    /// What the core gives now.
    pub replayed: String,
    /// Version of the program that recorded.
    pub version: String,
}

/// Replays a file: builds the core, or takes the one that the file begins with, hands it the inputs, compares what it gives
/// with what it gave, and shows each step to `visit`.
///
/// # Errors
///
/// [`ReplayError`]: what stopped it, at the first difference at the latest.
pub fn replay(path: &Path, mut visit: impl FnMut(&Head, &Step)) -> Result<Outcome, ReplayError> {
    let mut reader = Reader::open(path)?;
    let head = reader.head().clone();
    let mut core: Option<Node> = None;
    let mut outcome = Outcome { inputs: 0, actions: 0, end: None };
    while let Some(entry) = reader.next()? {
        let offset = reader.offset();
        let no_core = || ReplayError::NoCore { path: path.to_owned(), offset };
        match entry {
            Entry::Head(_) => {}
            Entry::Built(built) => core = Some(build(*built)?),
            Entry::Core(written) => core = Some(*written),
            Entry::Input(now, input) => {
                core.as_mut().ok_or_else(no_core)?.handle(now, input.clone());
                outcome.inputs += 1;
                visit(&head, &Step::Input(now, input));
            }
            Entry::Action(recorded) => {
                let given = core.as_mut().ok_or_else(no_core)?.poll_action();
                let same = given.as_ref().is_some_and(|given| {
                    is_action(reader.content()) && encode_action(given).is_ok_and(|bytes| bytes == reader.content())
                });
                if !same {
                    let replayed = given.map_or_else(|| "nothing".to_owned(), |given| format!("{given:?}"));
                    return Err(ReplayError::Differs(Box::new(Difference {
                        path: path.to_owned(),
                        offset,
                        input: outcome.inputs,
                        action: outcome.actions,
                        recorded: format!("{recorded:?}"),
                        replayed,
                        version: head.version,
                    })));
                }
                outcome.actions += 1;
                visit(&head, &Step::Action(recorded));
            }
            Entry::Gap(lost) => return Err(ReplayError::Gap { path: path.to_owned(), lost, offset }),
            Entry::End(end) => outcome.end = Some(end),
        }
    }
    Ok(outcome)
}

fn build(built: Built) -> Result<Node, ConfigError> {
    Node::with_membership(built.config, built.settings, built.identity, built.seed, built.now)
}
