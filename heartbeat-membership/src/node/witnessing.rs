//! The witness, driven: who takes its record and for which view, who only looks, and whom its vote counts for.

use super::{Node, Reason as Wakeup};
use crate::action::Action;
use crate::event::{Detail, EventId};
use crate::membership::{Membership, MembershipAction};
use crate::nodeset::NodeSet;
use crate::refusal::Refusal;
use crate::time::Now;
use crate::view;
use crate::witness::{Change, WitnessAnswer};

impl Node {
    /// Asks the witness when that is due: one request at a time.
    pub(super) fn drive_witness(&mut self, now: Now) {
        let own = (self.config.local, self.incarnation);
        let Some(membership) = &mut self.membership else { return };
        let (take, released) = (membership.witness_duty(own.0), membership.witness_released());
        let Some(witness) = &mut membership.witness else { return };
        if let Some(request) = witness.poll(now, own, take, released) {
            self.actions.push_back(Action::Membership(MembershipAction::Witness(request)));
        }
    }

    pub(super) fn witness_due(&self) -> Option<(u64, Wakeup)> {
        let membership = self.membership.as_ref()?;
        let witness = membership.witness.as_ref()?;
        let (take, released) = (membership.witness_duty(self.config.local), membership.witness_released());
        let due_ns = witness.due_ns(self.now, self.config.local, take, released);
        (due_ns != u64::MAX).then_some((due_ns, Wakeup::Witness))
    }

    pub(super) fn on_witness(&mut self, now: Now, answer: &WitnessAnswer) -> Result<(), Refusal> {
        let own = (self.config.local, self.incarnation);
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        let Some(witness) = &mut membership.witness else { return Err(Refusal::NoMembership) };
        let change = witness.answered(now, own, answer);
        let record_view = witness.view();
        let detail = Detail::Witness {
            epoch: witness.snapshot(false).epoch.unwrap_or(0),
            holder: witness.holder().map(|holder| holder.node),
            record_view,
        };
        membership.epoch = membership.epoch.max(view::epoch(record_view));
        membership.lease_stale = true;
        // The record came to a node that has handed the leadership on meanwhile. Who takes it for a decision without the
        // leader keeps it.
        let leads = membership.members().first().is_none_or(|leader| leader == own.0);
        let led = leads || membership.regroup.promise.is_some();
        if !led && let Some(witness) = &mut membership.witness {
            witness.void();
            return Ok(());
        }
        match change {
            Change::None => {}
            Change::Taken => {
                self.event(now, EventId::WitnessTaken, None, None, "This node holds the witness.".into(), detail);
            }
            Change::Lost => {
                let text = "This node held the witness, and another does now.".into();
                self.event(now, EventId::WitnessLost, None, None, text, detail);
            }
        }
        Ok(())
    }
}

impl Membership {
    /// Whether the witness's vote counts for this node at this moment.
    pub(crate) fn witness_counts(&self, local: crate::ids::NodeId, now: Now, lease_ns: u64) -> bool {
        let Some(witness) = &self.witness else { return false };
        witness.is_held(now)
            || self.witness_proof(local, lease_ns).is_some_and(|proof| self.lease.covers(&proof, now, lease_ns))
    }

    /// Evidence for the witness's vote in a lease of `lease_ns`: held here, or by the leader of this node's view.
    pub(crate) fn witness_proof(&self, local: crate::ids::NodeId, lease_ns: u64) -> Option<crate::witness::Proof> {
        let view = self.view.as_ref()?;
        let leader = view.members.keys().next().copied()?;
        let own = (local, *view.members.get(&local)?);
        let witness = self.witness.as_ref()?;
        witness.proof(own, |id, incarnation| id == leader && view.has(id, incarnation), self.lease.floor_ns(), lease_ns)
    }

    /// Whether the witness could be had for a decision of this node in a view numbered `base`; 0 = forming.
    pub(crate) fn witness_attainable(&self, local: crate::ids::NodeId, base: u64) -> bool {
        self.witness.as_ref().is_some_and(|witness| base == 0 || !witness.is_beyond(base, local))
    }

    /// Whether it is held, or free to take, at this moment.
    pub(crate) fn witness_at_hand(&self, local: crate::ids::NodeId, now: Now) -> bool {
        self.witness.as_ref().is_some_and(|witness| {
            witness.is_held(now) || witness.free_at_ns(local, false).is_some_and(|free_ns| free_ns <= now.mono_ns)
        })
    }

    /// Whether it is held, for a view with this number.
    pub(crate) fn witness_promised(&self, number: u64, now: Now) -> bool {
        self.witness.as_ref().is_some_and(|witness| witness.is_held_for(number, now))
    }

    /// The view that this node is to hold the record for: the one that it leads, or the one that it wants to decide on.
    fn witness_duty(&self, local: crate::ids::NodeId) -> Option<u64> {
        if self.halted {
            return None;
        }
        let leads = self.members().first() == Some(local);
        self.regroup.promise.or_else(|| leads.then(|| self.view_number()))
    }

    /// Whether the holder has certainly let the record go: it is a member that does not lead, and everybody has installed
    /// the view in which another does.
    fn witness_released(&self) -> bool {
        let Some(holder) = self.witness.as_ref().and_then(crate::witness::Witness::holder) else { return false };
        let members: NodeSet = self.members();
        let follows = members.first() != Some(holder.node)
            && self.view.as_ref().is_some_and(|view| view.has(holder.node, holder.incarnation));
        let in_time = self.regroup.installed == self.view_number();
        follows && in_time && members.is_subset(&self.regroup.reached[1])
    }
}
