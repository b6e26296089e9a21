//! Finds out that the local clock stood still while the world went on (membership.md 1.5: a paused virtual machine).
//!
//! The difference between the arrival of a heartbeat (our clock) and its sending (the peer's) changes by delays, which make
//! it larger, and by drift. When our clock stood still for a while, it is smaller by that while, on every link from its next
//! heartbeat on.
//!
//! A hypervisor keeps frames for a machine that it has paused, and hands them over when the machine goes on: such a
//! heartbeat shows only the part of the pause that came before it was sent, another part on each link. So the fall is
//! measured from where the link was before, not from the heartbeat before, and what most links agree on is told as soon as
//! they do, the rest when they show it.

use std::collections::BTreeMap;

use heartbeat_common::records::Arrival;

/// Differences kept for each link: the smallest of them has hardly any delay in it. After as many heartbeats a link that has
/// fallen alone is taken as it is: its peer's clock is another one now.
const REMEMBERED: usize = 16;

/// The differences of every link.
#[derive(Debug)]
pub(super) struct ClockWatch {
    interval_ns: i128,
    slack_ns: i128,
    links: BTreeMap<u32, Link>,
    /// Whether a heartbeat has come since the last look.
    is_news: bool,
    /// Memory of a look.
    falls: Vec<i128>,
}

#[derive(Debug)]
struct Link {
    incarnation: u64,
    stamp_ns: u64,
    /// Of heartbeats that came no earlier than others before them, by more than slack.
    differences: Vec<i128>,
    newest: i128,
    /// Heartbeats in a row that came earlier than that.
    fallen: usize,
}

impl Link {
    fn new(incarnation: u64, stamp_ns: u64, difference: i128) -> Self {
        let mut differences = Vec::with_capacity(REMEMBERED);
        differences.push(difference);
        Self { incarnation, stamp_ns, differences, newest: difference, fallen: 0 }
    }

    /// How far the newest difference lies below what was usual.
    fn fall_ns(&self) -> i128 {
        let smallest = self.differences.iter().min().copied().unwrap_or(self.newest);
        (smallest - self.newest).max(0)
    }

    fn remember(&mut self, slack_ns: i128) {
        if self.fall_ns() > slack_ns {
            self.fallen += 1;
            if self.fallen < REMEMBERED {
                return;
            }
            self.differences.clear();
        }
        self.fallen = 0;
        if self.differences.len() == REMEMBERED {
            self.differences.remove(0);
        }
        self.differences.push(self.newest);
    }
}

impl ClockWatch {
    pub(super) fn new(interval_ns: u64, slack_ns: u64) -> Self {
        Self {
            interval_ns: i128::from(interval_ns),
            slack_ns: i128::from(slack_ns),
            links: BTreeMap::new(),
            is_news: false,
            falls: Vec::new(),
        }
    }

    /// Other times from now on; what is known of the clocks stays true.
    pub(super) fn set_timing(&mut self, interval_ns: u64, slack_ns: u64) {
        self.interval_ns = i128::from(interval_ns);
        self.slack_ns = i128::from(slack_ns);
    }

    /// Takes what arrived on a link before this controller was there, oldest first: a clock that stood still while no
    /// controller looked is noticed by the next one.
    pub(super) fn recall(&mut self, index: u32, incarnation: u64, arrivals: &[Arrival]) {
        for arrival in arrivals {
            self.observe(index, incarnation, arrival.stamp_ns, arrival.sent_ns);
        }
    }

    /// Takes the newest heartbeat of a link. Another incarnation of the peer may have another clock; the same one has the same,
    /// also after a new handshake: a machine that was removed meanwhile still learns for how long it was away.
    pub(super) fn observe(&mut self, index: u32, incarnation: u64, stamp_ns: u64, sent_ns: u64) {
        let difference = i128::from(stamp_ns) - i128::from(sent_ns);
        let link = self.links.entry(index).or_insert_with(|| Link::new(incarnation, stamp_ns, difference));
        if link.incarnation != incarnation {
            *link = Link::new(incarnation, stamp_ns, difference);
            return;
        }
        if link.stamp_ns == stamp_ns {
            return;
        }
        link.stamp_ns = stamp_ns;
        link.newest = difference;
        link.remember(self.slack_ns);
        self.is_news = true;
    }

