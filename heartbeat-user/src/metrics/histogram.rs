//! Histograms by powers of two, as the kernel's program keeps them.

use std::sync::atomic::{AtomicU64, Ordering};

use heartbeat_common::{account::interval_bucket, records::INTERVAL_BUCKETS};

/// A histogram that one thread writes and others read.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; INTERVAL_BUCKETS],
    sum_ns: AtomicU64,
}

/// A copy of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// Entry `i` counts values from 2^i to 2^(i+1) - 1 nanoseconds; the first one also 0, the last one everything above.
    pub counts: [u64; INTERVAL_BUCKETS],
    /// Sum of the values, nanoseconds.
    pub sum_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; INTERVAL_BUCKETS], sum_ns: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn record(&self, value_ns: u64) {
        self.buckets[interval_bucket(value_ns)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(value_ns, Ordering::Relaxed);
    }

    /// A copy.
    #[must_use]
    pub fn read(&self) -> Buckets {
        Buckets {
            counts: std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

impl Buckets {
    /// Of a histogram that keeps no sum: each value counts as the middle of its bucket.
    #[must_use]
    pub fn without_sum(counts: [u64; INTERVAL_BUCKETS]) -> Self {
        let middle =
            |(exponent, count): (usize, &u64)| (1_u64 << exponent).saturating_mul(*count).saturating_mul(3) / 2;
        let sum_ns = counts.iter().enumerate().map(middle).fold(0, u64::saturating_add);
        Self { counts, sum_ns }
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_bucket_of_their_power_of_two() {
        let histogram = Histogram::default();
        for value in [0, 1, 1_023, 1_024, 1_025, u64::MAX >> 8] {
            histogram.record(value);
        }
        let read = histogram.read();
        assert_eq!((read.counts[0], read.counts[9], read.counts[10], read.counts[INTERVAL_BUCKETS - 1]), (2, 1, 2, 1));
        assert_eq!(read.count(), 6);
        assert_eq!(read.sum_ns, 1 + 1_023 + 1_024 + 1_025 + (u64::MAX >> 8));
    }

    #[test]
    fn the_sum_of_middles_is_within_a_third_of_the_true_one() {
        let mut counts = [0; INTERVAL_BUCKETS];
        counts[20] = 10;
        assert_eq!(Buckets::without_sum(counts).sum_ns, 10 * 3 * (1 << 19));
    }
}
