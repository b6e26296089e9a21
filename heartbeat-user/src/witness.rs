//! The witness: one record outside of the nodes, which one side of a split can take and the other then cannot.
//!
//! The record is a chain of epochs. Each epoch has one holder for ever: to take or to renew the record is to create the
//! next epoch, which succeeds for exactly one of those who try. What that is worth, and for how long, is the core's to
//! decide, from the time at which an operation *started*: a success that arrives late is worth little or nothing.

mod exchange;
pub mod file;
mod record;
mod worker;

use std::{io, path::PathBuf};

pub use self::{
    exchange::{Answer, Exchange, Outcome, Request, WitnessReport},
    file::FileWitness,
    worker::start,
};

/// Who took an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The node.
    pub node: u16,
    /// Its incarnation.
    pub incarnation: u64,
    /// Number of the view that it was in.
    pub view: u64,
}

/// What the newest epoch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// There is no epoch yet.
    Nobody,
    /// Held by this node.
    Held(Holder),
    /// It is there but cannot be understood, in words. It counts as held by somebody unknown, never as absent.
    Damaged(String),
}

/// The newest epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its number; 0 where there is none yet.
    pub epoch: u64,
    /// What it says.
    pub content: Content,
}

/// A wish to create the epoch behind `from_epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The newest epoch that the claimant knows; 0 for none.
    pub from_epoch: u64,
    /// Who claims.
    pub holder: Holder,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advance {
    /// The claimant holds this epoch, and it was the newest one after it had been created.
    Won(u64),
    /// Somebody else was faster, or has gone on since: this is the newest epoch.
    Lost(Standing),
}

/// Why the witness could not be asked. An epoch may have been created all the same; reading tells.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The place does not say that it is one.
    #[error(
        "{} is not there: is the shared file system mounted? (`touch {}` makes a directory a witness, once, on the shared \
         file system)",
        path.display(),
        path.display()
    )]
    NotAWitness {
        /// The missing file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{action} {}: {source}", path.display())]
    System {
        /// What was tried, in words.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An epoch that was seen is not there any more.
    #[error(
        "{} shows epoch {found} as the newest after {seen} had been seen: it is another directory, or an old copy of it \
         (restart the node if that is meant to be)",
        path.display()
    )]
    WentBack {
        /// The directory.
        path: PathBuf,
        /// The newest epoch that was seen.
        seen: u64,
        /// The newest epoch that is there.
        found: u64,
    },
    /// More files than all clusters together could have made.
    #[error("{} has more than {limit} entries (give the witness a directory of its own)", path.display())]
    Crowded {
        /// The directory.
        path: PathBuf,
        /// How many are looked at.
        limit: usize,
    },
    /// Nothing follows on the last epoch, which only a forged file name can be.
    #[error("{} has an epoch without a successor (remove that file)", path.display())]
    Exhausted {
        /// The directory.
        path: PathBuf,
    },
}

/// A place that keeps the record. Calls may take any time; they are made on a thread of their own, one after the other.
pub trait Witness: Send {
    /// The newest epoch.
    ///
    /// # Errors
    /// [`WitnessError`]: nothing is known then, least of all that nobody holds the record.
    fn read(&mut self) -> Result<Standing, WitnessError>;

    /// Creates the epoch behind `claim.from_epoch`, if it is still the newest. Of all who try at once, exactly one wins.
    ///
    /// # Errors
    /// [`WitnessError`]: whether the epoch was created is not known then.
    fn advance(&mut self, claim: &Claim) -> Result<Advance, WitnessError>;
}
