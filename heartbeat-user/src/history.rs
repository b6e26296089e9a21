//! The last arrivals of a link: what they say about who was late, and how people and events are told.

mod evidence;
mod text;

use heartbeat_common::records::Arrival;
use heartbeat_membership::Cause;
use serde::{Deserialize, Serialize};

pub use self::evidence::{Arrivals, IN_EVENTS};

/// What is remembered of one link, oldest first, and what it is measured by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The arrivals.
    pub arrivals: Vec<Arrival>,
    /// When the peer's incarnation was accepted, `CLOCK_MONOTONIC` nanoseconds: what arrived before is of an earlier one.
    pub since_ns: u64,
    /// Heartbeat interval.
    pub interval_ns: u64,
    /// Longest time between two heartbeats that is no news.
    pub longest_regular_ns: u64,
}

/// The last arrivals of one link, as the API tells them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The peer.
    pub peer: u16,
    /// The network.
    pub network: String,
    /// Heartbeat interval.
    pub interval_ns: u64,
    /// When this was told, on the clock of the stamps: `CLOCK_MONOTONIC` of this node.
    pub now_ns: u64,
    /// Oldest first; at most 64.
    pub arrivals: Vec<PastArrival>,
}

/// One arrival, and how it stands to the newest one before it. What stands to none is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastArrival {
    /// When it arrived, `CLOCK_MONOTONIC` nanoseconds of this node.
    pub stamp_ns: u64,
    /// When it was sent, nanoseconds on the peer's clock.
    pub sent_ns: u64,
    /// Its sequence number.
    pub sequence: u64,
    /// Time since the arrival before.
    pub gap_ns: Option<u64>,
    /// Time between the moments when both were sent.
    pub sent_gap_ns: Option<u64>,
    /// Sequence numbers in between.
    pub skipped: u64,
    /// It came behind a newer one.
    pub behind: bool,
    /// Why the gap was long; absent where it was not.
    pub cause: Option<Cause>,
}

impl Past {
    /// The newest `limit` arrivals, as they are told at `now_ns`.
    #[must_use]
    pub fn told(&self, peer: u16, network: &str, now_ns: u64, limit: usize) -> History {
        let mut newest: Option<&Arrival> = None;
        let mut told = Vec::with_capacity(self.arrivals.len());
        for arrival in &self.arrivals {
            // The clock and the numbers of an earlier incarnation are others.
            newest = newest.filter(|newest| newest.stamp_ns >= self.since_ns || arrival.stamp_ns < self.since_ns);
            let entry = self.compared(arrival, newest);
            if !entry.behind {
                newest = Some(arrival);
            }
            told.push(entry);
        }
        let older = told.len().saturating_sub(limit);
        let arrivals = told.split_off(older);
        History { peer, network: network.to_owned(), interval_ns: self.interval_ns, now_ns, arrivals }
    }

    fn compared(&self, arrival: &Arrival, newest: Option<&Arrival>) -> PastArrival {
        let Arrival { stamp_ns, sent_ns, sequence } = *arrival;
        let mut entry = PastArrival {
            stamp_ns,
            sent_ns,
            sequence,
            gap_ns: None,
            sent_gap_ns: None,
            skipped: 0,
            behind: false,
            cause: None,
        };
        let Some(newest) = newest else { return entry };
        // By what the peer's clock says: multicast and unicast are numbered apart.
        let Some(sent_gap_ns) = sent_ns.checked_sub(newest.sent_ns) else {
            return PastArrival { behind: true, ..entry };
        };
        let gap_ns = stamp_ns.saturating_sub(newest.stamp_ns);
        entry.skipped = sequence.saturating_sub(newest.sequence).saturating_sub(1);
        entry.cause = (gap_ns > self.longest_regular_ns)
            .then(|| Cause::of_gap(sent_gap_ns, entry.skipped, self.longest_regular_ns));
        PastArrival { gap_ns: Some(gap_ns), sent_gap_ns: Some(sent_gap_ns), ..entry }
    }
}

#[cfg(test)]
mod tests;
