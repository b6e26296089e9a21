//! The thread that writes recordings: at normal priority, and nobody waits for it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    thread::Builder,
    time::{Duration, Instant},
};

use rtrb::{Consumer, RingBuffer};

use super::{
    entry::{Encoder, End, FORMAT, Head, begins_file},
    files::{FILE_BYTES, LONGEST_FILE, RecordFile},
    queue::{QUEUE_BYTES, Recorder},
};
use crate::clock;

/// How long what nobody is in a hurry for stays in memory.
const LINGER: Duration = Duration::from_secs(1);
/// Pause before a disk that refused is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the disk.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// What both ends know, and everybody may look at.
#[derive(Debug, Default)]
pub struct RecordStatistics {
    pub(super) wants_core: AtomicBool,
    pub(super) finished: AtomicBool,
    pub(super) lost: AtomicU64,
    written: AtomicU64,
    failed: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// What became of entries so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Written to disk.
    pub written: u64,
    /// Lost, because the queue was full.
    pub lost: u64,
    /// Lost, because the disk refused.
    pub failed: u64,
    /// Why the disk refuses; absent while it does not.
    pub last_error: Option<String>,
}

/// The thread, seen from the rest of the program.
#[derive(Debug)]
pub struct Writer {
    /// What it counts.
    pub statistics: Arc<RecordStatistics>,
    ended: Receiver<()>,
}

impl RecordStatistics {
    /// What became of entries so far.
    #[must_use]
    pub fn counts(&self) -> RecordCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecordCounts {
            written: load(&self.written),
            lost: load(&self.lost),
            failed: load(&self.failed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Writer {
    /// Waits until everything is written, once the recorder is gone; a disk that hangs does not hold up the end.
    pub fn wait(self) {
        let _ended = self.ended.recv_timeout(LAST_WRITES);
    }
}

/// Starts the thread that writes below `directory`; the recorder is for the reactor.
///
/// # Errors
///
/// If the system gives no thread. A disk that refuses is no error: it is counted and tried again.
pub fn start(directory: PathBuf, cluster: &str, node: u16) -> io::Result<(Recorder, Writer)> {
    let (queue, consumer) = RingBuffer::new(QUEUE_BYTES);
    let shared = Arc::new(RecordStatistics::default());
    let (end, ended) = mpsc::channel();
    let mut books = Books::new(directory, cluster, node, Arc::clone(&shared));
    let thread = Builder::new().name("record-file".to_owned()).spawn(move || {
        books.run(consumer);
        // Whoever waits sees the other end go, whatever became of this one.
        drop(end);
    })?;
    let recorder = Recorder::new(queue, Arc::clone(&shared), thread.thread().clone());
    Ok((recorder, Writer { statistics: shared, ended }))
}

/// State of the thread.
pub(super) struct Books {
    directory: PathBuf,
    cluster: String,
    node: u16,
    shared: Arc<RecordStatistics>,
    /// Nothing is open before the first core, and behind an error until the next one.
    open: Option<RecordFile>,
    refused: Option<Instant>,
    content: Vec<u8>,
}

impl Books {
    pub(super) fn new(directory: PathBuf, cluster: &str, node: u16, shared: Arc<RecordStatistics>) -> Self {
        let cluster = cluster.to_owned();
        Self { directory, cluster, node, shared, open: None, refused: None, content: Vec::new() }
    }

    /// Until the recorder is gone and everything is written.
    pub(super) fn run(&mut self, mut queue: Consumer<u8>) {
        loop {
            // Looked at before the queue: what was queued before it was set is then in there.
            let finished = self.shared.finished.load(Ordering::Acquire) || queue.is_abandoned();
            while self.take(&mut queue) {
                self.write();
            }
            self.settle();
            if finished {
                return;
            }
            std::thread::park_timeout(LINGER);
        }
    }

    /// The next entry into `content`.
    fn take(&mut self, queue: &mut Consumer<u8>) -> bool {
        let mut length = [0; 4];
        if queue.pop_entire_slice(&mut length).is_err() {
            return false;
        }
        // Length and content were queued together.
        self.content.resize(u32::from_le_bytes(length) as usize, 0);
        queue.pop_entire_slice(&mut self.content).is_ok()
    }

    fn write(&mut self) {
        let result = if begins_file(&self.content) {
            self.begin()
        } else {
            match &mut self.open {
                Some(file) => file.append(&self.content),
                None => {
                    self.shared.failed.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        };
        match result {
            Ok(()) => {
                self.shared.written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                self.refuse(&error);
            }
        }
    }

    /// Ends the file and begins the next, with the core in `content`.
    fn begin(&mut self) -> io::Result<()> {
        if let Some(mut file) = self.open.take() {
            let mut end = Vec::new();
            Encoder(&mut end).end(End::Continued);
            file.append(&end)?;
            file.flush()?;
        }
        let mut file = RecordFile::begin(&self.directory)?;
        let mut head = Vec::new();
        Encoder(&mut head).head(&Head {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.cluster.clone(),
            node: self.node,
            number: file.number,
            unix_ns: clock::realtime_ns(),
            mono_ns: clock::monotonic_ns(),
        });
        file.append(&head)?;
        file.append(&self.content)?;
        file.flush()?;
        self.open = Some(file);
        self.refused = None;
        *self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// Hands what was written to the kernel, and asks for a core where the next file is due.
    fn settle(&mut self) {
        if let Some(Err(error)) = self.open.as_mut().map(RecordFile::flush) {
            self.refuse(&error);
        }
        let full = self.open.as_ref().is_some_and(|file| file.bytes >= FILE_BYTES);
        let again = self.refused.is_some_and(|at| at.elapsed() >= TRY_AGAIN);
        if full || again {
            self.shared.wants_core.store(true, Ordering::Relaxed);
        }
        if again {
            self.refused = Some(Instant::now());
        }
        if self.open.as_ref().is_some_and(|file| file.bytes >= LONGEST_FILE) {
            self.open = None;
        }
    }

    /// The file is given up: what is torn in it is told by its reader.
    fn refuse(&mut self, error: &io::Error) {
        self.open = None;
        self.refused.get_or_insert_with(Instant::now);
        let message = format!("{}: {error}", shown(&self.directory));
        let mut last = self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none() {
            tracing::warn!("the core is not recorded: {message}");
        }
        *last = Some(message);
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
