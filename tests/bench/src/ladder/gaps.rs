//! Gaps between the heartbeats of a link as they were sent, with the time of each: read from the flight recorders of the
//! receivers. All nodes share one clock here, so a gap can be laid beside the stops of the CPUs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;
use bytemuck::Zeroable as _;
use heartbeat_common::{
    ids,
    records::{Arrival, ArrivalRecord},
};
use heartbeat_tests::cluster::Cluster;
use serde::Serialize;

use super::records::Pinned;
use crate::{
    cpu::{self, Priority, THIS_THREAD},
    probe::Gap,
};

/// A recorder holds 64 heartbeats: 640 ms at 10 ms, 64 ms at 1 ms.
const LOOK_INTERVALS: u32 = 20;
/// Above every load but the hog of one CPU, which it can leave: a look that comes late finds a ring that has turned.
const PRIORITY: Priority = Priority::Fifo(98);
/// Gaps kept: whoever has more is not served by a list.
const MOST: usize = 10_000;

/// What was seen of the sending of heartbeats.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SendGaps {
    /// Pairs of heartbeats that were sent one after the other on one link.
    pub pairs: u64,
    /// Longest time between two of them, where the probe saw no stop of a CPU.
    pub longest_ns: u64,
    /// Gaps of more than two intervals, of those.
    pub above_two: usize,
    /// Longest time between two over a stop of a CPU.
    pub longest_over_stops_ns: u64,
    /// Gaps of more than two intervals over stops.
    pub above_two_over_stops: usize,
}

/// Reads the recorders until it is stopped.
pub(super) struct GapWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

/// Gaps that are not yet sorted by cause: those of at least an interval and a half; shorter ones say nothing.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pairs: u64,
    gaps: Vec<(u64, u64)>,
    longest_short_ns: u64,
}

impl GapWatch {
    /// Watches every link of a cluster.
    pub(super) fn start(cluster: &Cluster, interval: Duration) -> Self {
        let nodes: Vec<u16> = cluster.topology().node_ids().collect();
        let networks: Vec<u8> = cluster.topology().network_ids().collect();
        let recorders: Vec<(Pinned<ArrivalRecord>, Vec<u32>)> = cluster
            .nodes()
            .iter()
            .map(|node| {
                let peers = nodes.iter().filter(|peer| **peer != node.id());
                let links = peers.flat_map(|peer| networks.iter().map(|network| ids::link_index(*peer, *network)));
                (Pinned::of(node, "ARRIVALS"), links.collect())
            })
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || watch(&recorders, interval, &stop)
        });
        Self { stop, thread }
    }

    /// What was seen.
    pub(super) fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn watch(recorders: &[(Pinned<ArrivalRecord>, Vec<u32>)], interval: Duration, stop: &AtomicBool) -> Result<Seen> {
    cpu::schedule(THIS_THREAD, PRIORITY)?;
    let long_ns = u64::try_from(interval.as_nanos())? * 3 / 2;
    let mut seen = Seen::default();
    let mut newest: BTreeMap<(usize, u32), Arrival> = BTreeMap::new();
    loop {
        let last = stop.load(Ordering::Relaxed);
        for (node, (pinned, links)) in recorders.iter().enumerate() {
            // Maps of a controller that was killed may be gone for a moment.
            let Ok(recorder) = pinned.open() else { continue };
            for link in links {
                // Written meanwhile: the next look finds it whole.
                let (Some(first), Some(second)) = (recorder.read(*link), recorder.read(*link)) else { continue };
                if first == second {
                    seen.take(&first.arrivals, newest.entry((node, *link)).or_insert_with(Arrival::zeroed), long_ns);
                }
            }
        }
        if last {
            return Ok(seen);
        }
        thread::sleep(interval * LOOK_INTERVALS);
    }
}

impl Seen {
    /// Laid beside the stops of the CPUs.
    pub(super) fn beside(&self, stops: &[Gap], interval_ns: u64) -> SendGaps {
        let mut sorted = SendGaps { pairs: self.pairs, longest_ns: self.longest_short_ns, ..SendGaps::default() };
        for (from_ns, to_ns) in &self.gaps {
            let length_ns = to_ns - from_ns;
            let above = usize::from(length_ns > 2 * interval_ns);
            if stops.iter().any(|stop| stop.overlaps(*from_ns, *to_ns)) {
                sorted.longest_over_stops_ns = sorted.longest_over_stops_ns.max(length_ns);
                sorted.above_two_over_stops += above;
            } else {
                sorted.longest_ns = sorted.longest_ns.max(length_ns);
                sorted.above_two += above;
            }
        }
        sorted
    }

    fn take(&mut self, arrivals: &[Arrival], newest: &mut Arrival, long_ns: u64) {
        let mut fresh: Vec<Arrival> =
            arrivals.iter().copied().filter(|arrival| arrival.sent_ns > newest.sent_ns).collect();
        fresh.sort_by_key(|arrival| arrival.sent_ns);
        for arrival in fresh {
            // One that was lost in between was sent all the same; a new life of the sender counts from 1.
            if newest.sent_ns != 0 && arrival.sequence == newest.sequence + 1 {
                self.pairs += 1;
                let length_ns = arrival.sent_ns - newest.sent_ns;
                if length_ns < long_ns || self.gaps.len() == MOST {
                    self.longest_short_ns = self.longest_short_ns.max(length_ns);
                } else {
                    self.gaps.push((newest.sent_ns, arrival.sent_ns));
                }
            }
            *newest = arrival;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 1_000;

    fn arrivals(sent: &[(u64, u64)]) -> Vec<Arrival> {
        sent.iter()
            .map(|(sequence, sent_ns)| Arrival { stamp_ns: *sent_ns, sent_ns: *sent_ns, sequence: *sequence })
            .collect()
    }

    #[test]
    fn a_gap_is_between_two_that_follow_each_other_and_a_stop_takes_the_blame_for_what_it_touches() {
        let mut seen = Seen::default();
        let mut newest = Arrival::zeroed();
        // As a ring that has turned; seen again in the next look; one lost, one late by itself, one over a stop.
        let first = arrivals(&[(3, 3_100), (1, 1_000), (2, 2_000)]);
        seen.take(&first, &mut newest, INTERVAL * 3 / 2);
        let second = arrivals(&[(3, 3_100), (5, 9_000), (6, 11_500), (7, 15_500), (8, 16_500)]);
        seen.take(&second, &mut newest, INTERVAL * 3 / 2);
        let stops = [Gap { cpu: 0, from_ns: 12_000, to_ns: 15_000 }];
        let sorted = seen.beside(&stops, INTERVAL);
        assert_eq!(sorted.pairs, 5);
        assert_eq!((sorted.longest_ns, sorted.above_two), (2_500, 1));
        assert_eq!((sorted.longest_over_stops_ns, sorted.above_two_over_stops), (4_000, 1));
    }
}
