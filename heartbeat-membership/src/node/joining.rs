//! Ways into a view: asking a view to be let in, or forming one.

use super::{Node, Reason as Wakeup};
use crate::event::{Detail, EventId};
use crate::ids::{Incarnation, NodeId};
use crate::input::ControlMessage;
use crate::membership::Membership;
use crate::message::regroup::Reason;
use crate::message::{Join, Kind};
use crate::mutation::Mutation;
use crate::nodeset::NodeSet;
use crate::refusal::Refusal;
use crate::regroup::Stage;
use crate::time::Now;

impl Node {
    /// Outside of any view: asks everyone to be let in, and forms if that is allowed and enough others are there.
    pub(super) fn seek_admission(&mut self, now: Now) {
        let Some(membership) = &self.membership else { return };
        if membership.view.is_some() || membership.regroup.is_active() {
            return;
        }
        // Every message of a forming cluster may change who is heard: in a large one that is looked at once in a tick.
        if self.config.nodes.len() > crate::regroup::TOLD_AT_ONCE && now.mono_ns < membership.next_seek_ns {
            return;
        }
        let tick_ns = self.config.timing.regroup_tick_ns();
        if let Some(membership) = &mut self.membership {
            membership.next_seek_ns = now.mono_ns.saturating_add(tick_ns);
        }
        let Some(membership) = &self.membership else { return };
        if membership.next_join_ns <= now.mono_ns {
            self.ask_to_join(now);
        }
        let ready = self.may_form_now() && {
            let heard = self.heard_nodes();
            self.membership.as_ref().is_some_and(|membership| self.enough_to_form(membership, &heard))
        };
        let rank = self.heard_nodes().iter().take_while(|id| *id < self.config.local).count();
        let patience_ns = self.config.timing.regroup_tick_ns().saturating_mul(4).saturating_mul(rank as u64);
        let Some(membership) = &mut self.membership else { return };
        if !ready {
            membership.next_form_ns = None;
            return;
        }
        // The lowest begins; the others give it time, or they would all begin at once.
        let due_ns = *membership.next_form_ns.get_or_insert(now.mono_ns.saturating_add(patience_ns));
        if due_ns <= now.mono_ns {
            let sequence = self.next_sequence();
            self.begin_regroup(now, sequence, Reason::Form, None, NodeSet::EMPTY);
        }
    }

    pub(super) fn admission_due(&self) -> Option<(u64, Wakeup)> {
        let membership = self.membership.as_ref()?;
        if membership.view.is_some() || membership.regroup.is_active() {
            return None;
        }
        let crowded = self.config.nodes.len() > crate::regroup::TOLD_AT_ONCE;
        let wait_over_ns = Some(self.wait_over_ns(membership)).filter(|over_ns| *over_ns > self.now.mono_ns);
        let form_ns = membership.next_form_ns.filter(|due_ns| *due_ns > self.now.mono_ns);
        [Some(membership.next_join_ns), form_ns, wait_over_ns]
            .into_iter()
            .flatten()
            .min()
            .map(|due| if crowded { due.max(membership.next_seek_ns) } else { due })
            .map(|due| (due, Wakeup::Admission))
    }

    /// Whether this incarnation may take part in forming: every lease of an earlier view has certainly ended, or every
    /// configured node has said, to this very incarnation, that it is in no view. What it said to an earlier one may
    /// have changed since, and its lease may outlive the view that this node has left.
    pub(super) fn may_form_now(&self) -> bool {
        let Some(membership) = &self.membership else { return false };
        let waited = self.wait_over_ns(membership) <= self.now.mono_ns || self.breaks(Mutation::NoWait);
        if waited && !membership.settings.config_is_new {
            return true;
        }
        self.peers.values().all(|peer| {
            peer.spoken.is_some_and(|spoken| {
                peer.handshake.accepted() == Some(spoken.incarnation)
                    && spoken.to == self.incarnation
                    && spoken.digest == self.config.digest
                    && !spoken.in_view
            })
        })
    }

