//! What the reactor measures of itself; read by status and metrics, written by the reactor's thread.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::metrics::{histogram::Histogram, round_trips::RoundTrips};

/// Counters of the reactor.
#[derive(Debug)]
pub struct ReactorStatistics {
    /// Round trips by link.
    pub round_trips: RoundTrips,
    /// Time between the judge's oldest verdict of a pass and the end of the pass's actions.
    pub reaction: Histogram,
    priority: AtomicU8,
    realtime: AtomicBool,
    passes: AtomicU64,
    longest_pass_ns: AtomicU64,
    longest_lateness_ns: AtomicU64,
    bad_records: AtomicU64,
    stale_notices: AtomicU64,
    control_refused: AtomicU64,
    send_failures: AtomicU64,
    socket_errors: AtomicU64,
    timer_failures: AtomicU64,
}

/// A copy of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReactorReport {
    /// Priority that was asked for.
    pub priority: u8,
    /// It was granted.
    pub realtime: bool,
    /// Passes completed.
    pub passes: u64,
    /// Longest pass, nanoseconds.
    pub longest_pass_ns: u64,
    /// Longest time between a deadline and the pass that served it, nanoseconds.
    pub longest_lateness_ns: u64,
    /// Ring records of a size that no notice has.
    pub bad_records: u64,
    /// Verdicts on incarnations that are no longer accepted.
    pub stale_notices: u64,
    /// Control messages whose HMAC did not verify.
    pub control_refused: u64,
    /// Control messages that the kernel did not take.
    pub send_failures: u64,
    /// Errors that reading a socket gave: ICMP answers to what was sent, for the most part.
    pub socket_errors: u64,
    /// Failures to set the timer.
    pub timer_failures: u64,
}

impl ReactorStatistics {
    /// For a node with this many links.
    #[must_use]
    pub fn new(links: usize) -> Self {
        Self {
            round_trips: RoundTrips::new(links),
            reaction: Histogram::default(),
            priority: AtomicU8::new(0),
            realtime: AtomicBool::new(false),
            passes: AtomicU64::new(0),
            longest_pass_ns: AtomicU64::new(0),
            longest_lateness_ns: AtomicU64::new(0),
            bad_records: AtomicU64::new(0),
            stale_notices: AtomicU64::new(0),
            control_refused: AtomicU64::new(0),
            send_failures: AtomicU64::new(0),
            socket_errors: AtomicU64::new(0),
            timer_failures: AtomicU64::new(0),
        }
    }

    pub(super) fn set_realtime(&self, priority: u8, granted: bool) {
        self.priority.store(priority, Ordering::Relaxed);
        self.realtime.store(granted, Ordering::Release);
    }

    pub(super) fn record_pass(&self, length_ns: u64) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.longest_pass_ns.fetch_max(length_ns, Ordering::Relaxed);
    }

    pub(super) fn record_lateness(&self, late_ns: u64) {
        self.longest_lateness_ns.fetch_max(late_ns, Ordering::Relaxed);
    }

    pub(super) fn count_bad_record(&self) {
        self.bad_records.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_stale_notice(&self) {
        self.stale_notices.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_control_refused(&self) {
        self.control_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_send_failure(&self) {
        self.send_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_socket_error(&self) {
        self.socket_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_timer_failure(&self) {
        self.timer_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A copy.
    #[must_use]
    pub fn report(&self) -> ReactorReport {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReactorReport {
            priority: self.priority.load(Ordering::Relaxed),
            realtime: self.realtime.load(Ordering::Acquire),
            passes: load(&self.passes),
            longest_pass_ns: load(&self.longest_pass_ns),
            longest_lateness_ns: load(&self.longest_lateness_ns),
            bad_records: load(&self.bad_records),
            stale_notices: load(&self.stale_notices),
            control_refused: load(&self.control_refused),
            send_failures: load(&self.send_failures),
            socket_errors: load(&self.socket_errors),
            timer_failures: load(&self.timer_failures),
        }
    }
}
