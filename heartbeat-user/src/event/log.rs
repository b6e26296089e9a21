//! The event log of a node: the newest events in memory, all of them on disk, and whoever follows.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::file::{FILE_BYTES, FileCounters, FileWriter, KEPT_FILES, RotatingFile};
use super::kind::{self, KINDS};
use super::{Draft, Event, Kind, Timestamp};

/// Events in memory: days of a cluster in trouble, and a few MiB.
const EVENTS_IN_MEMORY: usize = 10_000;
/// How far a follower may fall behind before it is told that it missed some.
const FOLLOWER_BACKLOG: usize = 1024;
/// Name of the newest file in `state_dir`.
const FILE_NAME: &str = "events.jsonl";
/// The same for people and for tools that read cluster logs.
const CLUSTER_LOG: &str = "cluster.log";

/// Keeps, writes and hands out events. Shared by all threads but the reactor, which never waits for it.
#[derive(Debug)]
pub struct EventLog {
    node: u16,
    ring: Mutex<Ring>,
    followers: broadcast::Sender<Arc<Event>>,
    writer: FileWriter,
    counters: Arc<FileCounters>,
    /// Lines on disk that were not events when the log was opened.
    unreadable: AtomicU64,
    /// Events of this process by kind, in the order of [`KINDS`].
    totals: Box<[AtomicU64]>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    last_number: u64,
}

/// Which events are wanted; everything if empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Only this kind.
    pub id: Option<u16>,
    /// Only events with a greater number.
    pub after: Option<u64>,
}

/// What became of events so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Written to disk.
    pub written: u64,
    /// Not written, because the disk was too slow.
    pub dropped: u64,
    /// Not written, because the disk refused.
    pub failed: u64,
    /// Lines on disk that were not events when the log was opened.
    pub unreadable: u64,
    /// The last refusal.
    pub last_error: Option<String>,
}

/// A stream of events from now on.
#[derive(Debug)]
pub struct Follower {
    receiver: broadcast::Receiver<Arc<Event>>,
    filter: Filter,
}

/// What a follower gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// The next event.
    Event(Arc<Event>),
    /// This many events were missed, because the follower was too slow.
    Lagged(u64),
}

