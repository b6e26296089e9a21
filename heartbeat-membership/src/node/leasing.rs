//! The lease, driven: echoes renew it; when it ends this node is suspended, then stops.

use super::{Node, Reason as Wakeup};
use crate::action::Action;
use crate::event::{Detail, EventId};
use crate::ids::NodeId;
use crate::input::{LocalStall, StallSource};
use crate::membership::{Echo, HaltReason, MembershipAction, MembershipInput};
use crate::message::regroup::Reason;
use crate::nodeset::NodeSet;
use crate::refusal::Refusal;
use crate::regroup::Stage;
use crate::time::Now;

impl Node {
    pub(super) fn on_membership(&mut self, now: Now, input: MembershipInput) -> Result<(), Refusal> {
        if let MembershipInput::ClockStood { length_ns } = input {
            return self.on_clock_stood(now, length_ns);
        }
        if self.is_out_of_membership() {
            return Err(Refusal::NoMembership);
        }
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        match input {
            MembershipInput::Echoes { echoes } => self.on_echoes(now, &echoes),
            MembershipInput::Bound { sequence, newest } => self.on_bound(now, sequence, &newest),
            MembershipInput::ClockStood { length_ns } => self.on_clock_stood(now, length_ns),
            MembershipInput::PeerHung { peer } => self.on_hung(now, peer),
            MembershipInput::Witness(answer) => self.on_witness(now, &answer),
            MembershipInput::InterfaceBroken { network, broken } => {
                membership.networks.broken.insert(network, broken);
                Ok(())
            }
            MembershipInput::ExternalHosts { network, answer } => {
                membership.networks.heard_outside(network, answer);
                Ok(())
            }
            MembershipInput::Stage { staged } => self.on_stage(now, staged.map(|staged| *staged)),
            MembershipInput::FormForced => self.form_forced(now),
            MembershipInput::ClearQuarantine { peer } => {
                if membership.quarantine.clear(peer) {
                    self.report_released(now, peer, true);
                }
                Ok(())
            }
            MembershipInput::ConfirmFenced { peer } => self.confirm_fenced(now, peer),
        }
    }

    /// Also between two lives: a node may be told that it was removed before it hears how late it is, and the operator is
    /// to know why.
    fn on_clock_stood(&mut self, now: Now, length_ns: u64) -> Result<(), Refusal> {
        let Some(membership) = self.membership.as_mut().filter(|_| !self.stopped) else {
            return Err(Refusal::NoMembership);
        };
        membership.lease.void(now);
        if let Some(witness) = &mut membership.witness {
            witness.void();
        }
        membership.lease_stale = true;
        let source = StallSource::Clock;
        self.on_local_stall(now, LocalStall { length_ns, at_ns: now.mono_ns, source, budget_spent: false });
        Ok(())
    }

