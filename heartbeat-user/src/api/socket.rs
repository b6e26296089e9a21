//! The socket in the file system: one owner at a time, and never a moment with the wrong permissions.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::socket_path;

/// Owner and group may talk to the node; the group is that of the process, or what the directory hands down.
const SOCKET_MODE: u32 = 0o660;
/// Shorter than the socket's own name, so that a path that fits for one fits for both.
const NEW_SOCKET_NAME: &str = "new.sock";
const LOCK_NAME: &str = "heartbeat.lock";

/// The socket of a running node; removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    pub(super) listener: UnixListener,
    path: PathBuf,
    _lock: File,
}

/// Why there is no socket. A running node's is as it was.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another process serves this directory.
    #[error(
        "a node runs already with the run directory {}{} (stop it, or give this one its own [local] run_dir)",
        run_dir.display(),
        process.map(|id| format!(", process {id}")).unwrap_or_default()
    )]
    SecondInstance {
        /// The directory.
        run_dir: PathBuf,
        /// Its process, where known.
        process: Option<u32>,
    },
    /// The system refused.
    #[error("the control socket {} cannot be made: {source}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Listener {
    /// Makes the socket in `run_dir`, which is created if need be. What a dead process left behind is replaced.
    ///
    /// # Errors
    ///
    /// [`BindError`]: another node has the directory, or the system refused.
    pub fn bind(run_dir: &Path) -> Result<Self, BindError> {
        let path = socket_path(run_dir);
        let system = |source| BindError::System { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o755).create(run_dir).map_err(system)?;
        let lock = lock(run_dir, &path)?;
        // Only the owner of the lock gets here, so whatever has the name belongs to nobody.
        let new = run_dir.join(NEW_SOCKET_NAME);
        match std::fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(system(error)),
        }
        let listener = UnixListener::bind(&new).map_err(system)?;
        listener.set_nonblocking(true).map_err(system)?;
        // A socket is born with the mode of the umask; it gets its name only with its own.
        std::fs::set_permissions(&new, Permissions::from_mode(SOCKET_MODE)).map_err(system)?;
        std::fs::rename(&new, &path).map_err(system)?;
        Ok(Self { listener, path, _lock: lock })
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may be gone with its directory.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Held by the kernel for this process: a crash releases it, unlike a file that only exists.
fn lock(run_dir: &Path, path: &Path) -> Result<File, BindError> {
    let system = |source| BindError::System { path: path.to_owned(), source };
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(run_dir.join(LOCK_NAME))
        .map_err(system)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // For the message only.
            let _ = (&lock).take(32).read_to_string(&mut text);
            return Err(BindError::SecondInstance { run_dir: run_dir.to_owned(), process: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(system(error)),
    }
    lock.set_len(0).map_err(system)?;
    writeln!(lock, "{}", std::process::id()).map_err(system)?;
    Ok(lock)
}
