//! What really arrived between each two nodes, in true time.

use std::collections::VecDeque;

use heartbeat_membership::{Incarnation, NodeId, Timing};

use super::Life;
use crate::by_node::ByNode;

/// Gaps of a pair that are remembered: a lease is 9 intervals long by default, and such a gap longer than 2. Five cover it.
const GAPS: usize = 8;

/// Arrivals of a run.
#[derive(Debug)]
pub(super) struct Arrivals {
    timing: Timing,
    /// By sender, then by receiver.
    pairs: ByNode<ByNode<Pair>>,
}

#[derive(Debug, Default)]
struct Pair {
    /// Newest send time, on the sender's clock, of what the receiver accepted; by incarnations of both, the latest last.
    received: Vec<(Incarnation, Incarnation, u64)>,
    /// When the receiver last accepted anything of the sender.
    heard_ns: Option<u64>,
    /// When a gap of the length of the silence limit last ended or was seen.
    gap_ns: Option<u64>,
    /// Gaps longer than two intervals: when each ended and how long it was; the recent ones.
    late: VecDeque<(u64, u64)>,
}

impl Arrivals {
    pub(super) fn new(timing: Timing) -> Self {
        Self { timing, pairs: ByNode::default() }
    }

    /// `to` accepted a heartbeat that `from` sent at `sent_ns` on its own clock.
    pub(super) fn accepted(&mut self, from: Life, to: Life, sent_ns: u64, true_ns: u64) {
        let (late_ns, limit_ns) = (2 * self.timing.interval_ns, self.limit_ns());
        let pair = self.pairs.get_or_insert_with(from.0, ByNode::default).get_or_insert_with(to.0, Pair::default);
        match pair.received.iter_mut().rev().find(|(of, by, _)| (*of, *by) == (from.1, to.1)) {
            Some((_, _, newest_ns)) => *newest_ns = (*newest_ns).max(sent_ns),
            None => pair.received.push((from.1, to.1, sent_ns)),
        }
        let length_ns = pair.heard_ns.map(|heard_ns| true_ns.saturating_sub(heard_ns));
        if let Some(length_ns) = length_ns.filter(|length_ns| *length_ns > late_ns) {
            pair.late.push_back((true_ns, length_ns));
            if pair.late.len() > GAPS {
                pair.late.pop_front();
            }
        }
        if length_ns.is_none_or(|length_ns| length_ns >= limit_ns) {
            pair.gap_ns = Some(true_ns);
        }
        pair.heard_ns = Some(true_ns);
    }

    /// Newest send time of what `to` accepted from `from`.
    pub(super) fn received(&self, from: Life, to: Life) -> Option<u64> {
        let received = &self.pair((from.0, to.0))?.received;
        received.iter().rev().find(|(of, by, _)| (*of, *by) == (from.1, to.1)).map(|(_, _, sent_ns)| *sent_ns)
    }

    /// The same of everybody, for people.
    pub(super) fn received_of(&self, from: Life) -> Vec<(Life, u64)> {
        let pairs = self.pairs.get(from.0).into_iter().flat_map(ByNode::iter);
        let lives = |(to, pair): (NodeId, &Pair)| {
            let of_life = pair.received.iter().filter(|(of, _, _)| *of == from.1);
            of_life.map(|(_, by, sent_ns)| ((to, *by), *sent_ns)).collect::<Vec<_>>()
        };
        pairs.flat_map(lives).collect()
    }

    /// Whether two nodes were late one way or the other for the silence limit in all, within what a lease looks back
    /// on: a cut of one direction right after a cut of the other costs the echoes of both.
    pub(super) fn was_late(&self, a: NodeId, b: NodeId, since_ns: u64, true_ns: u64) -> bool {
        let window_ns = self.timing.lease_ns() + 4 * self.timing.interval_ns;
        let limit_ns = self.limit_ns();
        let late_ns = |pair: (NodeId, NodeId)| {
            let pair = self.pair(pair);
            let heard_ns = pair.and_then(|pair| pair.heard_ns);
            let open_ns = heard_ns.map_or(limit_ns, |heard_ns| true_ns.saturating_sub(heard_ns));
            let recent = pair.into_iter().flat_map(|pair| &pair.late);
            let past_ns: u64 =
                recent.filter(|(end_ns, _)| end_ns + window_ns > true_ns).map(|(_, length_ns)| *length_ns).sum();
            past_ns + if open_ns > 2 * self.timing.interval_ns { open_ns } else { 0 }
        };
        self.was_cut((a, b), since_ns, true_ns)
            || self.was_cut((b, a), since_ns, true_ns)
            || late_ns((a, b)) + late_ns((b, a)) >= limit_ns
    }

    /// Whether the second has not heard the first for the silence limit, at some moment since then.
    pub(super) fn was_cut(&self, ids: (NodeId, NodeId), since_ns: u64, true_ns: u64) -> bool {
        let pair = self.pair(ids);
        let ended = pair.and_then(|pair| pair.gap_ns).is_some_and(|at_ns| at_ns >= since_ns);
        let heard_ns = pair.and_then(|pair| pair.heard_ns);
        let goes_on = heard_ns.is_none_or(|heard_ns| true_ns.saturating_sub(heard_ns) >= self.limit_ns());
        ids.0 != ids.1 && (ended || goes_on)
    }

    /// A clock that runs 1 % fast sees the silence limit pass that much early; the silence began at most an interval after
    /// the last heartbeat that counts here.
    fn limit_ns(&self) -> u64 {
        u64::from(self.timing.lost_after) * self.timing.interval_ns / 100 * 98
    }

    fn pair(&self, (from, to): (NodeId, NodeId)) -> Option<&Pair> {
        self.pairs.get(from)?.get(to)
    }
}
