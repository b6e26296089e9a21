//! Secrets on disk, and the keys that the wire protocol derives from them.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Bytes of a shared secret.
pub const SECRET_BYTES: usize = 32;

/// A key file is 64 digits and a newline; what is much longer is some other file.
const LARGEST_KEY_FILE: u64 = 1024;

/// The secret that all nodes of a cluster share. Its text form never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; SECRET_BYTES]);

/// The keys of one secret for one cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct DerivedKeys {
    /// SipHash-2-4-128 key of heartbeats and of control headers.
    pub heartbeat_key: [u8; 16],
    /// HMAC-SHA256 key of control messages.
    pub control_key: [u8; 32],
}

/// Why a key file was refused. Nothing has been changed.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// It is not there, or may not be read.
    #[error("the key file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else could read or replace it.
    #[error("the key file {} has mode {mode:04o}: others than its owner may use it", path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It does not hold a secret.
    #[error("the key file {} does not hold 64 hexadecimal digits", path.display())]
    NotASecret {
        /// The file.
        path: PathBuf,
    },
}

/// Why no key file was made. An existing file is as it was.
#[derive(Debug, Error)]
pub enum KeygenError {
    /// The file exists; a cluster may depend on it.
    #[error("{} exists already and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It could not be written.
    #[error("{} cannot be written: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    NoRandomness(String),
}

/// The cluster's id on the wire: the first 8 bytes of SHA-256 of its name.
#[must_use]
pub fn cluster_id(cluster_name: &str) -> [u8; 8] {
    let digest = Sha256::digest(cluster_name.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

impl Secret {
    /// The secret of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// A new secret from the system's random source.
    ///
    /// # Errors
    ///
    /// [`KeygenError::NoRandomness`] if the system gives none.
    pub fn generate() -> Result<Self, KeygenError> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| KeygenError::NoRandomness(error.to_string()))?;
        Ok(Self(bytes))
    }

    /// Reads a key file: 64 hexadecimal digits, white space around them allowed, for its owner only.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`]: missing, open to group or others, or not a secret.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
        // Non-blocking: a pipe in place of the file must not hold the start up.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(path)
            .map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(std::io::Error::other("it is not a regular file")));
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::OpenToOthers { path: path.to_owned(), mode });
        }
        let mut text = Vec::new();
        file.take(LARGEST_KEY_FILE).read_to_end(&mut text).map_err(unreadable)?;
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(text.trim_ascii(), &mut bytes)
            .map_err(|_| KeyFileError::NotASecret { path: path.to_owned() })?;
        Ok(Self(bytes))
    }

    /// Writes the secret to a new file with mode 0600, and makes it durable.
    ///
    /// # Errors
    ///
    /// [`KeygenError::Exists`] for an existing file, which is left as it is; [`KeygenError::Unwritable`] otherwise, and
    /// no half-written file stays behind.
    pub fn write_new(&self, path: &Path) -> Result<(), KeygenError> {
        let unwritable = |source| KeygenError::Unwritable { path: path.to_owned(), source };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|source| {
            if source.kind() == std::io::ErrorKind::AlreadyExists {
                KeygenError::Exists { path: path.to_owned() }
            } else {
                unwritable(source)
            }
        })?;
        let written = file.write_all(format!("{}\n", self.to_hex()).as_bytes()).and_then(|()| file.sync_all());
        if written.is_err() {
            // Best effort: the first error is the one to report.
            let _ = std::fs::remove_file(path);
        }
        written.map_err(unwritable)
    }

    /// The 64 digits of a key file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The keys that this secret gives in the cluster with this id (docs/protocol.md, Keys).
    #[must_use]
    pub fn derive(&self, cluster_id: [u8; 8]) -> DerivedKeys {
        let hkdf = Hkdf::<Sha256>::new(Some(&cluster_id), &self.0);
        let mut keys = DerivedKeys { heartbeat_key: [0; 16], control_key: [0; 32] };
        let expanded = hkdf
            .expand(b"clhb heartbeat v1", &mut keys.heartbeat_key)
            .and_then(|()| hkdf.expand(b"clhb control v1", &mut keys.control_key));
        // HKDF-SHA256 gives up to 255 * 32 bytes, and both outputs are of fixed, shorter length.
        assert!(expanded.is_ok(), "16 and 32 bytes are valid lengths of HKDF-SHA256");
        keys
    }
}

