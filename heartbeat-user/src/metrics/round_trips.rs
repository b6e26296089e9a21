//! Round trips of heartbeats and their echoes, by link.

use std::sync::atomic::{AtomicU64, Ordering};

use heartbeat_common::{records::LinkRecord, wire::HOLD_UNKNOWN};

use super::histogram::{Buckets, Histogram};

/// One histogram for each link. Written by the reactor, which looks at each link more than once in an interval.
#[derive(Debug)]
pub struct RoundTrips(Box<[OfLink]>);

#[derive(Debug, Default)]
struct OfLink {
    /// `echo_sent_ns` of the echo that was counted last.
    newest_ns: AtomicU64,
    histogram: Histogram,
}

impl RoundTrips {
    /// For this many links.
    #[must_use]
    pub fn new(links: usize) -> Self {
        Self((0..links).map(|_| OfLink::default()).collect())
    }

    /// Counts the newest echo of a link, unless it has been counted already.
    pub fn observe(&self, index: u32, link: &LinkRecord) {
        let Some(of_link) = usize::try_from(index).ok().and_then(|index| self.0.get(index)) else { return };
        if link.echo_sent_ns == of_link.newest_ns.swap(link.echo_sent_ns, Ordering::Relaxed) {
            return;
        }
        if let Some(length_ns) = round_trip_ns(link) {
            of_link.histogram.record(length_ns);
        }
    }

    /// The histogram of a link.
    #[must_use]
    pub fn read(&self, index: u32) -> Option<Buckets> {
        usize::try_from(index).ok().and_then(|index| self.0.get(index)).map(|of_link| of_link.histogram.read())
    }
}

/// Round trip of the newest echo: time from sending to the echo's arrival, less what the peer held it. `None` where there
/// is no echo.
#[must_use]
pub fn round_trip_ns(link: &LinkRecord) -> Option<u64> {
    if link.echo_sent_ns == 0 || link.echo_hold_us == HOLD_UNKNOWN {
        return None;
    }
    let whole_ns = link.echo_stamp_ns.checked_sub(link.echo_sent_ns)?;
    // The peer's clock may run a little faster than ours; never show less than nothing.
    Some(whole_ns.saturating_sub(u64::from(link.echo_hold_us) * 1_000))
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    #[test]
    fn each_echo_counts_once() {
        let trips = RoundTrips::new(4);
        let echo =
            LinkRecord { echo_sent_ns: 1_000, echo_stamp_ns: 5_096_000, echo_hold_us: 5_000, ..LinkRecord::zeroed() };
        trips.observe(2, &LinkRecord::zeroed());
        for _look in 0..3 {
            trips.observe(2, &echo);
        }
        let read = trips.read(2).unwrap();
        assert_eq!((read.count(), read.sum_ns), (1, 95_000));
        trips.observe(2, &LinkRecord { echo_sent_ns: 2_000, echo_hold_us: HOLD_UNKNOWN, ..echo });
        trips.observe(2, &LinkRecord { echo_sent_ns: 3_000, echo_hold_us: 9_000, ..echo });
        let read = trips.read(2).unwrap();
        assert_eq!(
            (read.count(), read.sum_ns),
            (2, 95_000),
            "unknown holds are not counted, and none is below nothing"
        );
        assert_eq!(trips.read(3).unwrap().count(), 0);
        trips.observe(4, &echo);
        assert!(trips.read(4).is_none());
    }
}
