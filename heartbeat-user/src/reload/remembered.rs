//! The configuration that this node last was in a view under, by its digest, in `state_dir`: a node whose file was changed
//! while it was down must not form a cluster by new votes while others go on by the old ones.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

const FILE_NAME: &str = "config-digest";
const NEW_FILE_NAME: &str = "config-digest.new";

/// The digest that was remembered; `None` where there is none, or nothing that is one.
#[must_use]
pub fn read(state_dir: &Path) -> Option<[u8; 32]> {
    let text = fs::read(state_dir.join(FILE_NAME)).ok()?;
    let mut digest = [0; 32];
    hex::decode_to_slice(text.trim_ascii(), &mut digest).ok()?;
    Some(digest)
}

/// Remembers a digest; the old or the new one is there after a crash at any point.
///
/// # Errors
/// What the system says; the old one is remembered then.
pub fn write(state_dir: &Path, digest: &[u8; 32]) -> io::Result<()> {
    let new = state_dir.join(NEW_FILE_NAME);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(format!("{}\n", hex::encode(digest)).as_bytes())?;
    file.sync_all()?;
    fs::rename(new, state_dir.join(FILE_NAME))?;
    File::open(state_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else_passes() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()), None);
        for byte in [7, 8] {
            write(directory.path(), &[byte; 32]).unwrap();
            assert_eq!(read(directory.path()), Some([byte; 32]));
        }
        for damaged in ["", "08", "zz"] {
            fs::write(directory.path().join(FILE_NAME), damaged).unwrap();
            assert_eq!(read(directory.path()), None);
        }
        assert!(write(&directory.path().join("absent"), &[1; 32]).is_err());
    }
}
