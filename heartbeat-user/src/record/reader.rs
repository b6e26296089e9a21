//! Reading a recording back: every way in which a file can be wrong is told apart.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::entry::{Entry, FORMAT, FRAME_HEADER, Head, LONGEST_FRAME, decode};

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader<R = BufReader<File>> {
    source: R,
    head: Head,
    path: PathBuf,
    offset: u64,
    content: Vec<u8>,
}

/// Why a recording cannot be read on.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The system refused.
    #[error("{} cannot be read: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not begin as a recording does.
    #[error("{} is no recording of a core: {reason}", path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It was written by another version.
    #[error(
        "{} was written by version {version} of the program, in format {format}; this one reads format {FORMAT} (replay it \
         with the program that wrote it)",
        path.display()
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u16,
        /// Version of the program that wrote it.
        version: String,
    },
    /// It ends in the middle of an entry.
    #[error(
        "{} is cut off: byte {offset} begins an entry that is not whole (its writer was killed, or the disk was full)",
        path.display()
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Where the entry begins.
        offset: u64,
    },
    /// The bytes are not those that were written.
    #[error("{} is damaged: the checksum of the entry at byte {offset} is wrong", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the entry begins.
        offset: u64,
    },
    /// The bytes are those that were written, and make no sense here.
    #[error(
        "{}: the entry at byte {offset} is not understood: {reason} (it was written by version {version}: replay it with \
         that one)",
        path.display()
    )]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// Where the entry begins.
        offset: u64,
        /// What is wrong.
        reason: String,
        /// Version of the program that wrote it.
        version: String,
    },
}

impl Reader {
    /// Opens a file and reads its head.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let file = File::open(path).map_err(|source| RecordError::System { path: path.to_owned(), source })?;
        Self::of(BufReader::new(file), path)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the head of a recording from any source; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`RecordError`].
    pub fn of(source: R, path: &Path) -> Result<Self, RecordError> {
        let head = Head {
            format: 0,
            version: String::new(),
            cluster: String::new(),
            node: 0,
            number: 0,
            unix_ns: 0,
            mono_ns: 0,
        };
        let mut reader = Self { source, head, path: path.to_owned(), offset: 0, content: Vec::new() };
        let no_recording = |reason: String| RecordError::NotARecording { path: path.to_owned(), reason };
        match reader.next() {
            Ok(Some(Entry::Head(head))) if head.format == FORMAT => reader.head = head,
            Ok(Some(Entry::Head(head))) => {
                let (format, version) = (head.format, head.version);
                return Err(RecordError::OtherFormat { path: path.to_owned(), format, version });
            }
            Ok(Some(_)) => return Err(no_recording("its first entry does not say of which node it is".to_owned())),
            Ok(None) => return Err(no_recording("it is empty".to_owned())),
            Err(error @ RecordError::System { .. }) => return Err(error),
            Err(error) => return Err(no_recording(error.to_string())),
        }
        Ok(reader)
    }

    /// Of which node it is, and when it was begun.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Bytes read so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Kind and body of the entry that was read last, as they stand in the file.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The next entry; nothing at the end of the file.
    ///
    /// # Errors
    ///
    /// [`RecordError`]; nothing behind it can be read.
    #[expect(clippy::should_implement_trait, reason = "an iterator would hide that an error ends it")]
    pub fn next(&mut self) -> Result<Option<Entry>, RecordError> {
        if !self.next_frame()? {
            return Ok(None);
        }
        let length = (FRAME_HEADER + self.content.len()) as u64;
        match decode(&self.content) {
            Ok(entry) => Ok(Some(entry)),
            Err(reason) => Err(RecordError::NotUnderstood {
                path: self.path.clone(),
                offset: self.offset - length,
                reason,
                version: self.head.version.clone(),
            }),
        }
    }

    /// The next entry's bytes, with their checksum verified; false at the end of the file.
    fn next_frame(&mut self) -> Result<bool, RecordError> {
        let mut header = [0; FRAME_HEADER];
        match self.fill(&mut header)? {
            0 => return Ok(false),
            FRAME_HEADER => {}
            _ => return Err(self.cut_off()),
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length == 0 || length > LONGEST_FRAME {
            return Err(RecordError::Damaged { path: self.path.clone(), offset: self.offset });
        }
        let mut content = std::mem::take(&mut self.content);
        content.clear();
        // Grows with what is there, not with what a damaged length claims.
        let read = (&mut self.source).take(length as u64).read_to_end(&mut content);
        self.content = content;
        read.map_err(|source| RecordError::System { path: self.path.clone(), source })?;
        if self.content.len() < length {
            return Err(self.cut_off());
        }
        if crc32fast::hash(&self.content) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(RecordError::Damaged { path: self.path.clone(), offset: self.offset });
        }
        self.offset += (FRAME_HEADER + length) as u64;
        Ok(true)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, RecordError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(RecordError::System { path: self.path.clone(), source }),
            }
        }
        Ok(filled)
    }

    fn cut_off(&self) -> RecordError {
        RecordError::CutOff { path: self.path.clone(), offset: self.offset }
    }
}
