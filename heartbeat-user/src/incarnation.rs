//! The incarnation of a node: a number that only grows, over restarts, reboots and clocks that are set back.
//!
//! Peers accept nothing from an incarnation lower than one that they have seen, so a node that cannot persist its own
//! must not start.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

const FILE_NAME: &str = "incarnation";
const NEW_FILE_NAME: &str = "incarnation.new";
const EPOCH_NAME: &str = "epoch";
const NEW_EPOCH_NAME: &str = "epoch.new";
const LOCK_NAME: &str = "lock";

/// A u64 has 20 digits; what is longer is some other file.
const LONGEST_FILE: u64 = 64;

/// The place where a node keeps its incarnation. While it is open, no other process can open it.
#[derive(Debug)]
pub struct IncarnationStore {
    state_dir: PathBuf,
    last: Option<u64>,
    epoch: u32,
    _lock: File,
}

/// Why there is no incarnation to start with. What was persisted before is as it was.
#[derive(Debug, Error)]
pub enum IncarnationError {
    /// The directory cannot be used.
    #[error(
        "the state directory {} cannot be used, and without a place for its incarnation a node must not start: {source} \
         (create it, or name another one as [local] state_dir)",
        path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("another node uses the state directory {} (give each its own [local] state_dir)", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error(
        "{} does not hold an incarnation (if no node wrote it, remove it: peers name the highest incarnation that they \
         know of this node)",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// It could not be made durable.
    #[error("the incarnation cannot be persisted in {}: {source}", path.display())]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The number range is used up, which only a damaged or forged value can do.
    #[error("the incarnation {0} has no successor")]
    Exhausted(u64),
}

impl IncarnationStore {
    /// Opens the store in `state_dir`, which is created if need be, and locks it until the store is dropped.
    ///
    /// # Errors
    ///
    /// [`IncarnationError`]; nothing was taken.
    pub fn open(state_dir: &Path) -> Result<Self, IncarnationError> {
        let directory = |source| IncarnationError::Directory { path: state_dir.to_owned(), source };
        std::fs::create_dir_all(state_dir).map_err(directory)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(state_dir.join(LOCK_NAME))
            .map_err(directory)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => IncarnationError::InUse { path: state_dir.to_owned() },
            TryLockError::Error(source) => directory(source),
        })?;
        let last = read(&state_dir.join(FILE_NAME)).map_err(|error| match error {
            ReadError::System(source) => directory(source),
            ReadError::NotANumber => IncarnationError::Unreadable { path: state_dir.join(FILE_NAME) },
        })?;
        let epoch = read(&state_dir.join(EPOCH_NAME)).map_err(|error| match error {
            ReadError::System(source) => directory(source),
            ReadError::NotANumber => IncarnationError::Unreadable { path: state_dir.join(EPOCH_NAME) },
        })?;
        let epoch = u32::try_from(epoch.unwrap_or(0))
            .map_err(|_| IncarnationError::Unreadable { path: state_dir.join(EPOCH_NAME) })?;
        Ok(Self { state_dir: state_dir.to_owned(), last, epoch, _lock: lock })
    }

    /// The highest form epoch that was persisted; 0 on a new disk.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Makes a form epoch durable; a lower one than is persisted changes nothing.
    ///
    /// # Errors
    ///
    /// [`IncarnationError::Unwritable`]; the old one is there then.
    pub fn persist_epoch(&mut self, epoch: u32) -> Result<(), IncarnationError> {
        if epoch > self.epoch {
            write(&self.state_dir, NEW_EPOCH_NAME, EPOCH_NAME, u64::from(epoch))
                .map_err(|source| IncarnationError::Unwritable { path: self.state_dir.clone(), source })?;
            self.epoch = epoch;
        }
        Ok(())
    }

    /// The incarnation that was persisted last; nothing on a new disk.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// A new incarnation, greater than any persisted one, not less than `now_unix_ns` and `at_least`; durable when this
    /// returns.
    ///
    /// `now_unix_ns` is `CLOCK_REALTIME`: after the loss of a disk it makes collisions with the past unlikely, and
    /// `at_least` (what peers know, plus one) makes them impossible.
    ///
    /// # Errors
    ///
    /// [`IncarnationError::Unwritable`] and [`IncarnationError::Exhausted`]; then no incarnation was taken.
    pub fn take(&mut self, now_unix_ns: u64, at_least: u64) -> Result<u64, IncarnationError> {
        let next = match self.last {
            Some(last) => last.checked_add(1).ok_or(IncarnationError::Exhausted(last))?,
            // 0 means "none" on the wire.
            None => 1,
        };
        let incarnation = next.max(now_unix_ns).max(at_least);
        write(&self.state_dir, NEW_FILE_NAME, FILE_NAME, incarnation)
            .map_err(|source| IncarnationError::Unwritable { path: self.state_dir.clone(), source })?;
        self.last = Some(incarnation);
        Ok(incarnation)
    }
}

