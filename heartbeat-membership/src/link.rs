//! One link: one peer on one network, as the judge's verdicts describe it.
//!
//! ```text
//!            heard                    late                 silent
//!   init ------------> up ----------------------> late ------------> silent
//!     |   1122          ^  1123                    |  ^                |
//!     | late, silent    |          heard 1122      |  |  heard again   |
//!     | 1123            +--------------------------+  +----------------+
//!     +--> late, silent +------------- heard 1122 ---------------------+
//!   any --- reset ---> init, without an event
//! ```

use serde::{Deserialize, Serialize};

/// State of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Nothing accepted from this incarnation of the peer yet.
    Init,
    /// Heartbeats arrive in time.
    Up,
    /// No heartbeat for `late_after` intervals on this network.
    Late,
    /// The peer is silent on every internal and mixed network.
    Silent,
}

/// What can happen to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkEvent {
    /// A heartbeat was accepted on this network, the first or the first after lateness.
    Heard,
    /// The judge found the link late.
    Late,
    /// The judge found the peer silent.
    Silent,
    /// The peer was heard again on some network.
    HeardAgain,
    /// Another incarnation is accepted, or none.
    Reset,
}

/// What an operator is told about a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEdge {
    /// Nothing.
    Quiet,
    /// 1123: an episode of lateness began.
    Lost,
    /// 1122: contact was made or made again.
    Restored,
}

/// The whole transition table.
#[must_use]
pub fn transition(state: LinkState, event: LinkEvent) -> (LinkState, LinkEdge) {
    match (state, event) {
        (LinkState::Init, LinkEvent::Heard) => (LinkState::Up, LinkEdge::Restored),
        (LinkState::Init, LinkEvent::Late) => (LinkState::Late, LinkEdge::Lost),
        (LinkState::Init, LinkEvent::Silent) => (LinkState::Silent, LinkEdge::Lost),
        (LinkState::Init, LinkEvent::HeardAgain) => (LinkState::Init, LinkEdge::Quiet),
        (LinkState::Init, LinkEvent::Reset) => (LinkState::Init, LinkEdge::Quiet),

        (LinkState::Up, LinkEvent::Heard) => (LinkState::Up, LinkEdge::Quiet),
        (LinkState::Up, LinkEvent::Late) => (LinkState::Late, LinkEdge::Lost),
        // The record of lateness was lost: the episode is announced all the same.
        (LinkState::Up, LinkEvent::Silent) => (LinkState::Silent, LinkEdge::Lost),
        (LinkState::Up, LinkEvent::HeardAgain) => (LinkState::Up, LinkEdge::Quiet),
        (LinkState::Up, LinkEvent::Reset) => (LinkState::Init, LinkEdge::Quiet),

        (LinkState::Late, LinkEvent::Heard) => (LinkState::Up, LinkEdge::Restored),
        (LinkState::Late, LinkEvent::Late) => (LinkState::Late, LinkEdge::Quiet),
        (LinkState::Late, LinkEvent::Silent) => (LinkState::Silent, LinkEdge::Quiet),
        (LinkState::Late, LinkEvent::HeardAgain) => (LinkState::Late, LinkEdge::Quiet),
        (LinkState::Late, LinkEvent::Reset) => (LinkState::Init, LinkEdge::Quiet),

        (LinkState::Silent, LinkEvent::Heard) => (LinkState::Up, LinkEdge::Restored),
        (LinkState::Silent, LinkEvent::Late) => (LinkState::Silent, LinkEdge::Quiet),
        (LinkState::Silent, LinkEvent::Silent) => (LinkState::Silent, LinkEdge::Quiet),
        (LinkState::Silent, LinkEvent::HeardAgain) => (LinkState::Late, LinkEdge::Quiet),
        (LinkState::Silent, LinkEvent::Reset) => (LinkState::Init, LinkEdge::Quiet),
    }
}

/// A link with what is needed to tell a repeated or overtaken verdict from a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) state: LinkState,
    pub(crate) since_ns: u64,
    /// Stamp of the heartbeat that last brought the link up.
    restored_stamp_ns: u64,
    /// Newest stamp when the link was last found late or silent.
    lost_stamp_ns: u64,
    /// Verdicts about anything older concern an earlier incarnation.
    floor_ns: u64,
}

