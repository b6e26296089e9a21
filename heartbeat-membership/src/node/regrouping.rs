//! Regroup: what starts one, what moves it on, and what it does at its limits.

use super::{Node, Reason as Wakeup};
use crate::ids::NodeId;
use crate::membership::Membership;
use crate::message::regroup::Reason;
use crate::nodeset::NodeSet;
use crate::regroup::{Stage, StageEvent};
use crate::time::Now;
use crate::view::ViewId;

/// Steps that one input can set off. A regroup passes five stages and may start over once for each of two causes; what
/// is left then is done at the next input or tick.
const MAX_STEPS: usize = 16;

impl Node {
    /// Everything that time, verdicts and messages may have made due.
    pub(super) fn drive_membership(&mut self, now: Now) {
        self.note_who_speaks_the_same();
        for _ in 0..MAX_STEPS {
            if self.is_out_of_membership() {
                return;
            }
            self.check_lease(now);
            let moved = self.notice_losses(now) || self.report_row() || self.advance(now) || self.check_limit(now);
            if !moved {
                break;
            }
        }
        if self.is_out_of_membership() {
            return;
        }
        self.check_removals(now);
        self.drive_networks(now);
        self.install_staged(now);
        self.release_quarantined(now);
        self.drive_witness(now);
        self.seek_admission(now);
        self.publish(now);
    }

    /// Without membership, stopped, or between two lives.
    pub(super) fn is_out_of_membership(&self) -> bool {
        self.stopped || self.membership.as_ref().is_none_or(|membership| membership.halted)
    }

