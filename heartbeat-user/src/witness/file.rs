//! A witness in a shared directory: one file for each epoch, created exclusively, never written again.
//!
//! A record is written and made durable under a name of its own, then linked to the name of its epoch: link(2) succeeds for
//! exactly one, and what it shows is whole. Three things keep a writer that was stuck for minutes from doing harm: the name
//! of its epoch is taken (old epochs are kept for long); if it was removed meanwhile, the newest epoch is looked at again
//! after linking, and a newer one is never removed; and the success is dated from its start.

mod directory;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use self::directory::{Listing, Names};
use super::{Advance, Claim, Content, Standing, Witness, WitnessError, record};

/// A directory is a witness when it has this file. An empty mount point has not: without it, nodes whose shared file system
/// is not mounted would each find a witness of their own.
pub const MARKER: &str = "heartbeat-witness";

/// Epochs that are kept, the newest included: renewed once in a second they reach back for four minutes, longer than a
/// write gets stuck in a network file system that is still alive, and they take 1 MiB at most.
pub const KEPT: u64 = 256;

/// Old epochs that one operation removes at most: more than one is there only after somebody else's removal failed.
const REMOVED_AT_ONCE: usize = 16;

/// A witness in a directory that all nodes of a cluster share.
#[derive(Debug)]
pub struct FileWitness {
    directory: PathBuf,
    names: Names,
    /// The newest epoch that was ever seen from here.
    seen: u64,
}

/// One claim on its way.
#[derive(Debug)]
struct Attempt {
    epoch: u64,
    text: String,
    /// Where it is written first.
    draft: PathBuf,
    /// What makes it the epoch.
    name: PathBuf,
}

enum Begun {
    Attempt(Attempt),
    Lost(Standing),
}

/// Whether the marker says that this directory is a witness, and not the empty place where one is to be mounted.
///
/// # Errors
///
/// [`WitnessError::NotAWitness`] when it is not there, [`WitnessError::System`] when it cannot be looked for.
pub fn look_for_marker(directory: &Path) -> Result<(), WitnessError> {
    let marker = directory.join(MARKER);
    match fs::metadata(&marker) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(WitnessError::NotAWitness { path: marker })
        }
        Err(source) => Err(WitnessError::System { action: "the witness cannot be read:", path: marker, source }),
    }
}

impl FileWitness {
    /// The witness of the cluster with this id in `directory`, as used by `node`. Nothing is read yet.
    #[must_use]
    pub fn new(directory: &Path, cluster_id: [u8; 8], node: u16) -> Self {
        Self { directory: directory.to_owned(), names: Names::new(cluster_id, node), seen: 0 }
    }

    fn begin(&mut self, claim: &Claim) -> Result<Begun, WitnessError> {
        let listing = self.list()?;
        if listing.newest() != claim.from_epoch {
            return Ok(Begun::Lost(self.standing(&listing)?));
        }
        let epoch =
            claim.from_epoch.checked_add(1).ok_or_else(|| WitnessError::Exhausted { path: self.directory.clone() })?;
        // Of an operation that was cut off, or is stuck in an earlier process: without its draft it cannot link any more.
        for draft in &listing.own_drafts {
            remove(&self.directory.join(draft))?;
        }
        Ok(Begun::Attempt(Attempt {
            epoch,
            text: record::compose(self.names.cluster(), epoch, &claim.holder),
            draft: self.directory.join(self.names.draft(claim.holder.incarnation, epoch)),
            name: self.directory.join(self.names.epoch(epoch)),
        }))
    }

    fn write(attempt: &Attempt) -> Result<(), WitnessError> {
        let path = &attempt.draft;
        let refused = |action| move |source| WitnessError::System { action, path: path.clone(), source };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .map_err(refused("a record cannot be made:"))?;
        let written = file.write_all(attempt.text.as_bytes()).and_then(|()| file.sync_all());
        if written.is_err() {
            // Best effort: the next operation removes it as well.
            let _ = fs::remove_file(path);
        }
        written.map_err(refused("a record cannot be written:"))
    }

