//! The witness: one record outside of the nodes, a chain of epochs, each created by exactly one node.
//!
//! Whoever created the newest epoch holds the witness's vote for `record_lease`, counted from when its operation
//! *started*: a success that arrives a minute late is worth nothing. Others may create the next epoch once they have seen
//! the newest one unchanged for that time, and the difference of two clocks, on their own clock: by then the vote has
//! lapsed, whatever its holder believes. A record also names the view that it was taken for. Nobody who is behind that
//! view may take it: the witness has decided for others.
//!
//! A member that does not hold the record counts the vote only together with the holder, a member of its own view: as of
//! the older of the holder's newest echo and the last moment at which the present epoch is known not to have existed.

use serde::{Deserialize, Serialize};

use crate::ids::{Incarnation, NodeId};
use crate::time::{Now, SECOND_NS};

/// Shortest, and default, `record_lease`.
pub const MIN_RECORD_LEASE_NS: u64 = 5 * SECOND_NS;

/// A record is renewed, and looked at, this many times within a lease: half of the operations may fail or be slow.
const LOOKS_PER_LEASE: u64 = 8;

/// What the driver is to ask the witness. One request is outstanding at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum WitnessRequest {
    /// The newest epoch.
    Read,
    /// Create the epoch behind this one, if it is still the newest.
    Advance {
        /// The newest epoch that this node knows; 0 = none yet.
        from_epoch: u64,
        /// What to write into the next one.
        holder: WitnessHolder,
    },
}

/// Who created an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessHolder {
    /// The node.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Number of the view that it took or renewed the record for.
    pub view: u64,
}

/// The answer to a [`WitnessRequest`]; it may come any time later, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessAnswer {
    /// Both clocks when the operation started.
    pub started: Now,
    /// What came of it.
    pub outcome: WitnessOutcome,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "came-of-it", rename_all = "kebab-case")]
pub enum WitnessOutcome {
    /// The newest epoch: the answer to a read, and to an advance that somebody else won.
    Standing {
        /// Its number; 0 = there is none yet.
        epoch: u64,
        /// Who created it; `None` where there is none, or where it cannot be read: then somebody unknown holds it.
        holder: Option<WitnessHolder>,
    },
    /// This node created this epoch.
    Won {
        /// Its number.
        epoch: u64,
    },
    /// The witness could not be asked; nothing is known, least of all that nobody holds the record.
    Failed,
}

/// State of the witness as this node knows it, for status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessSnapshot {
    /// The newest epoch that was seen; absent before the first answer.
    pub epoch: Option<u64>,
    /// Who holds it.
    pub holder: Option<WitnessHolder>,
    /// The vote counts for this node now.
    pub counts: bool,
    /// When the vote lapses unless it is renewed, `CLOCK_BOOTTIME`; 0 = not held here.
    pub until_boot_ns: u64,
    /// Operations that failed since the last success.
    pub failures: u32,
}

/// Evidence for a vote of the witness within a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// `CLOCK_MONOTONIC`, moved so that the vote lapses one lease of heartbeats later.
    pub(crate) since_ns: u64,
    /// The vote counts only as long as this node's echoes do; `None` = it is held here.
    pub(crate) with: Option<NodeId>,
}

/// What one node knows of the record, and its own hold on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Witness {
    lease_ns: u64,
    newest: Option<Seen>,
    held: Option<Held>,
    outstanding: Option<WitnessRequest>,
    next_ns: u64,
    failures: u32,
}

/// The newest epoch, as seen from here. Times are `CLOCK_MONOTONIC`: it does not run while the machine is suspended, which
/// only makes this node wait for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    epoch: u64,
    holder: Option<WitnessHolder>,
    /// When the first answer that showed it arrived: it had been created by then.
    since_ns: u64,
    /// When the last operation started that showed an earlier one: it was created later. 0 = unknown.
    after_ns: u64,
    /// When the newest operation that showed it had started.
    looked_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    epoch: u64,
    started: Now,
    holder: WitnessHolder,
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that anybody must be told.
    None,
    /// This node holds the record, and did not before.
    Taken,
    /// This node held the record, and another does now.
    Lost,
}

