//! Keeps counters that an outsider can move at line rate from moving the event log at that rate.

/// Time between two reports of the same reason.
pub const BURST_INTERVAL_NS: u64 = 10_000_000_000;

/// At most one report per reason and [`BURST_INTERVAL_NS`], which carries what came in since the one before.
///
/// `N` is the number of reasons; nothing is allocated after it is made.
#[derive(Debug, Clone)]
pub struct BurstLimiter<const N: usize> {
    reasons: [Reason; N],
}

/// What to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// How many came since the last report of this reason.
    pub count: u64,
    /// When the first of them was seen, `CLOCK_MONOTONIC` nanoseconds.
    pub since_ns: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Reason {
    /// Value of the counter when it was looked at last.
    total: u64,
    /// Not yet reported, and since when.
    pending: Option<Burst>,
    reported_ns: Option<u64>,
}

impl<const N: usize> BurstLimiter<N> {
    /// A limiter that takes counters at `totals` as reported, so that those of an earlier controller are not reported again.
    #[must_use]
    pub fn new(totals: [u64; N]) -> Self {
        Self { reasons: totals.map(|total| Reason { total, ..Reason::default() }) }
    }

    /// Looks at the counter of one reason; something to report if it moved and the last report is old enough.
    ///
    /// To be called regularly, moved or not: the rest of a burst is reported when its turn comes. A counter that fell
    /// was reset, and counts from zero. An index outside of `N` gives nothing.
    pub fn observe(&mut self, reason: usize, total: u64, now_ns: u64) -> Option<Burst> {
        let reason = self.reasons.get_mut(reason)?;
        let more = total.checked_sub(reason.total).unwrap_or(total);
        reason.total = total;
        if more > 0 {
            let pending = reason.pending.get_or_insert(Burst { count: 0, since_ns: now_ns });
            pending.count = pending.count.saturating_add(more);
        }
        let waited = reason.reported_ns.is_none_or(|reported| now_ns.saturating_sub(reported) >= BURST_INTERVAL_NS);
        if !waited {
            return None;
        }
        let burst = reason.pending.take()?;
        reason.reported_ns = Some(now_ns);
        Some(burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn reports_the_first_at_once_and_the_rest_when_its_turn_comes() {
        let mut limiter = BurstLimiter::<2>::new([0, 0]);
        assert_eq!(limiter.observe(0, 0, SECOND), None);
        assert_eq!(limiter.observe(0, 3, 2 * SECOND), Some(Burst { count: 3, since_ns: 2 * SECOND }));
        assert_eq!(limiter.observe(0, 1_000, 3 * SECOND), None);
        assert_eq!(limiter.observe(0, 1_003, 11 * SECOND), None);
        assert_eq!(limiter.observe(0, 1_003, 12 * SECOND), Some(Burst { count: 1_000, since_ns: 3 * SECOND }));
        assert_eq!(limiter.observe(0, 1_003, 40 * SECOND), None, "nothing moved");
        assert_eq!(limiter.observe(0, 1_004, 41 * SECOND), Some(Burst { count: 1, since_ns: 41 * SECOND }));
    }

    #[test]
    fn reasons_do_not_hold_each_other_back() {
        let mut limiter = BurstLimiter::<2>::new([0, 0]);
        assert!(limiter.observe(0, 1, SECOND).is_some());
        assert!(limiter.observe(1, 1, SECOND).is_some());
        assert_eq!(limiter.observe(2, 1, SECOND), None, "there is no such reason");
    }

    #[test]
    fn counters_that_were_there_before_are_not_reported() {
        let mut limiter = BurstLimiter::<1>::new([500]);
        assert_eq!(limiter.observe(0, 500, SECOND), None);
        assert_eq!(limiter.observe(0, 501, SECOND).map(|burst| burst.count), Some(1));
    }

    #[test]
    fn a_counter_that_was_reset_counts_from_zero() {
        let mut limiter = BurstLimiter::<1>::new([500]);
        assert_eq!(limiter.observe(0, 7, SECOND).map(|burst| burst.count), Some(7));
    }

    #[test]
    fn a_flood_gives_one_event_in_ten_seconds() {
        let mut limiter = BurstLimiter::<1>::new([0]);
        let (mut reports, mut counted) = (0, 0);
        for step in 0..=600u64 {
            if let Some(burst) = limiter.observe(0, (step + 1) * 100_000, step * SECOND / 10) {
                reports += 1;
                counted += burst.count;
            }
        }
        assert_eq!((reports, counted), (7, 601 * 100_000), "at 0, 10, .. 60 s, and nothing uncounted");
    }
}
