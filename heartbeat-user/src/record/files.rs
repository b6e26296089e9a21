//! The files of a node's recordings: numbered, bounded in size and number.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::entry::{FRAME_HEADER, frame_header};

/// Size at which a file asks for the next one. Small ones are replayed quickly, and little goes when the oldest does.
pub(super) const FILE_BYTES: u64 = 4 << 20;
/// Files that are kept: 64 MiB, and as many starts of the program.
pub(super) const KEPT_FILES: usize = 16;
/// A file is ended here at the latest, though no core came to begin the next one with.
pub(super) const LONGEST_FILE: u64 = 4 * FILE_BYTES;

const PREFIX: &str = "core-";
const SUFFIX: &str = ".record";

/// An open file, and how long it is.
pub(super) struct RecordFile {
    file: BufWriter<File>,
    pub(super) bytes: u64,
    pub(super) number: u64,
}

impl RecordFile {
    /// Begins the next file of a directory, which is made if need be, and removes those that are too many.
    pub(super) fn begin(directory: &Path) -> io::Result<Self> {
        if !directory.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let mut numbers = numbers(directory)?;
        let number = numbers.last().map_or(1, |last| last + 1);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path(directory, number))?;
        numbers.push(number);
        let too_many = numbers.len().saturating_sub(KEPT_FILES);
        for old in numbers.into_iter().take(too_many) {
            std::fs::remove_file(path(directory, old))?;
        }
        Ok(Self { file: BufWriter::new(file), bytes: 0, number })
    }

    /// Appends a frame with this content.
    pub(super) fn append(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(&frame_header(content))?;
        self.file.write_all(content)?;
        self.bytes += (FRAME_HEADER + content.len()) as u64;
        Ok(())
    }

    /// Hands everything to the kernel.
    ///
    /// # Errors
    /// When it refuses, or somebody has removed the file: what is written there nobody reads.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()?;
        match self.file.get_ref().metadata()?.nlink() {
            0 => Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed")),
            _ => Ok(()),
        }
    }
}

/// Numbers of the files that are there, ascending.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Ten digits, so that names sort as numbers do.
fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{number:010}{SUFFIX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_numbered_on_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("record");
        for expected in 1..=KEPT_FILES as u64 + 2 {
            assert_eq!(RecordFile::begin(&place).unwrap().number, expected);
        }
        std::fs::write(place.join("note.txt"), "not ours").unwrap();
        let kept = numbers(&place).unwrap();
        assert_eq!((kept.len(), kept.first(), kept.last()), (KEPT_FILES, Some(&3), Some(&(KEPT_FILES as u64 + 2))));
        assert!(place.join("note.txt").exists());
    }

    #[test]
    fn a_file_that_somebody_removed_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = RecordFile::begin(directory.path()).unwrap();
        file.flush().unwrap();
        std::fs::remove_file(path(directory.path(), 1)).unwrap();
        assert_eq!(file.flush().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