impl Witness {
    pub(crate) fn new(lease_ns: u64, now: Now) -> Self {
        Self {
            lease_ns: lease_ns.max(MIN_RECORD_LEASE_NS),
            newest: None,
            held: None,
            outstanding: None,
            next_ns: now.mono_ns,
            failures: 0,
        }
    }

    /// Another record lease, from the next operation on.
    pub(crate) fn set_lease_ns(&mut self, lease_ns: u64) {
        self.lease_ns = lease_ns.max(MIN_RECORD_LEASE_NS);
    }

    /// The clock stood still, or a new life began: nothing that was held counts.
    pub(crate) fn void(&mut self) {
        self.held = None;
    }

    /// Whether the vote is held here at this moment.
    pub(crate) fn is_held(&self, now: Now) -> bool {
        self.held.is_some_and(|held| now.boot_ns < held.started.boot_ns.saturating_add(self.lease_ns))
    }

    /// Whether it is held here and was taken or renewed for this view, or a later one.
    pub(crate) fn is_held_for(&self, view: u64, now: Now) -> bool {
        self.is_held(now) && self.held.is_some_and(|held| held.holder.view >= view)
    }

    /// Who holds the newest epoch, as far as known.
    pub(crate) fn holder(&self) -> Option<WitnessHolder> {
        self.newest.and_then(|newest| newest.holder)
    }

    /// The view that the newest record was taken for; 0 = none.
    pub(crate) fn view(&self) -> u64 {
        self.holder().map_or(0, |holder| holder.view)
    }

    /// Whether others have moved the record to a view that `base` is behind: nobody in `base` may take it.
    pub(crate) fn is_beyond(&self, base: u64, local: NodeId) -> bool {
        self.holder().is_some_and(|holder| holder.node != local && holder.view > base)
    }

    /// When this node may take the record: at once if nobody has it, if an earlier life of this node has it, or if its
    /// holder has told that it let it go; else when it has been unchanged for long enough. `None` = not known yet.
    pub(crate) fn free_at_ns(&self, local: NodeId, released: bool) -> Option<u64> {
        let newest = self.newest?;
        let own = newest.holder.is_some_and(|holder| holder.node == local);
        if newest.epoch == 0 || own || (released && newest.holder.is_some()) {
            return Some(0);
        }
        // Two clocks that each keep within 1 % of true time differ by at most 2.1 %.
        Some(newest.since_ns.saturating_add(self.lease_ns).saturating_add(self.lease_ns / 1000 * 21))
    }

    /// Evidence for a lease of `lease_ns`. `members` tells whether a holder is in the view of this node.
    pub(crate) fn proof(
        &self,
        local: (NodeId, Incarnation),
        members: impl Fn(NodeId, Incarnation) -> bool,
        floor_ns: u64,
        lease_ns: u64,
    ) -> Option<Proof> {
        let moved = |from_ns: u64| from_ns.saturating_add(self.lease_ns).saturating_sub(lease_ns);
        if let Some(held) = self.held {
            let own = (held.holder.node, held.holder.incarnation) == local && held.started.mono_ns >= floor_ns;
            return own.then(|| Proof { since_ns: moved(held.started.mono_ns), with: None });
        }
        let newest = self.newest?;
        let holder = newest.holder.filter(|holder| holder.node != local.0)?;
        let counts = members(holder.node, holder.incarnation) && newest.after_ns >= floor_ns && newest.after_ns > 0;
        counts.then(|| Proof { since_ns: moved(newest.after_ns), with: Some(holder.node) })
    }

