//! What is told of refused datagrams: heartbeats that the kernel or the reactor refused, control messages that the core did.

use std::collections::BTreeMap;

use heartbeat_common::reject::Reject;
use heartbeat_membership::Refusal;

use super::{announce::announce, source::NodeSource};
use crate::{
    clock,
    event::{Burst, BurstLimiter, Draft, kind},
};

/// Whoever restarts beats and speaks with an unproven incarnation until the handshake is through, and views differ while one
/// is being installed: that is no news. What goes on for this long is.
const LASTING_NS: u64 = 5_000_000_000;

/// Refusals of the core that say something about who sent it; the others are a part of every regroup. `true`: told only if
/// it lasts.
const CORE: [(Refusal, &str, bool); 13] = [
    (Refusal::UnknownPeer, "control_unknown_peer", false),
    (Refusal::UnknownNetwork, "control_unknown_network", false),
    (Refusal::UnknownKind, "control_unknown_kind", false),
    (Refusal::Malformed, "control_malformed", false),
    (Refusal::IncarnationMismatch, "control_incarnation_mismatch", false),
    (Refusal::LowerIncarnation, "control_lower_incarnation", false),
    (Refusal::Duplicate, "control_duplicate", false),
    (Refusal::TooOld, "control_too_old", false),
    (Refusal::BadDecision, "control_bad_decision", false),
    (Refusal::OtherIncarnation, "control_other_incarnation", true),
    (Refusal::NotAccepted, "control_not_accepted", true),
    (Refusal::NotMember, "control_not_member", true),
    (Refusal::OtherView, "control_other_view", true),
];

/// Counters that are looked at from time to time.
pub(super) struct Refusals {
    heartbeats: BurstLimiter<{ Reject::COUNT }>,
    unproven: Lasting,
    control: BurstLimiter<{ CORE.len() }>,
    lasting: [Lasting; CORE.len()],
}

impl Refusals {
    /// What was counted before is not told again.
    pub(super) fn new(heartbeats: [u64; Reject::COUNT]) -> Self {
        Self {
            heartbeats: BurstLimiter::new(heartbeats),
            unproven: Lasting::new(heartbeats[Reject::WrongIncarnation as usize]),
            control: BurstLimiter::new([0; CORE.len()]),
            lasting: [Lasting::new(0); CORE.len()],
        }
    }

    /// Tells what has moved: 9004, at most once in 10 s for each reason.
    pub(super) fn tell(&mut self, source: &NodeSource) {
        let now_ns = clock::monotonic_ns();
        let (totals, _) = source.counts();
        let refused = source.snapshot().map(|snapshot| snapshot.refused).unwrap_or_default();
        for draft in self.look_at_heartbeats(&totals, now_ns).into_iter().chain(self.look_at_core(&refused, now_ns)) {
            announce(source.log(), draft);
        }
    }

    fn look_at_heartbeats(&mut self, totals: &[u64; Reject::COUNT], now_ns: u64) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for (reason, total) in Reject::ALL.into_iter().zip(*totals) {
            if reason == Reject::WrongIncarnation && !self.unproven.lasts(total, now_ns) {
                continue;
            }
            let burst = self.heartbeats.observe(reason as usize, total, now_ns);
            drafts.extend(burst.map(|burst| draft(reason.name(), burst, total, now_ns)));
        }
        drafts
    }

    fn look_at_core(&mut self, refused: &BTreeMap<Refusal, u64>, now_ns: u64) -> Vec<Draft> {
        let mut drafts = Vec::new();
        for (place, ((refusal, name, must_last), lasting)) in CORE.iter().zip(&mut self.lasting).enumerate() {
            let total = refused.get(refusal).copied().unwrap_or_default();
            if *must_last && !lasting.lasts(total, now_ns) {
                continue;
            }
            let burst = self.control.observe(place, total, now_ns);
            drafts.extend(burst.map(|burst| draft(name, burst, total, now_ns)));
        }
        drafts
    }
}

