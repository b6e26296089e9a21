//! Events on disk: one JSON object a line and, for people, one line of a cluster log, each in a few files of bounded size,
//! written by a thread of its own.
//!
//! A disk that is full, read-only or hangs never reaches the node: lines that cannot be queued or written are counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// About 40,000 events a file; four old ones are kept, so that the log stays below 80 MiB.
pub(super) const FILE_BYTES: u64 = 16 << 20;
/// Old files that are kept beside the current one.
pub(super) const KEPT_FILES: u32 = 4;

/// Lines that wait for the disk: as many as the log keeps in memory would be lost on a crash anyway.
const QUEUED_LINES: usize = 4096;
/// How often a disk that refuses is complained about.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the disk.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// What became of the lines.
#[derive(Debug, Default)]
pub(super) struct FileCounters {
    pub(super) written: AtomicU64,
    /// The queue was full: the disk was too slow.
    pub(super) dropped: AtomicU64,
    /// The disk refused.
    pub(super) failed: AtomicU64,
    pub(super) last_error: Mutex<Option<String>>,
}

/// The same event in each file's form, in the order of the files, without newlines.
pub(super) type Lines = [String; 2];

/// The thread that writes.
#[derive(Debug)]
pub(super) struct FileWriter {
    lines: Option<SyncSender<Lines>>,
    finished: Arc<Finished>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<FileCounters>,
}

impl FileWriter {
    /// Starts the thread; the files are opened by it, again and again if need be.
    pub(super) fn start(files: [RotatingFile; 2], counters: Arc<FileCounters>) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUED_LINES);
        let finished = Arc::new(Finished::default());
        let (finish, shared) = (Arc::clone(&finished), Arc::clone(&counters));
        let thread = std::thread::Builder::new().name("event-file".to_owned()).spawn(move || {
            write_all(files, &queue, &shared);
            finish.set();
        })?;
        Ok(Self { lines: Some(lines), finished, thread: Some(thread), counters })
    }

    /// Queues an event; never waits.
    pub(super) fn write(&self, event: Lines) {
        let queued = self.lines.as_ref().is_some_and(|lines| lines.try_send(event).is_ok());
        if !queued {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        drop(self.lines.take());
        // A disk that hangs holds the thread, but not the end of the process.
        if self.finished.wait(LAST_WRITES)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Set once, by the thread that ends.
#[derive(Debug, Default)]
struct Finished {
    value: Mutex<bool>,
    changed: Condvar,
}

impl Finished {
    fn set(&self) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it was set within `limit`.
    fn wait(&self, limit: Duration) -> bool {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(value, limit, |finished| !*finished);
        waited.map_or_else(|poisoned| *poisoned.into_inner().0, |(value, _)| *value)
    }
}

fn write_all(mut files: [RotatingFile; 2], queue: &Receiver<Lines>, counters: &FileCounters) {
    let mut complained: Option<Instant> = None;
    while let Ok(lines) = queue.recv() {
        // One that refuses does not keep the other from its line.
        let failures = files.each_mut().into_iter().zip(lines).filter_map(|(file, line)| {
            let error = file.append(&line).err()?;
            Some(format!("{}: {error}", file.path.display()))
        });
        match failures.reduce(|first, _| first) {
            None => {
                counters.written.fetch_add(1, Ordering::Relaxed);
            }
            Some(message) => {
                *counters.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.clone());
                // Released behind the reason, so that whoever sees the count finds it.
                let failed = counters.failed.fetch_add(1, Ordering::Release) + 1;
                if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                    tracing::warn!(failed, "events are not written to disk: {message}");
                    complained = Some(Instant::now());
                }
                *counters.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
            }
        }
    }
}

/// A file that is renamed when it is full: `events.jsonl`, then `events.1.jsonl` (newest) to `events.4.jsonl`.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    limit: u64,
    kept: u32,
    open: Option<(File, u64)>,
}

impl RotatingFile {
    pub(super) fn new(path: PathBuf, limit: u64, kept: u32) -> Self {
        Self { path, limit, kept, open: None }
    }

