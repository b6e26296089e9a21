//! The last arrivals before a verdict, as its event carries them.

use heartbeat_common::records::Arrival;
use serde::{Deserialize, Serialize};

/// Arrivals of one link in an event. Eight show whether a link stopped at once or had come unevenly before, over four times
/// the default time after which it is late; the log keeps 10,000 events in memory, so that each one here costs a megabyte
/// in the worst case. The link itself remembers 64 until it is heard again.
pub const IN_EVENTS: usize = 8;

/// The newest arrivals of one link before a verdict, oldest first: three lists of the same length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    /// The network.
    pub network: String,
    /// When each arrived, `CLOCK_MONOTONIC` nanoseconds of the node that logs.
    pub stamp_ns: Vec<u64>,
    /// When each was sent, on the peer's clock.
    pub sent_ns: Vec<u64>,
    /// Their sequence numbers.
    pub sequence: Vec<u64>,
}

impl Arrivals {
    /// The newest [`IN_EVENTS`] that arrived until `until_ns`; `past` is oldest first.
    #[must_use]
    pub fn before(network: &str, past: &[Arrival], until_ns: u64) -> Self {
        let until = past.partition_point(|arrival| arrival.stamp_ns <= until_ns);
        let newest = past.get(until.saturating_sub(IN_EVENTS)..until).unwrap_or_default();
        Self {
            network: network.to_owned(),
            stamp_ns: newest.iter().map(|arrival| arrival.stamp_ns).collect(),
            sent_ns: newest.iter().map(|arrival| arrival.sent_ns).collect(),
            sequence: newest.iter().map(|arrival| arrival.sequence).collect(),
        }
    }

    /// The gaps between them in words, in milliseconds; nothing with fewer than two.
    #[must_use]
    pub fn gaps_in_words(&self) -> Option<String> {
        let gaps = self.stamp_ns.windows(2).map(|pair| {
            let gap_us = pair[1].saturating_sub(pair[0]) / 1_000;
            format!("{}.{}", gap_us / 1_000, gap_us / 100 % 10)
        });
        let gaps: Vec<String> = gaps.collect();
        (!gaps.is_empty()).then(|| format!("the ones before came {} ms apart", gaps.join(", ")))
    }
}
