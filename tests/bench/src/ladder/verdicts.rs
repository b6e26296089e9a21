//! Which verdicts were true, which false, and how exact they were.

use heartbeat_tests::events::{Event, LINK_LOST};
use serde::Serialize;

use crate::{distribution::Distribution, probe::Gap, removal::NODE_REMOVED};

const QUORUM_LOST: u64 = 1177;

/// Accusations by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// 1123: a link was called late.
    pub late: usize,
    /// 1135: a node was removed.
    pub removed: usize,
    /// 1177: a node stopped.
    pub quorum_lost: usize,
}

impl Counts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.late + self.removed + self.quorum_lost
    }

    fn count(&mut self, event: &Event) {
        match event.id() {
            LINK_LOST => self.late += 1,
            NODE_REMOVED => self.removed += 1,
            QUORUM_LOST => self.quorum_lost += 1,
            _ => {}
        }
    }
}

/// The verdicts of a rung.
#[derive(Clone, Debug, Serialize)]
pub struct Verdicts {
    /// Against nodes and links that nothing was wrong with.
    pub accusations: Counts,
    /// The same, over a time in which the probe saw a CPU stop.
    pub over_stops: Counts,
    /// Of the link that was cut: from the deadline to the judgement.
    pub error: Distribution,
}

impl Verdicts {
    /// Sorts the events of a rung. `is_expected` knows the link that was cut; `silent_ns` is how long a verdict may look
    /// back.
    pub(crate) fn of(events: &[Event], gaps: &[Gap], silent_ns: u64, is_expected: impl Fn(&Event) -> bool) -> Self {
        let (mut accusations, mut over_stops) = (Counts::default(), Counts::default());
        for event in events.iter().filter(|event| !is_expected(event)) {
            let from_ns = event.detail()["stamp_ns"].as_u64().filter(|stamp_ns| *stamp_ns != 0);
            let from_ns = from_ns.unwrap_or_else(|| event.mono_ns().saturating_sub(silent_ns));
            let stopped = gaps.iter().any(|gap| gap.overlaps(from_ns, event.mono_ns()));
            if stopped { &mut over_stops } else { &mut accusations }.count(event);
        }
        let error = |event: &Event| {
            let field = |name: &str| event.detail()[name].as_u64();
            Some(field("judged_ns")?.saturating_sub(field("deadline_ns")?))
        };
        let expected = events.iter().filter(|event| event.id() == LINK_LOST && is_expected(event));
        Self { accusations, over_stops, error: Distribution::of(expected.filter_map(error)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(id: u64, peer: u64, stamp_ns: u64, mono_ns: u64) -> Event {
        let detail = json!({ "stamp_ns": stamp_ns, "deadline_ns": mono_ns - 50, "judged_ns": mono_ns - 20 });
        let line =
            json!({ "id": id, "node": 1, "peer": peer, "mono_ns": mono_ns, "network": "private", "detail": detail });
        Event::from_value(line).expect("an event")
    }

    #[test]
    fn what_is_expected_is_measured_and_the_rest_is_false_unless_a_cpu_stopped() {
        let events = [
            event(LINK_LOST, 2, 1_000, 2_000),
            event(LINK_LOST, 3, 1_000, 2_000),
            event(NODE_REMOVED, 3, 0, 9_000),
            event(QUORUM_LOST, 3, 0, 30_000),
            event(1122, 3, 1, 2_100),
        ];
        let gaps = [Gap { cpu: 0, from_ns: 8_500, to_ns: 8_600 }];
        let verdicts = Verdicts::of(&events, &gaps, 1_000, |event| event.peer() == Some(2));
        assert_eq!(verdicts.accusations, Counts { late: 1, removed: 0, quorum_lost: 1 });
        assert_eq!(verdicts.over_stops, Counts { late: 0, removed: 1, quorum_lost: 0 });
        assert_eq!((verdicts.error.count, verdicts.error.max_ns), (1, 30));
    }
}