    pub(super) fn on_echoes(&mut self, now: Now, echoes: &[Echo]) -> Result<(), Refusal> {
        if self.is_out_of_membership() {
            return Err(Refusal::NoMembership);
        }
        let slack_ns = self.config.timing.slack_ns();
        let mut duplicates = Vec::new();
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        for echo in echoes {
            if self.peers.get(&echo.peer).is_some_and(|peer| peer.contender.is_some())
                && let Some(peer) = self.peers.get_mut(&echo.peer)
                && peer.confirms_contender(echo, slack_ns)
            {
                duplicates.push(echo.peer);
            }
            let accepted = self.peers.get(&echo.peer).and_then(|peer| peer.handshake.accepted());
            let member = membership.view.as_ref().is_some_and(|view| view.has(echo.peer, echo.incarnation));
            if member && accepted == Some(echo.incarnation) {
                membership.lease.echoed(echo.peer, echo.sent_ns, now);
                membership.lease_stale = true;
            }
        }
        for id in duplicates {
            self.report_duplicate(now, id);
            // Whichever of the two it reaches is told.
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.handshake.call(now.mono_ns);
            }
        }
        Ok(())
    }

    /// Renews the lease, suspends when it has ended, stops when the grace is over too.
    pub(super) fn check_lease(&mut self, now: Now) {
        let local = self.config.local;
        let timing = self.config.timing;
        let strangers = self.membership.as_ref().map(|membership| membership.strangers).unwrap_or_default();
        let gone: NodeSet = strangers.iter().filter(|id| self.stranger_is_gone(now, *id)).collect();
        let Some(membership) = &mut self.membership else { return };
        let members = membership.members();
        if members.is_empty() {
            return;
        }
        let alone = membership.electorate.quorum(&NodeSet::of(local), false).holds();
        if membership.lease_stale || alone {
            membership.lease_stale = false;
            let witness = membership.witness_proof(local, timing.lease_ns());
            membership.lease.renew(now, local, &members, &membership.electorate, witness, timing.lease_ns());
        }
        membership.strangers = membership.strangers.without(&gone);
        let end_boot_ns = membership.lease.end_boot_ns().unwrap_or(0);
        // A clock that stood still ended it just now: the grace counts from there.
        let ended_boot_ns = membership.lease.over_boot_ns().unwrap_or(0);
        let valid = membership.lease.is_valid(now);
        // A view that was just installed has no echoes yet: the grace counts from its installation.
        let installed_ns = membership.installed.map_or(0, |at| at.boot_ns);
        let over_ns = ended_boot_ns.max(installed_ns).saturating_add(timing.grace_ns);
        let was_suspended = membership.suspended_boot_ns.is_some();
        if valid {
            membership.suspended_boot_ns = None;
        } else if now.boot_ns >= over_ns {
            self.halt(now, HaltReason::LeaseLost);
            return;
        } else if !was_suspended && ended_boot_ns != 0 {
            membership.suspended_boot_ns = Some(now.boot_ns);
            let text = "This node may not act: no quorum has echoed its heartbeats in time.".into();
            self.event(
                now,
                EventId::Suspended,
                None,
                None,
                text,
                Detail::Stopped { reason: None, lease_end_boot_ns: ended_boot_ns },
            );
        }
        let withheld = self.membership.as_ref().is_some_and(|membership| !membership.strangers.is_empty());
        // After adoption the end that the earlier controller wrote stands until there are echoes to compute one from.
        let adopted =
            end_boot_ns == 0 && self.membership.as_ref().is_some_and(|membership| membership.shown_lease.is_none());
        if withheld || !adopted {
            self.show_lease(if withheld { 0 } else { end_boot_ns });
        }
        if !gone.is_empty() {
            self.persist();
        }
    }

    /// Whether a node that this one does not know to have installed the view that it joined can no longer act.
    fn stranger_is_gone(&self, now: Now, id: NodeId) -> bool {
        let Some(membership) = &self.membership else { return true };
        if membership.members().contains(id) {
            return false;
        }
        let accepted = self.peers.get(&id).and_then(|peer| peer.handshake.accepted());
        membership
            .removals
            .get(&id)
            .is_none_or(|removal| removal.lease_over_ns <= now.mono_ns || accepted > Some(removal.incarnation))
    }

    pub(super) fn show_lease(&mut self, end_boot_ns: u64) {
        let Some(membership) = &mut self.membership else { return };
        if membership.shown_lease != Some(end_boot_ns) {
            membership.shown_lease = Some(end_boot_ns);
            self.actions.push_back(Action::Membership(MembershipAction::Lease { end_boot_ns }));
        }
    }

    /// When the lease or the grace after it ends, on the clock of deadlines.
    pub(super) fn lease_due(&self) -> Option<(u64, Wakeup)> {
        let membership = self.membership.as_ref()?;
        membership.view.as_ref()?;
        let end_ns = membership.lease.over_boot_ns().unwrap_or(0);
        let installed_ns = membership.installed.map_or(0, |at| at.boot_ns);
        let over_ns = end_ns.max(installed_ns).saturating_add(self.config.timing.grace_ns);
        let strangers = membership.removals.iter().filter(|(id, _)| membership.strangers.contains(**id));
        let known =
            strangers.map(|(_, removal)| removal.lease_over_ns).filter(|over_ns| *over_ns > self.now.mono_ns).min();
        if let Some(known_ns) = known {
            return Some((known_ns, Wakeup::Lease));
        }
        let due_boot_ns = if self.now.boot_ns < end_ns { end_ns } else { over_ns };
        let ahead_ns = due_boot_ns.saturating_sub(self.now.boot_ns);
        Some((self.now.mono_ns.saturating_add(ahead_ns), Wakeup::Lease))
    }

    /// A member whose kernel beats while its controller hangs: reported once, removed if the rest has quorum.
    fn on_hung(&mut self, now: Now, id: NodeId) -> Result<(), Refusal> {
        let Some(incarnation) = self.meant(id) else { return Err(Refusal::NotMember) };
        let (local, lease_ns) = (self.config.local, self.config.timing.lease_ns());
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        if membership.hung.insert(id, incarnation) == Some(incarnation) {
            return Ok(());
        }
        let rest = membership.members().without(&NodeSet::of(id));
        let witness = membership.witness_counts(local, now, lease_ns);
        let enough = membership.electorate.quorum(&rest, witness).holds();
        let text = format!("The controller of node {} hangs while its kernel goes on beating.", self.peer_name(id));
        self.event(now, EventId::ControllerHung, Some(id), None, text, Detail::Hung { incarnation });
        if enough {
            self.leave_out_hung(now, id);
        }
        Ok(())
    }

    /// Each survivor finds out for itself: a regroup that can still leave the member out, or already does, is not started
    /// over, or a few that hang together would have it start over once for each pair.
    fn leave_out_hung(&mut self, now: Now, id: NodeId) {
        let Some(membership) = &mut self.membership else { return };
        let regroup = &mut membership.regroup;
        let decided = regroup.decision.as_ref().is_some_and(|accepted| !accepted.decision.members.contains(id));
        match regroup.stage {
            _ if regroup.unheard.contains(id) || regroup.excluded.contains(id) => {}
            Stage::Closing | Stage::Pruning if decided => {}
            Stage::Activate => {
                regroup.unheard.insert(id);
                self.refresh_row();
            }
            Stage::Closing | Stage::Pruning | Stage::Cleanup1 | Stage::Cleanup2 | Stage::Stabilized => {
                let sequence = self.next_sequence();
                self.begin_regroup(now, sequence, Reason::Hung, Some(id), NodeSet::of(id));
            }
        }
    }
}
