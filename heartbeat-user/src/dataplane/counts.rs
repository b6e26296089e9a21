//! What userspace counts itself: datagrams of sockets, and what it refuses on interfaces that XDP serves.

use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Zeroable as _;
use heartbeat_common::{
    records::{CounterRecord, RejectRecord},
    reject::Reject,
};

/// Counters of the socket data plane, and of what userspace refuses on interfaces that XDP serves.
#[derive(Debug, Default)]
pub struct LocalCounts {
    rejects: [AtomicU64; Reject::COUNT],
    /// Heartbeats accepted through sockets.
    pub accepted: AtomicU64,
    /// Heartbeats that reached the socket of an interface that XDP serves: they are not ours to count.
    pub ignored: AtomicU64,
}

impl LocalCounts {
    /// Counts a refusal.
    pub fn reject(&self, reason: Reject) {
        if let Some(counter) = self.rejects.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The refusals so far.
    #[must_use]
    pub fn rejects(&self) -> RejectRecord {
        let mut record = RejectRecord::zeroed();
        for (sum, counter) in record.counters().iter_mut().zip(&self.rejects) {
            *sum = counter.load(Ordering::Relaxed);
        }
        record
    }
}

/// Everything that was counted, wherever it was.
#[must_use]
pub fn total(kernel: Option<(RejectRecord, CounterRecord)>, local: &LocalCounts) -> (RejectRecord, CounterRecord) {
    let (mut rejects, mut counters) = kernel.unwrap_or_default();
    for (sum, count) in rejects.counters().iter_mut().zip(local.rejects().counters()) {
        *sum += *count;
    }
    counters.accepted += local.accepted.load(Ordering::Relaxed);
    (rejects, counters)
}