enum ReadError {
    System(io::Error),
    NotANumber,
}

fn read(path: &Path) -> Result<Option<u64>, ReadError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::System(error)),
    };
    let mut text = Vec::new();
    file.take(LONGEST_FILE).read_to_end(&mut text).map_err(ReadError::System)?;
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or(ReadError::NotANumber)
}

/// The old value or the new one is there after a crash at any point: the name moves only to durable bytes.
fn write(state_dir: &Path, new_name: &str, name: &str, number: u64) -> io::Result<()> {
    let new = state_dir.join(new_name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(format!("{number}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, state_dir.join(name))?;
    File::open(state_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn grows_with_the_clock_and_without_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/here");
        let mut store = IncarnationStore::open(&path).unwrap();
        assert_eq!(store.last(), None);
        assert_eq!(store.take(NOW, 0).unwrap(), NOW);
        assert_eq!(store.take(NOW, 0).unwrap(), NOW + 1);
        drop(store);
        let mut store = IncarnationStore::open(&path).unwrap();
        assert_eq!(store.last(), Some(NOW + 1));
        assert_eq!(store.take(5, 0).unwrap(), NOW + 2, "a clock that was set back must not matter");
        assert_eq!(store.take(5, NOW + 100).unwrap(), NOW + 100, "what peers know must be passed");
        assert_eq!(store.take(NOW + 500, NOW).unwrap(), NOW + 500);
    }

    #[test]
    fn a_clock_at_zero_on_a_new_disk_gives_a_valid_incarnation() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(IncarnationStore::open(directory.path()).unwrap().take(0, 0).unwrap(), 1);
    }

    #[test]
    fn the_form_epoch_only_grows_and_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = IncarnationStore::open(directory.path()).unwrap();
        assert_eq!(store.epoch(), 0);
        store.persist_epoch(3).unwrap();
        store.persist_epoch(2).unwrap();
        drop(store);
        assert_eq!(IncarnationStore::open(directory.path()).unwrap().epoch(), 3);
        std::fs::write(directory.path().join(EPOCH_NAME), "99999999999").unwrap();
        assert!(matches!(IncarnationStore::open(directory.path()), Err(IncarnationError::Unreadable { .. })));
    }

    #[test]
    fn two_nodes_cannot_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let store = IncarnationStore::open(directory.path()).unwrap();
        let message = IncarnationStore::open(directory.path()).unwrap_err().to_string();
        assert!(message.contains("another node uses") && message.contains("state_dir"), "{message}");
        drop(store);
        IncarnationStore::open(directory.path()).unwrap();
    }

    #[test]
    fn a_half_written_successor_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        IncarnationStore::open(directory.path()).unwrap().take(NOW, 0).unwrap();
        std::fs::write(directory.path().join(NEW_FILE_NAME), "17").unwrap();
        let mut store = IncarnationStore::open(directory.path()).unwrap();
        assert_eq!(store.last(), Some(NOW));
        assert_eq!(store.take(0, 0).unwrap(), NOW + 1);
    }

    #[test]
    fn a_damaged_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        for content in ["", "seventeen", "-1", "99999999999999999999999", "\u{0}\u{0}"] {
            std::fs::write(directory.path().join(FILE_NAME), content).unwrap();
            let error = IncarnationStore::open(directory.path()).unwrap_err();
            assert!(matches!(error, IncarnationError::Unreadable { .. }), "{content:?}: {error}");
            assert_eq!(std::fs::read_to_string(directory.path().join(FILE_NAME)).unwrap(), content);
        }
    }

    #[test]
    fn the_last_number_has_no_successor() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE_NAME), u64::MAX.to_string()).unwrap();
        let error = IncarnationStore::open(directory.path()).unwrap().take(NOW, 0).unwrap_err();
        assert!(matches!(error, IncarnationError::Exhausted(u64::MAX)), "{error}");
    }

    #[test]
    fn no_place_to_persist_is_an_error_and_takes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = IncarnationStore::open(&file).unwrap_err().to_string();
        assert!(message.contains("must not start") && message.contains("state_dir"), "{message}");

        let state = directory.path().join("state");
        let mut store = IncarnationStore::open(&state).unwrap();
        let first = store.take(NOW, 0).unwrap();
        // Root writes into read-only directories, but nobody into one that is gone.
        std::fs::remove_dir_all(&state).unwrap();
        let error = store.take(NOW + 5, 0).unwrap_err();
        assert!(matches!(error, IncarnationError::Unwritable { .. }), "{error}");
        assert_eq!(store.last(), Some(first));
    }
}
