//! Stopping to act: without quorum, pruned, or told that the view went on without this node.

use super::Node;
use crate::action::Action;
use crate::event::{Detail, EventId};
use crate::ids::{Incarnation, NodeId};
use crate::input::ControlMessage;
use crate::membership::{HaltReason, MembershipAction};
use crate::message::{Kind, Poison};
use crate::mutation::Mutation;
use crate::refusal::Refusal;
use crate::regroup::Regroup;
use crate::time::{Now, SECOND_NS};

impl Node {
    /// Stops at once; a new incarnation joins.
    pub(super) fn halt(&mut self, now: Now, reason: HaltReason) {
        let Some(membership) = &mut self.membership else { return };
        let lease_end_boot_ns = membership.lease.over_boot_ns().unwrap_or(0);
        let (id, text) = match reason {
            HaltReason::NoQuorum => {
                (EventId::QuorumLost, "This node stops: no group of nodes that it reaches has quorum.")
            }
            HaltReason::LeaseLost => {
                (EventId::QuorumLost, "This node stops: no quorum has echoed its heartbeats in time.")
            }
            HaltReason::Pruned => {
                (EventId::Pruned, "This node stops: the others go on without it, for not all reach it.")
            }
            HaltReason::Poisoned => (EventId::Pruned, "This node stops: it was removed from the view meanwhile."),
            HaltReason::Superseded => {
                (EventId::Superseded, "This node stops: another cluster was formed meanwhile, on the operator's word.")
            }
            HaltReason::Abandoned => {
                (EventId::Pruned, "This node starts over: the view that it agreed to did not come about.")
            }
        };
        self.show_lease(0);
        self.event(now, id, None, None, text.into(), Detail::Stopped { reason: Some(reason), lease_end_boot_ns });
        if let Some(membership) = &mut self.membership {
            membership.halted = true;
            membership.suspended_boot_ns = None;
        }
        self.actions.push_back(Action::Membership(MembershipAction::Halt(reason)));
        self.take_incarnation(Incarnation(self.incarnation.0.saturating_add(1)));
    }

    /// Gives up an attempt to form or join. Whoever was bound keeps its word by starting a new life.
    pub(super) fn abandon(&mut self, now: Now) {
        let retry_ns = self.config.timing.stage_limit_ns();
        let Some(membership) = &mut self.membership else { return };
        if membership.regroup.bound.is_some() || membership.view.is_some() {
            self.halt(now, HaltReason::Abandoned);
            return;
        }
        let sequence = membership.regroup.sequence;
        membership.regroup = Regroup::new();
        membership.regroup.sequence = sequence;
        membership.next_form_ns = Some(now.mono_ns.saturating_add(retry_ns));
    }

    /// Tells a removed incarnation that it is removed, at most once a second: it may be an attacker's replay.
    pub(super) fn poison(&mut self, now: Now, id: NodeId, incarnation: Incarnation) {
        let Some(membership) = &mut self.membership else { return };
        let Some(view) = membership.view.as_ref().filter(|view| !view.has(id, incarnation)) else { return };
        let body = Poison { incarnation, view: view.id }.encode();
        let due_ns = membership.next_poison_ns.entry(id).or_default();
        if now.mono_ns < *due_ns || membership.halted {
            return;
        }
        *due_ns = now.mono_ns.saturating_add(SECOND_NS);
        self.send_counting(id, Kind::Poison, &body);
    }

    /// The caller has checked that the sender is who it says and that the message is no replay.
    pub(super) fn on_poison(&mut self, now: Now, message: &ControlMessage) -> Result<(), Refusal> {
        if self.is_out_of_membership() {
            return Err(Refusal::NoMembership);
        }
        let poison = Poison::decode(&message.body).map_err(|_| Refusal::Malformed)?;
        if !self.breaks(Mutation::AnyPoison) {
            if poison.incarnation != self.incarnation {
                return Err(Refusal::OtherIncarnation);
            }
            // Views do not go backwards: whoever is still in an older one does not know of the join that this node has installed.
            if poison.view.number < self.view_number() {
                return Err(Refusal::OtherView);
            }
        }
        self.halt(now, HaltReason::Poisoned);
        Ok(())
    }
}
