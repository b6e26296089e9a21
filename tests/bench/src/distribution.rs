//! Many times in four numbers; the largest is always among them.

use serde::Serialize;

/// Of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Distribution {
    /// How many.
    pub count: usize,
    /// The smallest.
    pub min_ns: u64,
    /// Half are not above it.
    pub median_ns: u64,
    /// 99 of 100 are not above it.
    pub p99_ns: u64,
    /// The largest.
    pub max_ns: u64,
}

impl Distribution {
    /// Of these; all zero where there are none.
    pub(crate) fn of(times_ns: impl IntoIterator<Item = u64>) -> Self {
        let mut sorted: Vec<u64> = times_ns.into_iter().collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(rank).copied().unwrap_or_default()
        };
        Self { count: sorted.len(), min_ns: at(0), median_ns: at(50), p99_ns: at(99), max_ns: at(100) }
    }

    /// Cells of a table, in milliseconds: min, median, p99, max.
    pub(crate) fn milliseconds(&self) -> String {
        let cell = |ns: u64| format!("{:.2}", ns as f64 / 1e6);
        [self.min_ns, self.median_ns, self.p99_ns, self.max_ns].map(cell).join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_of_values_that_were_seen() {
        let hundred = Distribution::of((1..=100).rev());
        assert_eq!(hundred, Distribution { count: 100, min_ns: 1, median_ns: 50, p99_ns: 99, max_ns: 100 });
        assert_eq!(Distribution::of([7]), Distribution { count: 1, min_ns: 7, median_ns: 7, p99_ns: 7, max_ns: 7 });
        assert_eq!(Distribution::of([]).max_ns, 0);
        assert_eq!(hundred.milliseconds(), "0.00 | 0.00 | 0.00 | 0.00");
    }
}