    pub(super) fn on_join(&mut self, now: Now, message: &ControlMessage) -> Result<(), Refusal> {
        if self.is_out_of_membership() {
            return Err(Refusal::NoMembership);
        }
        let join = Join::decode(&message.body).map_err(|_| Refusal::Malformed)?;
        if join.incarnation != Incarnation(message.incarnation) {
            return Err(Refusal::IncarnationMismatch);
        }
        let joiner = message.source;
        let differs = self
            .peers
            .get(&joiner)
            .and_then(|peer| peer.spoken)
            .is_some_and(|spoken| spoken.digest != self.config.digest);
        let heard = self.hears(joiner, Some(join.incarnation));
        let Some(membership) = &self.membership else { return Err(Refusal::NoMembership) };
        let members = membership.members();
        // One at a time, by the leader, into a view that stands.
        let serve = membership.regroup.stage == Stage::Stabilized
            && members.first() == Some(self.config.local)
            && !members.contains(joiner)
            && membership.lease.is_valid(now)
            && members.is_subset(&join.hears)
            && heard
            && !self.removed_may_act(now, membership);
        if differs {
            return Err(Refusal::ConfigDiffers);
        }
        if let Some(until_ns) = membership.quarantine.keeps_out(joiner, now) {
            let text = format!("Node {} asks to be let in, and is kept out.", self.peer_name(joiner));
            self.event_seldom(now, EventId::QuarantineRefused, joiner, text, Detail::Quarantined { until_ns });
            return Err(Refusal::Quarantined);
        }
        if !serve {
            return Err(Refusal::JoinNotNow);
        }
        let sequence = membership.regroup.sequence.max(join.sequence).saturating_add(1);
        self.begin_regroup(now, sequence, Reason::Join, Some(joiner), NodeSet::EMPTY);
        self.name_joiner(joiner, join.incarnation);
        Ok(())
    }

    /// Whether a removed node may still hold a lease: it does not know the joining node, so they must not both act.
    fn removed_may_act(&self, now: Now, membership: &Membership) -> bool {
        membership.removals.iter().any(|(id, removal)| {
            let accepted = self.peers.get(id).and_then(|peer| peer.handshake.accepted());
            removal.lease_over_ns > now.mono_ns && accepted <= Some(removal.incarnation)
        })
    }

    /// Nodes whose time is over.
    pub(super) fn release_quarantined(&mut self, now: Now) {
        let Some(membership) = &mut self.membership else { return };
        if membership.quarantine.next_release_ns().is_none_or(|due_ns| due_ns > now.mono_ns) {
            return;
        }
        for id in membership.quarantine.take_released(now) {
            self.report_released(now, id, false);
        }
    }

    pub(super) fn report_released(&mut self, now: Now, id: NodeId, by_operator: bool) {
        let text = format!("Node {} is not kept out any more.", self.peer_name(id));
        self.event(now, EventId::QuarantineReleased, Some(id), None, text, Detail::Released { by_operator });
    }

    fn ask_to_join(&mut self, now: Now) {
        let repeat_ns = self.config.timing.hello_repeat_ns();
        let hears = self.heard_nodes();
        // Who spoke of another configuration may have gone over to this one since.
        let others: Vec<_> = self.peers.keys().copied().filter(|id| !self.speaks_the_same(*id)).collect();
        for id in others {
            if let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.handshake.next_hello_ns().is_none()) {
                peer.handshake.call(now.mono_ns.saturating_add(repeat_ns));
            }
        }
        let Some(membership) = &mut self.membership else { return };
        membership.next_join_ns = now.mono_ns.saturating_add(repeat_ns);
        let body = Join {
            incarnation: self.incarnation,
            sequence: membership.regroup.sequence,
            epoch: membership.epoch,
            hears,
        }
        .encode(membership.mask_bytes);
        for id in hears.without(&NodeSet::of(self.config.local)).iter() {
            self.send_counting(id, Kind::Join, &body);
        }
    }

    /// Whether these nodes, with the witness if this node could have it now, may form a cluster.
    pub(super) fn enough_to_form(&self, membership: &Membership, nodes: &NodeSet) -> bool {
        let witness = membership.witness_at_hand(self.config.local, self.now);
        if self.breaks(Mutation::TieBreakerForms) {
            return membership.votes.quorum(nodes, witness).holds();
        }
        membership.votes.may_form(nodes, witness)
    }

    fn heard_nodes(&self) -> NodeSet {
        let nodes = self.config.nodes.iter().map(|node| node.id);
        nodes.filter(|id| self.hears(*id, None) && self.speaks_the_same(*id)).collect()
    }

    fn name_joiner(&mut self, joiner: NodeId, incarnation: Incarnation) {
        if let Some(membership) = &mut self.membership {
            membership.regroup.joiner = Some((joiner, incarnation));
        }
        self.refresh_row();
    }

    fn wait_over_ns(&self, membership: &Membership) -> u64 {
        membership.started.mono_ns.saturating_add(membership.safety_wait_ns(&self.config.timing))
    }
}
