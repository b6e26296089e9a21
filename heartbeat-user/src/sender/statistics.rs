//! What the sender measures of itself; read by status and metrics, written by the sender's thread.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering};

use heartbeat_common::account::interval_bucket;

use crate::socket::batch::Sent;

/// Buckets of the lateness histogram: 2^39 ns is nine minutes.
pub const LATENESS_BUCKETS: usize = heartbeat_common::records::INTERVAL_BUCKETS;

/// Counters of one sender.
#[derive(Debug)]
pub struct SenderStatistics {
    priority: AtomicU8,
    realtime: AtomicBool,
    last_wake_ns: AtomicU64,
    longest_gap_ns: AtomicU64,
    skipped: AtomicU64,
    sent: AtomicU64,
    failed: AtomicU64,
    last_errno: AtomicI32,
    wait_failures: AtomicU64,
    lateness: [AtomicU64; LATENESS_BUCKETS],
}

impl Default for SenderStatistics {
    fn default() -> Self {
        Self {
            priority: AtomicU8::default(),
            realtime: AtomicBool::default(),
            last_wake_ns: AtomicU64::default(),
            longest_gap_ns: AtomicU64::default(),
            skipped: AtomicU64::default(),
            sent: AtomicU64::default(),
            failed: AtomicU64::default(),
            last_errno: AtomicI32::default(),
            wait_failures: AtomicU64::default(),
            lateness: [const { AtomicU64::new(0) }; LATENESS_BUCKETS],
        }
    }
}

/// A copy of the counters.
#[derive(Clone, Copy, Debug)]
pub struct SenderReport {
    /// Priority that was asked for.
    pub priority: u8,
    /// It was granted.
    pub realtime: bool,
    /// Longest time between two sendings, nanoseconds.
    pub longest_gap_ns: u64,
    /// Intervals in which nothing was sent because the thread did not run.
    pub skipped: u64,
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Datagrams that the kernel refused.
    pub failed: u64,
    /// Errno of the last refusal; 0 is none.
    pub last_errno: i32,
    /// Failed waits for the timer.
    pub wait_failures: u64,
    /// log2 histogram of how late the thread woke, nanoseconds.
    pub lateness: [u64; LATENESS_BUCKETS],
}

impl SenderStatistics {
    pub(super) fn set_realtime(&self, priority: u8, granted: bool) {
        self.priority.store(priority, Ordering::Relaxed);
        self.realtime.store(granted, Ordering::Release);
    }

    pub(super) fn count_wait_failure(&self) {
        self.wait_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_wake(&self, now_ns: u64, late_ns: u64, skipped: u64) {
        let last_ns = self.last_wake_ns.swap(now_ns, Ordering::Relaxed);
        if last_ns != 0 {
            self.longest_gap_ns.fetch_max(now_ns.saturating_sub(last_ns), Ordering::Relaxed);
        }
        self.skipped.fetch_add(skipped, Ordering::Relaxed);
        self.lateness[interval_bucket(late_ns)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn record_sent(&self, sent: &Sent) {
        self.sent.fetch_add(sent.sent as u64, Ordering::Relaxed);
        if sent.failed > 0 {
            self.failed.fetch_add(sent.failed as u64, Ordering::Relaxed);
            self.last_errno.store(sent.errno, Ordering::Relaxed);
        }
    }

    /// A copy.
    #[must_use]
    pub fn report(&self) -> SenderReport {
        SenderReport {
            priority: self.priority.load(Ordering::Relaxed),
            realtime: self.realtime.load(Ordering::Acquire),
            longest_gap_ns: self.longest_gap_ns.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            last_errno: self.last_errno.load(Ordering::Relaxed),
            wait_failures: self.wait_failures.load(Ordering::Relaxed),
            lateness: std::array::from_fn(|bucket| self.lateness[bucket].load(Ordering::Relaxed)),
        }
    }
}