fn draft(reason: &str, burst: Burst, total: u64, now_ns: u64) -> Draft {
    let text = format!("{} datagrams refused: {reason}", burst.count);
    let mut draft = Draft::new(&kind::REJECT_BURST, now_ns, text);
    draft.detail = serde_json::json!({
        "reason": reason, "count": burst.count, "total": total, "since_ns": burst.since_ns,
    });
    draft
}

/// How long a counter has been moving.
#[derive(Debug, Clone, Copy)]
struct Lasting {
    total: u64,
    since_ns: Option<u64>,
    moved_ns: u64,
}

impl Lasting {
    fn new(total: u64) -> Self {
        Self { total, since_ns: None, moved_ns: 0 }
    }

    fn lasts(&mut self, total: u64, now_ns: u64) -> bool {
        if total != self.total {
            self.total = total;
            self.moved_ns = now_ns;
            self.since_ns.get_or_insert(now_ns);
        } else if now_ns.saturating_sub(self.moved_ns) >= LASTING_NS {
            self.since_ns = None;
        }
        self.since_ns.is_some_and(|since_ns| self.moved_ns.saturating_sub(since_ns) >= LASTING_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn reasons(drafts: &[Draft]) -> Vec<&str> {
        drafts.iter().filter_map(|draft| draft.detail["reason"].as_str()).collect()
    }

    #[test]
    fn a_restart_is_no_news_and_a_peer_that_stays_unproven_is() {
        let mut unproven = Lasting::new(0);
        for second in 0..3 {
            assert!(!unproven.lasts(2 + second, second * SECOND));
        }
        for second in 3..20 {
            assert!(!unproven.lasts(5, second * SECOND), "it has ended");
        }
        for second in 20..25 {
            assert!(!unproven.lasts(second, second * SECOND));
        }
        assert!(unproven.lasts(25, 25 * SECOND));
    }

    #[test]
    fn refused_control_messages_are_told_once_in_ten_seconds_for_each_reason() {
        let mut refusals = Refusals::new([0; Reject::COUNT]);
        let mut told = Vec::new();
        let mut counted = 0;
        for second in 1..=20 {
            let refused = BTreeMap::from([(Refusal::Malformed, 3 * second), (Refusal::StaleAnswer, second)]);
            let drafts = refusals.look_at_core(&refused, second * SECOND);
            assert!(drafts.iter().all(|draft| draft.kind.id == kind::REJECT_BURST.id));
            counted += drafts.iter().filter_map(|draft| draft.detail["count"].as_u64()).sum::<u64>();
            told.extend(reasons(&drafts).into_iter().map(|reason| (second, reason.to_owned())));
        }
        assert_eq!(told, [(1, "control_malformed".to_owned()), (11, "control_malformed".to_owned())]);
        assert_eq!(counted, 3 * 11, "the event says how many came since the one before");
    }

    #[test]
    fn each_core_refusal_has_a_name_of_its_own() {
        for (place, (refusal, name, _)) in CORE.iter().enumerate() {
            let word = serde_json::to_value(refusal).unwrap();
            assert_eq!(format!("control_{}", word.as_str().unwrap()), *name);
            assert!(CORE[place + 1..].iter().all(|(other, ..)| other != refusal), "{name} twice");
        }
    }

    #[test]
    fn a_member_that_was_removed_and_goes_on_speaking_is_told() {
        let mut refusals = Refusals::new([0; Reject::COUNT]);
        let mut look = |second: u64, total: u64| {
            let refused = BTreeMap::from([(Refusal::NotAccepted, total)]);
            refusals.look_at_core(&refused, second * SECOND).len()
        };
        assert_eq!((1..3).map(|second| look(second, second)).sum::<usize>(), 0, "a restart");
        assert_eq!((3..20).map(|second| look(second, 2)).sum::<usize>(), 0, "it has ended");
        assert_eq!((20..26).map(|second| look(second, second)).sum::<usize>(), 1, "five seconds of it");
    }
}
