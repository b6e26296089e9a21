//! Finds out that the local clock stood still while the world went on (membership.md 1.5: a paused virtual machine).
//!
//! The difference between the arrival of a heartbeat (our clock) and its sending (the peer's) changes by delays, which make
//! it larger, and by drift. When our clock stood still for a while, it is smaller by that while, on every link at once.

use std::collections::BTreeMap;

/// Differences kept for each link: the smallest of them has hardly any delay in it.
const REMEMBERED: usize = 16;

/// The differences of every link.
#[derive(Debug)]
pub(super) struct ClockWatch {
    interval_ns: i128,
    slack_ns: i128,
    links: BTreeMap<u32, Link>,
}

#[derive(Debug)]
struct Link {
    epoch: u64,
    stamp_ns: u64,
    differences: Vec<i128>,
    /// How far the newest difference lies below all before it.
    fall_ns: i128,
}

impl ClockWatch {
    pub(super) fn new(interval_ns: u64, slack_ns: u64) -> Self {
        Self { interval_ns: i128::from(interval_ns), slack_ns: i128::from(slack_ns), links: BTreeMap::new() }
    }

    /// Takes the newest heartbeat of a link.
    pub(super) fn observe(&mut self, index: u32, epoch: u64, stamp_ns: u64, sent_ns: u64) {
        let difference = i128::from(stamp_ns) - i128::from(sent_ns);
        let new = || Link { epoch, stamp_ns, differences: vec![difference], fall_ns: 0 };
        let link = self.links.entry(index).or_insert_with(new);
        if link.epoch != epoch {
            *link = new();
            return;
        }
        if link.stamp_ns == stamp_ns {
            return;
        }
        let smallest = link.differences.iter().min().copied().unwrap_or(difference);
        link.fall_ns = (smallest - difference).max(0);
        link.stamp_ns = stamp_ns;
        if link.differences.len() == REMEMBERED {
            link.differences.remove(0);
        }
        link.differences.push(difference);
    }

    /// By how much the clock stood still, when most links that are being heard say so; told once.
    pub(super) fn stood_still(&mut self) -> Option<u64> {
        let newest = self.links.values().map(|link| link.stamp_ns).max().map(i128::from)?;
        let heard = |link: &&Link| newest - i128::from(link.stamp_ns) <= self.interval_ns + self.slack_ns;
        let total = self.links.values().filter(heard).count();
        let mut falls: Vec<i128> =
            self.links.values().filter(heard).map(|link| link.fall_ns).filter(|fall| *fall > self.slack_ns).collect();
        if falls.len() * 2 <= total {
            return None;
        }
        falls.sort_unstable();
        let median = *falls.get(falls.len() / 2)?;
        // "By about the same amount": one link whose peer set its clock must not decide with another one's small fall.
        let alike = falls.iter().filter(|fall| (**fall - median).abs() <= self.slack_ns).count();
        if alike * 2 <= total {
            return None;
        }
        for link in self.links.values_mut() {
            link.fall_ns = 0;
            link.differences.drain(..link.differences.len().saturating_sub(1));
        }
        u64::try_from(median).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 1_000;
    const SLACK: u64 = 125;

    /// Three links whose peers' clocks run `ahead` of ours; heartbeats at times of the world, our clock shows `clock`.
    fn round(watch: &mut ClockWatch, world: u64, clock: u64, delays: [u64; 3]) -> Option<u64> {
        for (index, delay) in (0..).zip(delays) {
            let ahead = 50_000 * u64::from(index);
            watch.observe(index, 1, clock + delay, world + ahead);
        }
        watch.stood_still()
    }

    #[test]
    fn delays_and_their_end_are_no_stop() {
        let mut watch = ClockWatch::new(INTERVAL, SLACK);
        for step in 0..50 {
            let delay = if step % 7 == 3 { 900 } else { step % 5 };
            assert_eq!(
                round(&mut watch, 10_000 + step * INTERVAL, 10_000 + step * INTERVAL, [delay; 3]),
                None,
                "{step}"
            );
        }
    }

    #[test]
    fn a_clock_that_drifts_by_a_percent_is_no_stop() {
        let mut watch = ClockWatch::new(INTERVAL, SLACK);
        for step in 0..200 {
            let world = 10_000 + step * INTERVAL;
            assert_eq!(round(&mut watch, world, world - step * INTERVAL / 100, [3, 1, 2]), None);
        }
    }

    #[test]
    fn a_stop_is_told_once_with_its_length_when_most_links_show_it() {
        let mut watch = ClockWatch::new(INTERVAL, SLACK);
        for step in 0..10 {
            assert_eq!(round(&mut watch, 10_000 + step * INTERVAL, 10_000 + step * INTERVAL, [3, 1, 2]), None);
        }
        // The world goes on for 5,000 while our clock stands at 19,000.
        watch.observe(0, 1, 19_500, 24_500);
        assert_eq!(watch.stood_still(), None, "one link of three");
        watch.observe(1, 1, 19_501, 74_500);
        let length = watch.stood_still().expect("most links");
        assert!((4_990..=5_010).contains(&length), "{length}");
        watch.observe(2, 1, 19_502, 124_500);
        assert_eq!(watch.stood_still(), None, "told once");
    }

    #[test]
    fn one_peer_that_sets_its_clock_decides_nothing() {
        let mut watch = ClockWatch::new(INTERVAL, SLACK);
        for step in 0..10 {
            round(&mut watch, 10_000 + step * INTERVAL, 10_000 + step * INTERVAL, [3, 1, 2]);
        }
        watch.observe(0, 1, 20_003, 90_000);
        watch.observe(1, 1, 20_001, 70_000);
        watch.observe(2, 1, 20_002, 120_000);
        assert_eq!(watch.stood_still(), None);
    }
}
