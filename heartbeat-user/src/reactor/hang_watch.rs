//! Watches the beats of peers' controllers: a kernel that beats for a controller that is frozen.

use std::collections::BTreeMap;

/// When each peer's controller last moved, by the stamps of its heartbeats.
#[derive(Debug)]
pub(super) struct HangWatch {
    timeout_ns: u64,
    peers: BTreeMap<u16, Controller>,
}

#[derive(Clone, Copy, Debug)]
struct Controller {
    incarnation: u64,
    beat: u64,
    /// Arrival of the first heartbeat with this beat.
    since_ns: u64,
}

impl HangWatch {
    pub(super) fn new(timeout_ns: u64) -> Self {
        Self { timeout_ns, peers: BTreeMap::new() }
    }

    /// Looks at the newest heartbeat of a peer on one network; true when its controller has been frozen for too long.
    ///
    /// Time without a heartbeat says nothing about the controller: only heartbeats with an old beat do.
    pub(super) fn observe(&mut self, node: u16, incarnation: u64, beat: u64, stamp_ns: u64) -> bool {
        let fresh = Controller { incarnation, beat, since_ns: stamp_ns };
        let known = self.peers.entry(node).or_insert(fresh);
        if known.incarnation != incarnation || beat > known.beat {
            *known = fresh;
        }
        // A heartbeat that another network delivered earlier carries an older beat; it is no news.
        beat == known.beat && stamp_ns.saturating_sub(known.since_ns) >= self.timeout_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_heartbeats_with_an_old_beat_count() {
        let mut watch = HangWatch::new(100);
        assert!(!watch.observe(1, 9, 5, 1_000));
        assert!(!watch.observe(1, 9, 5, 1_099));
        assert!(watch.observe(1, 9, 5, 1_100), "it beats, and its controller does not move");
        assert!(!watch.observe(1, 9, 6, 1_200), "it moves again");
        assert!(!watch.observe(1, 9, 5, 1_400), "an older heartbeat from another network");
        assert!(!watch.observe(1, 10, 1, 1_500), "another incarnation starts over");
        assert!(!watch.observe(2, 9, 5, 9_000));
    }
}