    pub(super) fn membership_timeout(&self) -> Option<(u64, Wakeup)> {
        let membership = self.membership.as_ref().filter(|membership| !membership.halted)?;
        let regroup = &membership.regroup;
        let active = regroup.is_active();
        let tick = active.then_some((regroup.next_tick_ns, Wakeup::RegroupTick));
        let limit = active.then(|| (self.limit_ns(membership), Wakeup::StageLimit));
        let removal = membership.removals.iter().map(|(id, removal)| (removal.due_ns, Wakeup::RemovalSafe(*id))).min();
        let release = membership.quarantine.next_release_ns().map(|due_ns| (due_ns, Wakeup::Admission));
        // A removal that is due waits for a valid lease: the lease wakes the core, not the clock.
        let removal = removal.filter(|(due_ns, _)| *due_ns > self.now.mono_ns);
        [tick, limit, removal, release, self.admission_due(), self.lease_due(), self.networks_due(), self.witness_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Begins a regroup. `lost` are members that are not heard, known only now.
    pub(super) fn begin_regroup(
        &mut self,
        now: Now,
        sequence: u64,
        reason: Reason,
        trigger: Option<NodeId>,
        lost: NodeSet,
    ) {
        let Some(membership) = &mut self.membership else { return };
        membership.regroup.begin(sequence, reason, trigger, now.mono_ns);
        if membership.view.is_none() && membership.regroup.bound.is_none() {
            // Attempts to form have nothing to do with each other.
            membership.regroup.forget_outsiders();
        }
        membership.regroup.unheard = membership.regroup.unheard.or(&lost);
        self.refresh_row();
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.membership.as_ref().map_or(1, |membership| membership.regroup.sequence.saturating_add(1))
    }

    pub(super) fn base(&self) -> ViewId {
        self.membership.as_ref().map_or(ViewId::NONE, |membership| {
            membership.view.as_ref().map(|view| view.id).or(membership.regroup.joining).unwrap_or(ViewId::NONE)
        })
    }

    fn advance(&mut self, now: Now) -> bool {
        let Some(membership) = &self.membership else { return false };
        let regroup = &membership.regroup;
        let members = membership.members();
        let everyone = |reached: &NodeSet| members.is_subset(reached);
        let event = match regroup.stage {
            Stage::Activate if regroup.joining.is_none() && self.rows_complete(membership) => StageEvent::RowsComplete,
            Stage::Closing if regroup.decision.is_none() && regroup.joining.is_none() => {
                return self.decides() && self.decide(now);
            }
            Stage::Pruning => {
                let all = regroup
                    .decision
                    .as_ref()
                    .filter(|accepted| accepted.decision.members.is_subset(&regroup.reached[0]))
                    .map(|accepted| accepted.view.clone());
                return all.is_some_and(|view| {
                    self.install(now, view);
                    true
                });
            }
            Stage::Cleanup1 if everyone(&regroup.reached[1]) => StageEvent::AllCleanedOnce,
            Stage::Cleanup2 if everyone(&regroup.reached[2]) => StageEvent::AllCleanedTwice,
            Stage::Activate | Stage::Closing | Stage::Cleanup1 | Stage::Cleanup2 | Stage::Stabilized => return false,
        };
        self.step_regroup(now, event);
        true
    }

    fn step_regroup(&mut self, now: Now, event: StageEvent) {
        let local = self.config.local;
        let Some(membership) = &mut self.membership else { return };
        membership.regroup.step(event, now.mono_ns);
        membership.regroup.mark(local, membership.regroup.stage);
        if membership.regroup.stage == Stage::Stabilized {
            if membership.members().is_subset(&membership.regroup.reached[1]) {
                membership.former_timing = None;
            }
            membership.regroup.forget_outsiders();
        }
    }

    /// When the present stage is looked at again: at its limit, and after that when the hang timeout is over.
    fn limit_ns(&self, membership: &Membership) -> u64 {
        let timing = &self.config.timing;
        let limit_ns = membership.regroup.stage_since_ns.saturating_add(timing.stage_limit_ns());
        let unreported = !membership.regroup.rows.contains_key(&self.config.local);
        let report_ns = membership.regroup.stage_since_ns.saturating_add(timing.settling_ns());
        if unreported && self.now.mono_ns < report_ns {
            return report_ns;
        }
        if self.now.mono_ns < limit_ns {
            return limit_ns;
        }
        let last_ns = membership.regroup.began_ns.saturating_add(self.patience_ns(membership));
        // Whoever is waited for longer than that is dealt with at the next tick.
        if self.now.mono_ns < last_ns { last_ns } else { u64::MAX }
    }

    /// How long a member that is heard is waited for where the rest has no quorum: a controller may hang, and the decider
    /// may wait for the witness.
    pub(super) fn patience_ns(&self, membership: &Membership) -> u64 {
        let timing = &self.config.timing;
        let witness_ns = if membership.witness.is_some() { timing.grace_ns } else { 0 };
        timing.hang_timeout_ns.max(witness_ns)
    }

    fn check_limit(&mut self, now: Now) -> bool {
        let timing = self.config.timing;
        let local = self.config.local;
        let Some(membership) = &self.membership else { return false };
        let regroup = &membership.regroup;
        if !regroup.is_active() || now.mono_ns < regroup.stage_since_ns.saturating_add(timing.stage_limit_ns()) {
            return false;
        }
        let in_view = membership.view.is_some();
        let patient = now.mono_ns < regroup.began_ns.saturating_add(self.patience_ns(membership));
        let witness = membership.witness_counts(local, now, timing.lease_ns());
        let enough = |set: &NodeSet| {
            let members = if in_view { set.and(&membership.members()) } else { *set };
            membership.electorate.quorum(&members, witness).holds()
        };
        match regroup.stage {
            Stage::Activate if regroup.joining.is_some() => self.abandon(now),
            Stage::Activate => {
                let reporters = regroup.reporters;
                if in_view && patient && !enough(&reporters) {
                    return false;
                }
                let mute = self.candidates().without(&reporters);
                self.exclude(&mute);
                self.step_regroup(now, StageEvent::RowsComplete);
            }
            Stage::Closing if regroup.decision.is_some() => return false,
            // This node decides, and waits for the witness: another sequence would not bring that sooner.
            Stage::Closing if in_view && patient && regroup.promise.is_some() => return false,
            Stage::Closing => {
                let decider = self.decider(membership).filter(|id| *id != local);
                let rest = self.component(membership).without(&decider.map(NodeSet::of).unwrap_or_default());
                if in_view && patient && !enough(&rest) {
                    return false;
                }
                if !in_view {
                    self.abandon(now);
                    return true;
                }
                self.exclude(&decider.map(NodeSet::of).unwrap_or_default());
                let sequence = self.next_sequence();
                self.begin_regroup(now, sequence, Reason::Mute, decider, NodeSet::EMPTY);
            }
            Stage::Pruning => {
                let members = regroup.decision.as_ref().map(|accepted| accepted.decision.members).unwrap_or_default();
                let mute = members.without(&regroup.reached[0]);
                if !in_view {
                    self.abandon(now);
                    return true;
                }
                if patient && !enough(&members.without(&mute)) {
                    return false;
                }
                self.exclude(&mute);
                let sequence = self.next_sequence();
                self.begin_regroup(now, sequence, Reason::Mute, mute.first(), NodeSet::EMPTY);
            }
            // The view stands: whoever has not caught up is told again when it speaks, or falls silent.
            Stage::Cleanup1 => self.step_regroup(now, StageEvent::AllCleanedOnce),
            Stage::Cleanup2 => self.step_regroup(now, StageEvent::AllCleanedTwice),
            Stage::Stabilized => return false,
        }
        true
    }

    fn exclude(&mut self, nodes: &NodeSet) {
        let local = self.config.local;
        if let Some(membership) = &mut self.membership {
            membership.regroup.excluded = membership.regroup.excluded.or(nodes);
            membership.regroup.excluded.remove(local);
        }
    }
}
