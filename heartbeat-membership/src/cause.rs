//! Why a link had been late: decided when it is heard again, from both clocks and the sequence numbers.

use crate::config::Timing;
use crate::event::Cause;
use crate::input::{LocalStall, Restored};

/// The cause of the gap that `restored` ends; `None` on first contact or where the evidence is missing.
pub(crate) fn of_lateness(restored: &Restored, stall: Option<&LocalStall>, timing: &Timing) -> Option<Cause> {
    if restored.first || restored.previous_stamp_ns == 0 {
        return None;
    }
    let stalled = stall.is_some_and(|stall| {
        let began_ns = stall.at_ns.saturating_sub(stall.length_ns);
        stall.at_ns > restored.previous_stamp_ns && began_ns < restored.stamp_ns
    });
    if stalled {
        return Some(Cause::HandledLateHere);
    }
    if restored.sent_ns == 0 || restored.previous_sent_ns == 0 {
        return None;
    }
    let sent_gap_ns = restored.sent_ns.saturating_sub(restored.previous_sent_ns);
    let longest_regular_ns = timing.interval_ns.saturating_add(timing.slack_ns());
    Some(Cause::of_gap(sent_gap_ns, restored.lost, longest_regular_ns))
}

impl Cause {
    /// The cause of a gap between two arrivals that was too long, by the time between the moments when they were sent and the
    /// sequence numbers lost in between, where a sender in time takes at most `longest_regular_ns`. Stalls of this machine
    /// are not its business.
    #[must_use]
    pub fn of_gap(sent_gap_ns: u64, lost: u64, longest_regular_ns: u64) -> Self {
        if sent_gap_ns / lost.saturating_add(1) > longest_regular_ns {
            Self::SentLate
        } else if lost > 0 {
            Self::LostOnTheWay
        } else {
            Self::DelayedOnTheWay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{NetworkId, NodeId};
    use crate::input::StallSource;
    use crate::time::MILLISECOND_NS as MS;

    fn timing() -> Timing {
        Timing { interval_ns: 100 * MS, late_after: 2, lost_after: 6, grace_ns: 0, hang_timeout_ns: 0 }
    }

    fn gap(arrived_ms: u64, sent_ms: u64, lost: u64) -> Restored {
        Restored {
            peer: NodeId(2),
            network: NetworkId(1),
            stamp_ns: (1_000 + arrived_ms) * MS,
            first: false,
            previous_stamp_ns: 1_000 * MS,
            sent_ns: (5_000 + sent_ms) * MS,
            previous_sent_ns: 5_000 * MS,
            lost,
        }
    }

    #[test]
    fn each_cause_is_told_apart() {
        assert_eq!(of_lateness(&gap(400, 400, 0), None, &timing()), Some(Cause::SentLate));
        assert_eq!(of_lateness(&gap(400, 400, 3), None, &timing()), Some(Cause::LostOnTheWay));
        assert_eq!(of_lateness(&gap(400, 100, 0), None, &timing()), Some(Cause::DelayedOnTheWay));
        let first = Restored { first: true, ..gap(400, 400, 0) };
        assert_eq!(of_lateness(&first, None, &timing()), None);
        let unknown = Restored { sent_ns: 0, ..gap(400, 400, 0) };
        assert_eq!(of_lateness(&unknown, None, &timing()), None);
    }

    #[test]
    fn only_a_stall_inside_the_gap_counts() {
        let stall = |at_ms: u64| LocalStall {
            length_ns: 100 * MS,
            at_ns: at_ms * MS,
            source: StallSource::Machine,
            budget_spent: false,
        };
        assert_eq!(of_lateness(&gap(400, 400, 3), Some(&stall(1_300)), &timing()), Some(Cause::HandledLateHere));
        assert_eq!(of_lateness(&gap(400, 400, 3), Some(&stall(1_000)), &timing()), Some(Cause::LostOnTheWay));
        assert_eq!(of_lateness(&gap(400, 400, 3), Some(&stall(1_600)), &timing()), Some(Cause::LostOnTheWay));
    }
}