    /// What to ask now, if anything: `take` = this node is to hold the record for this view.
    pub(crate) fn poll(
        &mut self,
        now: Now,
        local: (NodeId, Incarnation),
        take: Option<u64>,
        released: bool,
    ) -> Option<WitnessRequest> {
        if self.outstanding.is_some() || now.mono_ns < self.due_ns(now, local.0, take, released) {
            return None;
        }
        let free = self.free_at_ns(local.0, released).is_some_and(|free_ns| free_ns <= now.mono_ns);
        let request = match (take, self.newest) {
            (Some(view), Some(newest)) if free => {
                let view = view.max(self.held.map_or(0, |held| held.holder.view));
                let holder = WitnessHolder { node: local.0, incarnation: local.1, view };
                WitnessRequest::Advance { from_epoch: newest.epoch, holder }
            }
            (_, _) => WitnessRequest::Read,
        };
        self.outstanding = Some(request);
        self.next_ns = now.mono_ns.saturating_add(self.pause_ns());
        Some(request)
    }

    /// When [`Self::poll`] has something to ask; `u64::MAX` while a request is outstanding.
    pub(crate) fn due_ns(&self, now: Now, local: NodeId, take: Option<u64>, released: bool) -> u64 {
        if self.outstanding.is_some() {
            return u64::MAX;
        }
        let Some(view) = take else { return self.next_ns };
        let unwritten = self.held.is_none_or(|held| held.holder.view < view) || !self.is_held(now);
        match self.free_at_ns(local, released) {
            // A record that can be had is asked for at once, but not again and again where that fails.
            Some(free_ns) if unwritten && self.failures == 0 => free_ns.max(self.next_try_ns()).min(self.next_ns),
            Some(_) | None => self.next_ns,
        }
    }