impl Link {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { state: LinkState::Init, since_ns: now_ns, restored_stamp_ns: 0, lost_stamp_ns: 0, floor_ns: 0 }
    }

    pub(crate) fn adopted(state: LinkState, stamp_ns: u64, now_ns: u64) -> Self {
        let mut link = Self::new(now_ns);
        link.state = state;
        match state {
            LinkState::Init => {}
            LinkState::Up => link.restored_stamp_ns = stamp_ns,
            LinkState::Late | LinkState::Silent => link.lost_stamp_ns = stamp_ns,
        }
        link
    }

    /// Another incarnation, or none, is accepted from now on.
    pub(crate) fn reset(&mut self, now_ns: u64, slack_ns: u64) {
        let (state, _) = transition(self.state, LinkEvent::Reset);
        // Stamps of the socket dataplane are converted from another clock: they may lie a little before `now`.
        *self = Self { state, floor_ns: now_ns.saturating_sub(slack_ns), ..Self::new(now_ns) };
    }

    /// A heartbeat stamped `stamp_ns` began an episode of being heard.
    pub(crate) fn heard(&mut self, stamp_ns: u64, now_ns: u64) -> LinkEdge {
        let overtaken = match self.state {
            LinkState::Init | LinkState::Up => false,
            LinkState::Late | LinkState::Silent => stamp_ns <= self.lost_stamp_ns,
        };
        if overtaken || stamp_ns < self.floor_ns {
            return LinkEdge::Quiet;
        }
        self.restored_stamp_ns = self.restored_stamp_ns.max(stamp_ns);
        self.step(LinkEvent::Heard, now_ns)
    }

    /// The judge found the link late; `stamp_ns` was its newest stamp then, 0 for none.
    pub(crate) fn late(&mut self, stamp_ns: u64, judged_ns: u64, now_ns: u64) -> LinkEdge {
        self.lost(LinkEvent::Late, stamp_ns, judged_ns, now_ns)
    }

    /// The judge found the peer silent; `stamp_ns` was its newest stamp then, 0 for none.
    pub(crate) fn silent(&mut self, stamp_ns: u64, judged_ns: u64, now_ns: u64) -> LinkEdge {
        self.lost(LinkEvent::Silent, stamp_ns, judged_ns, now_ns)
    }

    pub(crate) fn heard_again(&mut self, now_ns: u64) {
        self.step(LinkEvent::HeardAgain, now_ns);
    }

    /// Whether it is not up, or came up after lateness since `since_ns`.
    pub(crate) fn is_weak(&self, since_ns: u64) -> bool {
        self.state != LinkState::Up || (self.lost_stamp_ns != 0 && self.since_ns >= since_ns)
    }

    /// Whether the peer is heard here, as far as membership is concerned: lateness is a warning, silence is a verdict.
    pub(crate) fn is_heard(&self) -> bool {
        match self.state {
            LinkState::Up => true,
            // A link that never carried a heartbeat can be late as well.
            LinkState::Late => self.restored_stamp_ns != 0 || self.lost_stamp_ns != 0,
            LinkState::Init | LinkState::Silent => false,
        }
    }

    /// Whether a verdict with this newest stamp was overtaken by what the link has seen since.
    pub(crate) fn overtakes(&self, stamp_ns: u64) -> bool {
        stamp_ns < self.restored_stamp_ns
    }

    fn lost(&mut self, event: LinkEvent, stamp_ns: u64, judged_ns: u64, now_ns: u64) -> LinkEdge {
        if self.overtakes(stamp_ns) || judged_ns < self.floor_ns {
            return LinkEdge::Quiet;
        }
        self.lost_stamp_ns = self.lost_stamp_ns.max(stamp_ns);
        self.step(event, now_ns)
    }

    fn step(&mut self, event: LinkEvent, now_ns: u64) -> LinkEdge {
        let (state, edge) = transition(self.state, event);
        if state != self.state {
            self.state = state;
            self.since_ns = now_ns;
        }
        edge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair, written down a second time in the words of the design.
    #[test]
    fn transition_table() {
        use LinkEdge::{Lost, Quiet, Restored};
        use LinkState::{Init, Late, Silent, Up};
        let table = [
            (Init, [(Up, Restored), (Late, Lost), (Silent, Lost), (Init, Quiet), (Init, Quiet)]),
            (Up, [(Up, Quiet), (Late, Lost), (Silent, Lost), (Up, Quiet), (Init, Quiet)]),
            (Late, [(Up, Restored), (Late, Quiet), (Silent, Quiet), (Late, Quiet), (Init, Quiet)]),
            (Silent, [(Up, Restored), (Silent, Quiet), (Silent, Quiet), (Late, Quiet), (Init, Quiet)]),
        ];
        let events = [LinkEvent::Heard, LinkEvent::Late, LinkEvent::Silent, LinkEvent::HeardAgain, LinkEvent::Reset];
        for (state, row) in table {
            for (event, expected) in events.into_iter().zip(row) {
                assert_eq!(transition(state, event), expected, "{state:?} on {event:?}");
            }
        }
    }

    #[test]
    fn repeated_and_overtaken_verdicts_change_nothing() {
        let mut link = Link::new(0);
        assert_eq!(link.heard(100, 100), LinkEdge::Restored);
        assert_eq!(link.heard(100, 101), LinkEdge::Quiet);
        assert_eq!(link.late(200, 450, 450), LinkEdge::Lost);
        assert_eq!(link.late(200, 450, 451), LinkEdge::Quiet);
        // The record that made it up, read once more: it must not look like a restoration.
        assert_eq!(link.heard(100, 452), LinkEdge::Quiet);
        assert_eq!(link.state, LinkState::Late);
        assert_eq!(link.heard(500, 500), LinkEdge::Restored);
        assert_eq!(link.late(200, 450, 501), LinkEdge::Quiet);
        assert_eq!(link.silent(200, 450, 502), LinkEdge::Quiet);
        assert_eq!(link.state, LinkState::Up);
    }

    #[test]
    fn verdicts_of_an_earlier_incarnation_change_nothing() {
        let mut link = Link::new(0);
        link.heard(1_000, 1_000);
        link.reset(2_000, 100);
        assert_eq!(link.late(0, 1_500, 2_001), LinkEdge::Quiet);
        assert_eq!(link.heard(1_500, 2_002), LinkEdge::Quiet);
        assert_eq!(link.state, LinkState::Init);
        assert_eq!(link.heard(1_950, 2_003), LinkEdge::Restored);
    }

    #[test]
    fn one_heartbeat_between_two_episodes_is_enough() {
        let mut link = Link::new(0);
        link.heard(100, 100);
        assert_eq!(link.late(100, 350, 350), LinkEdge::Lost);
        assert_eq!(link.heard(400, 400), LinkEdge::Restored);
        assert_eq!(link.late(400, 650, 650), LinkEdge::Lost);
        assert_eq!(link.heard(700, 700), LinkEdge::Restored);
    }
}