    /// By how much the clock stood still, at least, as more than half of the links show that are being heard; each part
    /// of it is told once.
    pub(super) fn stood_still(&mut self) -> Option<u64> {
        if !std::mem::take(&mut self.is_news) {
            return None;
        }
        let newest = self.links.values().map(|link| link.stamp_ns).max().map(i128::from)?;
        let heard = |link: &&Link| newest - i128::from(link.stamp_ns) <= self.interval_ns + self.slack_ns;
        self.falls.clear();
        self.falls.extend(self.links.values().filter(heard).map(Link::fall_ns));
        self.falls.sort_unstable();
        // As many links and one more show at least this much: one whose peer set its clock decides nothing.
        let shown = self.falls.len().checked_sub(self.falls.len() / 2 + 1).and_then(|index| self.falls.get(index));
        let stood_ns = shown.copied().filter(|fall| *fall > self.slack_ns)?;
        for link in self.links.values_mut() {
            // Links that have not shown it yet will: it must not count again then.
            link.differences.iter_mut().for_each(|difference| *difference -= stood_ns);
            if link.fallen > 0 && link.fall_ns() <= self.slack_ns {
                link.remember(self.slack_ns);
            }
        }
        u64::try_from(stood_ns).ok()
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
    fn a_stop_that_the_controller_before_did_not_live_to_see_is_told_by_the_next() {
        for (stood, told) in [(0, None), (5_000, Some(5_000))] {
            let mut watch = ClockWatch::new(INTERVAL, SLACK);
            for index in 0..3 {
                let arrivals = (0..64).map(|step| {
                    let sent_ns = 10_000 + step * INTERVAL;
                    let stamp_ns = if step < 60 { sent_ns } else { sent_ns - stood };
                    Arrival { stamp_ns, sent_ns, sequence: step }
                });
                watch.recall(index, 1, &arrivals.collect::<Vec<_>>());
            }
            assert_eq!(watch.stood_still(), told);
        }
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

    #[test]
    fn heartbeats_that_were_kept_during_the_stop_show_a_part_and_fresh_ones_the_rest() {
        let mut watch = ClockWatch::new(INTERVAL, SLACK);
        for step in 0..10 {
            round(&mut watch, 10_000 + step * INTERVAL, 10_000 + step * INTERVAL, [3, 1, 2]);
        }
        // Stopped at 19,500 for 5,000. The last that were kept had been sent 4,300, 4,700 and 4,000 later.
        let kept = [(0, 19_501, 23_800), (1, 19_502, 74_200), (2, 19_503, 123_500)];
        let mut told = Vec::new();
        for (index, stamp_ns, sent_ns) in kept {
            watch.observe(index, 1, stamp_ns, sent_ns);
            told.extend(watch.stood_still());
        }
        let fresh = [(0, 19_803, 24_800), (1, 20_201, 75_200), (2, 19_902, 124_900)];
        for (index, stamp_ns, sent_ns) in fresh {
            watch.observe(index, 1, stamp_ns, sent_ns);
            told.extend(watch.stood_still());
        }
        let length: u64 = told.iter().sum();
        assert!((4_980..=5_020).contains(&length), "{told:?}");
        for step in 1..20 {
            assert_eq!(round(&mut watch, 25_500 + step * INTERVAL, 20_500 + step * INTERVAL, [3, 1, 2]), None);
        }
    }

    #[test]
    fn a_link_that_has_fallen_alone_is_taken_as_it_is_after_a_while() {
        let mut watch = ClockWatch::new(INTERVAL, SLACK);
        let beat = |watch: &mut ClockWatch, step: u64, jump: u64| {
            let now = 10_000 + step * INTERVAL;
            for (index, ahead) in [(0, jump), (1, 50_000), (2, 100_000)] {
                watch.observe(index, 1, now, now + ahead);
            }
            watch.stood_still()
        };
        for step in 0..10 {
            assert_eq!(beat(&mut watch, step, 0), None);
        }
        for step in 10..40 {
            assert_eq!(beat(&mut watch, step, 7_000), None);
        }
        assert!(watch.links.values().all(|link| link.fall_ns() == 0), "{watch:?}");
    }
}