    /// Takes an answer.
    pub(crate) fn answered(&mut self, now: Now, local: (NodeId, Incarnation), answer: &WitnessAnswer) -> Change {
        let asked = self.outstanding.take();
        let was_held = self.held.is_some();
        match answer.outcome {
            WitnessOutcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                return Change::None;
            }
            WitnessOutcome::Standing { epoch, holder } => self.saw(now, answer.started, epoch, holder),
            WitnessOutcome::Won { epoch } => {
                let Some(WitnessRequest::Advance { holder, from_epoch }) = asked else { return Change::None };
                if epoch != from_epoch.saturating_add(1) {
                    return Change::None;
                }
                self.saw(now, answer.started, epoch, Some(holder));
                // An earlier life of this node asked: nothing is held, but nobody else has it either.
                if (holder.node, holder.incarnation) == local {
                    self.held = Some(Held { epoch, started: answer.started, holder });
                }
            }
        }
        self.failures = 0;
        match (was_held, self.held.is_some()) {
            (false, true) => Change::Taken,
            (true, false) => Change::Lost,
            (true, true) | (false, false) => Change::None,
        }
    }

    pub(crate) fn snapshot(&self, counts: bool) -> WitnessSnapshot {
        WitnessSnapshot {
            epoch: self.newest.map(|newest| newest.epoch),
            holder: self.holder(),
            counts,
            until_boot_ns: self.held.map_or(0, |held| held.started.boot_ns.saturating_add(self.lease_ns)),
            failures: self.failures,
        }
    }

    fn saw(&mut self, now: Now, started: Now, epoch: u64, holder: Option<WitnessHolder>) {
        let after_ns = match self.newest {
            // What started earlier than what is known to be newer says nothing.
            Some(newest) if epoch < newest.epoch => return,
            Some(newest) if epoch == newest.epoch => {
                let looked_ns = newest.looked_ns.max(started.mono_ns);
                self.newest = Some(Seen { looked_ns, ..newest });
                return;
            }
            Some(newest) => newest.looked_ns,
            None => 0,
        };
        if self.held.is_some_and(|held| held.epoch < epoch) {
            self.held = None;
        }
        self.newest = Some(Seen { epoch, holder, since_ns: now.mono_ns, after_ns, looked_ns: started.mono_ns });
    }

    fn pause_ns(&self) -> u64 {
        self.lease_ns / LOOKS_PER_LEASE
    }

    /// A claim that was lost, or a record that must be written again, is not tried more often than this.
    fn next_try_ns(&self) -> u64 {
        self.next_ns.saturating_sub(self.pause_ns()).saturating_add(self.pause_ns() / 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = SECOND_NS;
    const A: (NodeId, Incarnation) = (NodeId(1), Incarnation(10));
    const B: (NodeId, Incarnation) = (NodeId(2), Incarnation(20));

    fn at(seconds: u64) -> Now {
        Now { mono_ns: seconds * S, boot_ns: seconds * S }
    }

    fn by(who: (NodeId, Incarnation), view: u64) -> WitnessHolder {
        WitnessHolder { node: who.0, incarnation: who.1, view }
    }

    fn shows(witness: &mut Witness, started: u64, now: u64, epoch: u64, holder: Option<WitnessHolder>) -> Change {
        let outcome = WitnessOutcome::Standing { epoch, holder };
        witness.answered(at(now), A, &WitnessAnswer { started: at(started), outcome })
    }

    #[test]
    fn a_record_that_nobody_has_is_taken_and_counts_from_the_start_of_the_operation() {
        let mut witness = Witness::new(5 * S, at(10));
        assert_eq!(witness.poll(at(10), A, Some(7), false), Some(WitnessRequest::Read));
        assert_eq!(witness.poll(at(11), A, Some(7), false), None, "one request at a time");
        assert_eq!(shows(&mut witness, 10, 12, 0, None), Change::None);
        let request = WitnessRequest::Advance { from_epoch: 0, holder: by(A, 7) };
        assert_eq!(witness.poll(at(12), A, Some(7), false), Some(request));
        let won = WitnessAnswer { started: at(12), outcome: WitnessOutcome::Won { epoch: 1 } };
        assert_eq!(witness.answered(at(14), A, &won), Change::Taken);
        assert!(witness.is_held(at(16)) && !witness.is_held(at(17)));
        assert!(witness.is_held_for(7, at(16)) && !witness.is_held_for(8, at(16)));
        let proof = witness.proof(A, |_, _| false, 0, 2 * S);
        assert_eq!(proof, Some(Proof { since_ns: 15 * S, with: None }), "15 + 2 = 12 + 5");
        assert_eq!(witness.proof(A, |_, _| false, 13 * S, 2 * S), None, "it was taken before the clock stood still");
    }

    #[test]
    fn a_success_that_arrives_a_minute_late_is_worth_nothing() {
        let mut witness = Witness::new(5 * S, at(10));
        witness.poll(at(10), A, Some(7), false);
        shows(&mut witness, 10, 10, 0, None);
        witness.poll(at(11), A, Some(7), false);
        let won = WitnessAnswer { started: at(11), outcome: WitnessOutcome::Won { epoch: 1 } };
        witness.answered(at(71), A, &won);
        assert!(!witness.is_held(at(71)));
        // But it is this node's own record, which it may renew at once.
        let request = WitnessRequest::Advance { from_epoch: 1, holder: by(A, 7) };
        assert_eq!(witness.poll(at(72), A, Some(7), false), Some(request));
    }

    #[test]
    fn what_another_holds_is_taken_once_it_was_unchanged_for_the_lease_and_two_clocks() {
        let mut witness = Witness::new(10 * S, at(10));
        witness.poll(at(10), A, Some(7), false);
        shows(&mut witness, 10, 13, 4, Some(by(B, 7)));
        assert_eq!(witness.free_at_ns(A.0, false), Some(13 * S + 10_210_000_000), "from the arrival of the answer");
        assert_eq!(witness.poll(at(22), A, Some(7), false), Some(WitnessRequest::Read));
        shows(&mut witness, 22, 22, 4, Some(by(B, 7)));
        let request = WitnessRequest::Advance { from_epoch: 4, holder: by(A, 8) };
        assert_eq!(witness.poll(at(24), A, Some(8), false), Some(request));
        // The holder was faster: the wait begins anew.
        shows(&mut witness, 24, 25, 5, Some(by(B, 8)));
        assert_eq!(witness.free_at_ns(A.0, false), Some(25 * S + 10_210_000_000));
        assert!(witness.is_beyond(7, A.0) && !witness.is_beyond(8, A.0));
        assert_eq!(witness.free_at_ns(A.0, true), Some(0), "the holder let it go");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_somebodys() {
        let mut witness = Witness::new(5 * S, at(10));
        witness.poll(at(10), A, Some(7), false);
        shows(&mut witness, 10, 10, 4, None);
        assert_eq!(witness.free_at_ns(A.0, true), Some(10 * S + 5_105_000_000));
    }

    #[test]
    fn whoever_does_not_hold_it_counts_it_from_when_the_epoch_did_not_exist_and_with_the_holder_alone() {
        let mut witness = Witness::new(5 * S, at(10));
        shows(&mut witness, 10, 11, 4, Some(by(B, 7)));
        assert_eq!(witness.proof(A, |_, _| true, 0, 2 * S), None, "the epoch may be old");
        shows(&mut witness, 12, 13, 4, Some(by(B, 7)));
        shows(&mut witness, 14, 15, 5, Some(by(B, 7)));
        let proof = witness.proof(A, |id, incarnation| (id, incarnation) == B, 0, 2 * S);
        assert_eq!(proof, Some(Proof { since_ns: (12 + 5 - 2) * S, with: Some(NodeId(2)) }));
        assert_eq!(witness.proof(A, |_, _| false, 0, 2 * S), None, "the holder is in another view");
        // An older answer that was overtaken changes nothing.
        shows(&mut witness, 9, 16, 3, Some(by(A, 9)));
        assert_eq!(witness.holder(), Some(by(B, 7)));
    }

    #[test]
    fn what_others_took_is_not_held_any_more() {
        let mut witness = Witness::new(5 * S, at(10));
        shows(&mut witness, 10, 10, 0, None);
        witness.poll(at(11), A, Some(7), false);
        let won = WitnessAnswer { started: at(11), outcome: WitnessOutcome::Won { epoch: 1 } };
        witness.answered(at(11), A, &won);
        assert_eq!(shows(&mut witness, 12, 12, 2, Some(by(B, 8))), Change::Lost);
        assert!(!witness.is_held(at(12)));
    }

    #[test]
    fn an_earlier_life_that_won_leaves_a_record_that_this_one_may_take() {
        let mut witness = Witness::new(5 * S, at(10));
        shows(&mut witness, 10, 10, 0, None);
        witness.poll(at(11), A, Some(7), false);
        let won = WitnessAnswer { started: at(11), outcome: WitnessOutcome::Won { epoch: 1 } };
        let reborn = (A.0, Incarnation(11));
        assert_eq!(witness.answered(at(12), reborn, &won), Change::None);
        assert!(!witness.is_held(at(12)));
        assert_eq!(witness.free_at_ns(A.0, false), Some(0));
    }

    #[test]
    fn failures_are_not_tried_again_at_once() {
        let mut witness = Witness::new(8 * S, at(10));
        let mut asked = 0;
        for now in 10..30 {
            if witness.poll(at(now), A, Some(1), false).is_some() {
                asked += 1;
                let failed = WitnessAnswer { started: at(now), outcome: WitnessOutcome::Failed };
                witness.answered(at(now), A, &failed);
            }
        }
        assert_eq!(asked, 20, "one each second, an eighth of the lease");
        assert_eq!(witness.snapshot(false).failures, 20);
    }
}