impl EventLog {
    /// The log of `node` in `state_dir`, with the newest events of earlier runs.
    ///
    /// A disk that cannot be read or written is no error: it is counted, and said once a minute.
    ///
    /// # Errors
    ///
    /// Only if the system gives no thread.
    pub fn open(node: u16, state_dir: &Path) -> io::Result<Self> {
        let [file, cluster_log] =
            [FILE_NAME, CLUSTER_LOG].map(|name| RotatingFile::new(state_dir.join(name), FILE_BYTES, KEPT_FILES));
        let mut ring = Ring::default();
        let mut unreadable = 0;
        for line in file.newest_lines() {
            match serde_json::from_str::<Event>(&line) {
                Ok(event) => {
                    ring.last_number = ring.last_number.max(event.number);
                    ring.push(Arc::new(event));
                }
                Err(_) => unreadable += 1,
            }
        }
        let counters = Arc::new(FileCounters::default());
        Ok(Self {
            node,
            ring: Mutex::new(ring),
            followers: broadcast::Sender::new(FOLLOWER_BACKLOG),
            writer: FileWriter::start([file, cluster_log], Arc::clone(&counters))?,
            counters,
            unreadable: AtomicU64::new(unreadable),
            totals: KINDS.iter().map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Numbers an event, keeps it, queues it for the disk, and gives it to followers.
    pub fn record(&self, draft: Draft) -> Arc<Event> {
        let mut ring = self.ring();
        ring.last_number += 1;
        if let Some(total) = kind::place(draft.kind.id).and_then(|place| self.totals.get(place)) {
            total.fetch_add(1, Ordering::Relaxed);
        }
        let event = Arc::new(draft.into_event(self.node, ring.last_number));
        ring.push(Arc::clone(&event));
        // Under the lock: the order on disk and at followers is that of the numbers.
        self.writer.write([event.to_json(), event.cluster_log_line()]);
        // Nobody follows: fine.
        let _ = self.followers.send(Arc::clone(&event));
        event
    }

    /// The events in memory that pass, oldest first; the newest `limit` of them.
    #[must_use]
    pub fn query(&self, filter: &Filter, limit: usize) -> Vec<Arc<Event>> {
        self.ring().query(filter, limit)
    }

    /// The events in memory that pass, and a follower that goes on exactly behind them.
    #[must_use]
    pub fn follow(&self, filter: Filter, limit: usize) -> (Vec<Arc<Event>>, Follower) {
        let ring = self.ring();
        let receiver = self.followers.subscribe();
        (ring.query(&filter, limit), Follower { receiver, filter })
    }

    /// How many events of each kind this process has recorded.
    pub fn totals(&self) -> impl Iterator<Item = (&'static Kind, u64)> {
        KINDS.iter().copied().zip(self.totals.iter().map(|total| total.load(Ordering::Relaxed)))
    }

    /// What became of events so far.
    #[must_use]
    pub fn counters(&self) -> LogCounters {
        LogCounters {
            written: self.counters.written.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Acquire),
            unreadable: self.unreadable.load(Ordering::Relaxed),
            last_error: self.counters.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A panic elsewhere leaves the ring whole: it is changed by single pushes.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn push(&mut self, event: Arc<Event>) {
        if self.events.len() == EVENTS_IN_MEMORY {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn query(&self, filter: &Filter, limit: usize) -> Vec<Arc<Event>> {
        let mut events: Vec<Arc<Event>> =
            self.events.iter().rev().filter(|event| filter.passes(event)).take(limit).map(Arc::clone).collect();
        events.reverse();
        events
    }
}

impl Filter {
    /// Whether an event is wanted.
    #[must_use]
    pub fn passes(&self, event: &Event) -> bool {
        self.since.is_none_or(|since| event.time >= since)
            && self.id.is_none_or(|id| event.id == id)
            && self.after.is_none_or(|after| event.number > after)
    }
}

impl Follower {
    /// The next event that passes, or how many were missed; nothing once the log is gone. May be cancelled.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            match self.receiver.recv().await {
                Ok(event) if self.filter.passes(&event) => return Some(Followed::Event(event)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    return Some(Followed::Lagged(missed));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kind;
    use super::*;

    fn draft(text: &str) -> Draft {
        Draft::new(&kind::LINK_LOST, 5, text)
    }

    fn texts(events: &[Arc<Event>]) -> Vec<&str> {
        events.iter().map(|event| event.text.as_str()).collect()
    }

    #[test]
    fn keeps_a_bounded_number_and_finds_by_filter() {
        let directory = tempfile::tempdir().unwrap();
        let log = EventLog::open(1, directory.path()).unwrap();
        for number in 0..EVENTS_IN_MEMORY + 5 {
            log.record(draft(&number.to_string()));
        }
        log.record(Draft::new(&kind::LINK_RESTORED, 5 + 2_000_000_000, "back"));
        let all = log.query(&Filter::default(), usize::MAX);
        assert_eq!(all.len(), EVENTS_IN_MEMORY);
        assert_eq!(all.first().map(|event| event.number), Some(7));
        assert_eq!(texts(&log.query(&Filter::default(), 2)), [(EVENTS_IN_MEMORY + 4).to_string().as_str(), "back"]);
        let restored = Filter { id: Some(1122), ..Filter::default() };
        assert_eq!(texts(&log.query(&restored, usize::MAX)), ["back"]);
        let last = all.last().unwrap();
        let since = |nanoseconds| Filter { since: Some(Timestamp::from_unix_ns(nanoseconds)), ..Filter::default() };
        let time = last.time.unix_ns();
        assert_eq!(texts(&log.query(&since(time), usize::MAX)), ["back"]);
        assert_eq!(texts(&log.query(&since(time - 1_000_000_000), usize::MAX)), ["back"]);
        assert_eq!(log.query(&since(time - 3_000_000_000), usize::MAX).len(), EVENTS_IN_MEMORY);
        assert_eq!(log.query(&since(time + 1), usize::MAX).len(), 0);
        let after = Filter { after: Some(last.number - 1), ..Filter::default() };
        assert_eq!(texts(&log.query(&after, usize::MAX)), ["back"]);
    }

    #[test]
    fn what_was_recorded_is_there_after_a_restart_and_numbers_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let log = EventLog::open(1, directory.path()).unwrap();
        log.record(draft("one"));
        let second = log.record(draft("two"));
        drop(log);
        let path = directory.path().join(FILE_NAME);
        let mut content = std::fs::read_to_string(&path).unwrap();
        assert_eq!(content.lines().count(), 2);
        content.push_str("{\"torn");
        std::fs::write(&path, content).unwrap();
        let log = EventLog::open(1, directory.path()).unwrap();
        let events = log.query(&Filter::default(), usize::MAX);
        assert_eq!(texts(&events), ["one", "two"]);
        assert_eq!(*events[1], *second);
        assert_eq!(log.counters().unreadable, 1);
        assert_eq!(log.record(draft("three")).number, 3);
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
    }

    #[test]
    fn a_state_directory_that_is_gone_costs_the_file_only() {
        let directory = tempfile::tempdir().unwrap();
        let log = EventLog::open(1, &directory.path().join("gone")).unwrap();
        log.record(draft("one"));
        assert_eq!(log.query(&Filter::default(), 10).len(), 1);
        // The writer is another thread: its verdict is awaited, with a bound.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while log.counters().failed == 0 && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let counters = log.counters();
        assert_eq!((counters.failed, counters.written), (1, 0));
        assert!(counters.last_error.unwrap().contains("gone"));
    }

    #[tokio::test]
    async fn a_follower_goes_on_behind_what_it_was_given() {
        let directory = tempfile::tempdir().unwrap();
        let log = EventLog::open(1, directory.path()).unwrap();
        log.record(draft("before"));
        let (events, mut follower) = log.follow(Filter { id: Some(1123), ..Filter::default() }, usize::MAX);
        assert_eq!(texts(&events), ["before"]);
        log.record(Draft::new(&kind::LINK_RESTORED, 6, "unwanted"));
        let event = log.record(draft("after"));
        assert_eq!(follower.next().await, Some(Followed::Event(event)));
        drop(log);
        assert_eq!(follower.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_what_it_missed() {
        let directory = tempfile::tempdir().unwrap();
        let log = EventLog::open(1, directory.path()).unwrap();
        let (_, mut follower) = log.follow(Filter::default(), 0);
        for number in 0..FOLLOWER_BACKLOG + 10 {
            log.record(draft(&number.to_string()));
        }
        assert_eq!(follower.next().await, Some(Followed::Lagged(10)));
        assert!(matches!(follower.next().await, Some(Followed::Event(event)) if event.number == 11));
    }
}