    /// Whether the epoch is ours.
    fn link(attempt: &Attempt) -> Result<bool, WitnessError> {
        let Err(source) = fs::hard_link(&attempt.draft, &attempt.name) else { return Ok(true) };
        // A network file system may have done it and lost the answer: the draft has two names then.
        if fs::symlink_metadata(&attempt.draft).is_ok_and(|metadata| metadata.nlink() == 2) {
            return Ok(true);
        }
        if source.kind() == io::ErrorKind::AlreadyExists {
            return Ok(false);
        }
        let action = "an epoch cannot be created (the file system must have hard links):";
        Err(WitnessError::System { action, path: attempt.name.clone(), source })
    }

    fn sync_directory(&self) -> Result<(), WitnessError> {
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(|source| self.refused("an epoch cannot be made durable in", source))
    }

    /// Is the epoch that was just created still the newest, and ours? A writer that was stuck finds that it is not.
    fn confirm(&mut self, attempt: &Attempt, claim: &Claim) -> Result<Advance, WitnessError> {
        let listing = self.list()?;
        let standing = self.standing(&listing)?;
        if standing.epoch != attempt.epoch || standing.content != Content::Held(claim.holder) {
            return Ok(Advance::Lost(standing));
        }
        for old in listing.older_than(attempt.epoch.saturating_sub(KEPT - 1)).take(REMOVED_AT_ONCE) {
            // What cannot be removed now is tried again by the next operation; too many are told.
            let _kept = remove(&self.directory.join(self.names.epoch(old)));
        }
        Ok(Advance::Won(attempt.epoch))
    }

    fn list(&mut self) -> Result<Listing, WitnessError> {
        look_for_marker(&self.directory)?;
        let listing = Listing::read(&self.directory, &self.names)?;
        let found = listing.newest();
        if found < self.seen {
            return Err(WitnessError::WentBack { path: self.directory.clone(), seen: self.seen, found });
        }
        self.seen = found;
        Ok(listing)
    }

    /// What the newest epoch of a listing says.
    fn standing(&self, listing: &Listing) -> Result<Standing, WitnessError> {
        let epoch = listing.newest();
        if epoch == 0 {
            return Ok(Standing { epoch, content: Content::Nobody });
        }
        let path = self.directory.join(self.names.epoch(epoch));
        let refused = |source| WitnessError::System { action: "an epoch cannot be read:", path: path.clone(), source };
        let file = OpenOptions::new()
            .read(true)
            // Neither a link to elsewhere nor a pipe that blocks.
            .custom_flags((nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits())
            .open(&path)
            .map_err(refused)?;
        let mut text = Vec::new();
        file.take(record::LONGEST).read_to_end(&mut text).map_err(refused)?;
        let content = match record::parse(&text, self.names.cluster(), epoch) {
            Ok(holder) => Content::Held(holder),
            Err(why) => Content::Damaged(format!("{}: {why}", path.display())),
        };
        Ok(Standing { epoch, content })
    }

    fn refused(&self, action: &'static str, source: io::Error) -> WitnessError {
        WitnessError::System { action, path: self.directory.clone(), source }
    }
}

impl Witness for FileWitness {
    fn read(&mut self) -> Result<Standing, WitnessError> {
        let listing = self.list()?;
        self.standing(&listing)
    }

    fn advance(&mut self, claim: &Claim) -> Result<Advance, WitnessError> {
        let attempt = match self.begin(claim)? {
            Begun::Attempt(attempt) => attempt,
            Begun::Lost(standing) => return Ok(Advance::Lost(standing)),
        };
        Self::write(&attempt)?;
        let linked = Self::link(&attempt);
        let outcome = match linked {
            Ok(true) => self.sync_directory().and_then(|()| self.confirm(&attempt, claim)),
            Ok(false) => self.read().map(Advance::Lost),
            Err(error) => Err(error),
        };
        // Best effort: the next operation removes it as well.
        let _ = fs::remove_file(&attempt.draft);
        outcome
    }
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<(), WitnessError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(WitnessError::System { action: "cannot remove", path: path.to_owned(), source }),
    }
}