    /// Appends a line with one write. After an error the file is opened anew, and a torn line is ended.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let bytes = [line.as_bytes(), b"\n"].concat();
        let result = self.append_bytes(&bytes);
        if result.is_err() {
            self.open = None;
        }
        result
    }

    /// The newest lines, oldest first: of the current file and the one before it.
    pub(super) fn newest_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for path in [old_path(&self.path, 1), self.path.clone()] {
            let Ok(file) = File::open(path) else { continue };
            let mut content = Vec::new();
            // A file that others made larger is cut, not read whole.
            if file.take(2 * self.limit).read_to_end(&mut content).is_ok() {
                lines.extend(String::from_utf8_lossy(&content).lines().map(str::to_owned));
            }
        }
        lines
    }

    fn append_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let full = |size: u64| size > 0 && size + bytes.len() as u64 > self.limit;
        let (mut file, mut size) = match self.open.take() {
            Some(open) if open.0.metadata()?.nlink() > 0 => open,
            // None yet, or one that somebody has removed: what is written there nobody reads.
            Some(_) | None => open_at_end(&self.path)?,
        };
        if full(size) {
            drop(file);
            self.rotate()?;
            (file, size) = open_at_end(&self.path)?;
        }
        file.write_all(bytes)?;
        self.open = Some((file, size + bytes.len() as u64));
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..self.kept).rev() {
            let from = old_path(&self.path, number);
            if from.exists() {
                std::fs::rename(from, old_path(&self.path, number + 1))?;
            }
        }
        std::fs::rename(&self.path, old_path(&self.path, 1))
    }
}

fn open_at_end(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut size = file.metadata()?.len();
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

/// `events.jsonl` gives `events.1.jsonl`.
fn old_path(path: &Path, number: u32) -> PathBuf {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_extension(format!("{number}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn rotates_by_size_and_keeps_a_bounded_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut file = RotatingFile::new(path.clone(), 10, 2);
        for line in ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg"] {
            file.append(line).unwrap();
        }
        assert_eq!(content(&path), "gggg\n");
        assert_eq!(content(&directory.path().join("events.1.jsonl")), "eeee\nffff\n");
        assert_eq!(content(&directory.path().join("events.2.jsonl")), "cccc\ndddd\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
        assert_eq!(file.newest_lines(), ["eeee", "ffff", "gggg"]);
    }

    #[test]
    fn a_line_longer_than_the_limit_is_written_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut file = RotatingFile::new(path.clone(), 3, 1);
        file.append("abcdef").unwrap();
        file.append("ghijkl").unwrap();
        assert_eq!(content(&path), "ghijkl\n");
    }

    #[test]
    fn goes_on_behind_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        std::fs::write(&path, "whole\nto").unwrap();
        let mut file = RotatingFile::new(path.clone(), 100, 1);
        file.append("next").unwrap();
        assert_eq!(content(&path), "whole\nto\nnext\n");
    }

    #[test]
    fn a_file_that_somebody_removes_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut file = RotatingFile::new(path.clone(), 1000, 2);
        file.append("first").unwrap();
        std::fs::remove_file(&path).unwrap();
        file.append("second").unwrap();
        assert_eq!(content(&path), "second\n");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_until_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("later/events.jsonl");
        let mut file = RotatingFile::new(path.clone(), 100, 1);
        assert!(file.append("lost").is_err());
        std::fs::create_dir(directory.path().join("later")).unwrap();
        file.append("kept").unwrap();
        assert_eq!(content(&path), "kept\n");
    }

    #[test]
    fn a_full_disk_is_counted_and_named() {
        let counters = Arc::new(FileCounters::default());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.log");
        let files = ["/dev/full".into(), path.clone()].map(|path| RotatingFile::new(path, 1 << 20, 1));
        let writer = FileWriter::start(files, Arc::clone(&counters)).unwrap();
        writer.write(["one".to_owned(), "first".to_owned()]);
        writer.write(["two".to_owned(), "second".to_owned()]);
        drop(writer);
        assert_eq!(content(&path), "first\nsecond\n", "the other file has its lines");
        assert_eq!(counters.failed.load(Ordering::Relaxed), 2);
        assert_eq!(counters.written.load(Ordering::Relaxed), 0);
        let error = counters.last_error.lock().unwrap().clone().unwrap();
        assert!(error.contains("/dev/full") && error.contains("No space left"), "{error}");
    }
}
