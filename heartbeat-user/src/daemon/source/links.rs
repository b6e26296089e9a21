//! One link out of its records.

use heartbeat_common::{ids, records::LinkRecord, wire::HOLD_UNKNOWN};

use crate::{
    dataplane::memory::Memory,
    status::{Link, LinkState},
};

/// The records at one moment.
pub(super) struct Reading<'a> {
    /// The records.
    pub(super) memory: &'a Memory,
    /// The moment.
    pub(super) now_ns: u64,
    /// Heartbeat interval.
    pub(super) interval_ns: u64,
}

impl Reading<'_> {
    pub(super) fn link(&self, peer: u16, network: u8, name: &str, state: LinkState, with_histogram: bool) -> Link {
        let index = ids::link_index(peer, network);
        let record = self.memory.links.read_locked(index);
        let epoch = self.memory.peers.read(index).map(|peer| peer.epoch);
        // What was counted stays; what was heard of an earlier incarnation is not news of this one.
        let current = record.filter(|link| Some(link.epoch) == epoch && link.stamp_ns != 0);
        Link {
            peer,
            network: name.to_owned(),
            state,
            received: record.map_or(0, |link| link.received),
            lost: record.map_or(0, |link| link.lost),
            duplicates: record.map_or(0, |link| link.duplicates),
            reordered: record.map_or(0, |link| link.reordered),
            last_heard_ms: current.map(|link| milliseconds(self.now_ns.saturating_sub(link.stamp_ns))),
            rtt_us: current.and_then(|link| round_trip_us(&link)),
            jitter_us: current.and_then(|_heard| self.jitter_us(index)),
            echoed_ms: current
                .filter(|link| link.echo_sent_ns != 0)
                .map(|link| milliseconds(self.now_ns.saturating_sub(link.echo_sent_ns))),
            controller_age_ms: current.map(|link| u64::from(link.controller_age_ms)),
            intervals: with_histogram
                .then(|| self.memory.intervals.read(index).map(|record| record.buckets.to_vec()))
                .flatten(),
        }
    }

    /// Mean deviation of the remembered gaps from the interval.
    fn jitter_us(&self, index: u32) -> Option<u64> {
        let arrivals = self.memory.past_arrivals(index);
        let gaps = arrivals.windows(2).map(|pair| pair[1].stamp_ns - pair[0].stamp_ns);
        let deviations: Vec<u64> = gaps.map(|gap_ns| gap_ns.abs_diff(self.interval_ns)).collect();
        let count = u64::try_from(deviations.len()).ok().filter(|count| *count > 0)?;
        Some(deviations.iter().sum::<u64>() / count / 1_000)
    }
}

/// Round trip of the newest echo: time from sending to the echo's arrival, less what the peer held it.
fn round_trip_us(link: &LinkRecord) -> Option<u64> {
    if link.echo_sent_ns == 0 || link.echo_hold_us == HOLD_UNKNOWN {
        return None;
    }
    let whole_us = link.echo_stamp_ns.checked_sub(link.echo_sent_ns)? / 1_000;
    // The peer's clock may run a little faster than ours; never show less than nothing.
    Some(whole_us.saturating_sub(u64::from(link.echo_hold_us)))
}

fn milliseconds(nanoseconds: u64) -> f64 {
    // Exact up to 104 days: an f64 holds 53 bits.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a link that was last heard 104 days ago may be off by a nanosecond"
    )]
    let value = nanoseconds as f64;
    value / 1e6
}