impl KeyFileError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable { path, .. } => {
                format!("copy it from another node, or make one with `heartbeat keygen --out {}`", path.display())
            }
            Self::OpenToOthers { path, .. } => format!("`chmod 600 {}`", path.display()),
            Self::NotASecret { path } => format!("`heartbeat keygen --out {}` makes one", path.display()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl fmt::Debug for DerivedKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DerivedKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn protocol_secret() -> Secret {
        Secret::from_bytes(std::array::from_fn(|index| u8::try_from(index).unwrap()))
    }

    #[test]
    fn derives_the_keys_of_the_protocol_vector() {
        let id = cluster_id("demo");
        assert_eq!(hex::encode(id), "2a97516c354b6884");
        let keys = protocol_secret().derive(id);
        assert_eq!(hex::encode(keys.heartbeat_key), "ce815fd49a6deb4c3de822e017186705");
        assert_eq!(hex::encode(keys.control_key), "c8462e7a5d753d03b51f7bebe25eda2ecea2d1484f55a95abf8af9ec6bc16445");
    }

    #[test]
    fn another_cluster_gets_other_keys() {
        let secret = protocol_secret();
        assert!(secret.derive(cluster_id("demo")) != secret.derive(cluster_id("demo2")));
    }

    #[test]
    fn a_new_file_holds_the_secret_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let secret = Secret::generate().unwrap();
        secret.write_new(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap().len(), 65);
        assert!(Secret::read(&path).unwrap() == secret);
        assert!(Secret::generate().unwrap() != secret, "two secrets must differ");
    }

    #[test]
    fn an_existing_file_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "precious").unwrap();
        let error = protocol_secret().write_new(&path).unwrap_err();
        assert!(matches!(error, KeygenError::Exists { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        let dangling = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        let error = protocol_secret().write_new(&dangling).unwrap_err();
        assert!(matches!(error, KeygenError::Exists { .. }), "a symbolic link must not be followed: {error}");
    }

    #[test]
    fn refuses_files_that_are_not_a_private_secret() {
        let directory = tempfile::tempdir().unwrap();
        let digits = protocol_secret().to_hex();
        for (name, content, mode, expected) in [
            ("group", digits.clone(), 0o640, "has mode 0640"),
            ("others", digits.clone(), 0o604, "has mode 0604"),
            ("writable", digits.clone(), 0o620, "has mode 0620"),
            ("short", digits[..62].to_owned(), 0o600, "does not hold 64 hexadecimal digits"),
            ("long", format!("{digits}00"), 0o600, "does not hold 64 hexadecimal digits"),
            ("odd", format!("{}g", &digits[..63]), 0o600, "does not hold 64 hexadecimal digits"),
            ("empty", String::new(), 0o600, "does not hold 64 hexadecimal digits"),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let message = Secret::read(&path).expect_err(name).to_string();
            assert!(message.contains(expected) && message.contains(name), "{name}: {message}");
        }
        let message = Secret::read(&directory.path().join("absent")).unwrap_err().to_string();
        assert!(message.contains("cannot be read") && message.contains("absent"), "{message}");
        let message = Secret::read(directory.path()).unwrap_err().to_string();
        assert!(message.contains("not a regular file"), "{message}");
    }

    #[test]
    fn its_text_form_hides_it() {
        let secret = protocol_secret();
        assert!(!format!("{secret:?}").contains("00"), "{secret:?}");
        assert!(!format!("{:?}", secret.derive([0; 8])).contains("0"));
    }
}
