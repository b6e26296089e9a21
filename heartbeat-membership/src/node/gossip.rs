//! What the nodes of a regroup tell each other.

use super::Node;
use crate::action::Action;
use crate::ids::{Incarnation, NodeId};
use crate::input::ControlMessage;
use crate::membership::{HaltReason, Membership, MembershipAction, Record};
use crate::message::Kind;
use crate::message::regroup::{Reason, Regroup as Message};
use crate::nodeset::NodeSet;
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::regroup::{Sender, Stage};
use crate::time::Now;
use crate::view::ViewId;

impl Node {
    pub(super) fn on_regroup(&mut self, now: Now, message: &ControlMessage) -> Result<(), Refusal> {
        if self.is_out_of_membership() {
            return Err(Refusal::NoMembership);
        }
        let body = Message::decode(&message.body).map_err(|_| Refusal::Malformed)?;
        if body.base == ViewId::NONE && !self.speaks_the_same(message.source) {
            return Err(Refusal::ConfigDiffers);
        }
        self.install_if_others_have(now, &body, message.source);
        self.check_say(now, &body, message)?;
        let membership = self.membership.as_mut().ok_or(Refusal::NoMembership)?;
        membership.epoch = membership.epoch.max(body.epoch);
        let (own, stage) = (membership.regroup.sequence, membership.regroup.stage);
        if body.sequence < own {
            if !body.reply {
                self.reply_regroup(now, message.source);
            }
            return Err(Refusal::OldSequence);
        }
        if body.sequence > own {
            let joining = membership.regroup.joining;
            self.begin_regroup(now, body.sequence, body.reason, body.trigger, NodeSet::EMPTY);
            if let Some(membership) = &mut self.membership {
                membership.regroup.joining = joining;
            }
        } else if stage == Stage::Stabilized && membership.view.is_none() {
            // An attempt to form that this node has given up.
            return Err(Refusal::OldSequence);
        }
        self.merge(now, &body, message)?;
        if stage == Stage::Stabilized && body.sequence == own && body.stage != Stage::Stabilized && !body.reply {
            self.reply_regroup(now, message.source);
        }
        Ok(())
    }

    /// A member of the decided view has installed it: then everyone had announced pruning for it.
    pub(super) fn install_if_others_have(&mut self, now: Now, body: &Message, source: NodeId) {
        let Some(membership) = &self.membership else { return };
        let regroup = &membership.regroup;
        let decided = regroup.decision.as_ref().map(|accepted| &accepted.view);
        let pending = regroup.bound.as_ref().or(decided.filter(|_| regroup.stage == Stage::Pruning));
        let Some(view) = pending.filter(|view| view.id == body.base && view.members.contains_key(&source)).cloned()
        else {
            return;
        };
        let current = decided.is_some_and(|decided| decided.id == view.id);
        if current {
            self.note_reports(now, body, source);
        }
        let Some(membership) = &self.membership else { return };
        let regroup = &membership.regroup;
        let sequence = regroup.sequence;
        self.install(now, view);
        if !current && body.sequence <= sequence {
            // What this node restarted for has not been dealt with by those who went on.
            let sequence = self.next_sequence();
            self.begin_regroup(now, sequence, Reason::Silent, None, NodeSet::EMPTY);
        }
    }

    /// Whether the sender has a say in the regroup that it speaks of, and this node a part in it.
    pub(super) fn check_say(&mut self, now: Now, body: &Message, message: &ControlMessage) -> Result<(), Refusal> {
        let (source, incarnation) = (message.source, Incarnation(message.incarnation));
        let base = self.base();
        let own = (self.config.local, self.incarnation);
        let membership = self.membership.as_mut().ok_or(Refusal::NoMembership)?;
        if membership.regroup.excluded.contains(source) {
            return Err(Refusal::NotMember);
        }
        if let Some(view) = &membership.view {
            let joining = [membership.regroup.joiner, body.joiner].contains(&Some((source, incarnation)));
            if view.has(source, incarnation) {
                if body.base == base {
                    membership.strangers.remove(source);
                    return Ok(());
                }
                if body.base.number < base.number && !body.reply {
                    self.reply_regroup(now, source);
                }
                return Err(Refusal::OtherView);
            }
            if crate::view::epoch(body.base.number) > crate::view::epoch(base.number) {
                self.halt(now, HaltReason::Superseded);
                return Err(Refusal::OtherView);
            }
            // Who is to join speaks of our view, and only in the sequence that the leader began.
            let in_turn = joining && body.base == base && body.sequence == membership.regroup.sequence;
            return if in_turn { Ok(()) } else { Err(Refusal::NotMember) };
        }
        if body.base == base {
            return Ok(());
        }
        // Let in by a view, whatever this node was trying on its own; but a promise to form binds until it is kept.
        if body.base != ViewId::NONE && body.joiner == Some(own) && membership.regroup.bound.is_none() {
            if body.sequence <= membership.regroup.sequence {
                return Err(Refusal::OldSequence);
            }
            membership.regroup.joining = Some(body.base);
            return Ok(());
        }
        Err(Refusal::OtherView)
    }

    pub(super) fn merge(&mut self, now: Now, body: &Message, message: &ControlMessage) -> Result<(), Refusal> {
        let (candidates, local) = (self.candidates(), self.config.local);
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        let members = membership.members();
        let newly_left = body.left.and(&members).without(&membership.left);
        membership.left = membership.left.or(&newly_left);
        let view = membership.view.as_ref();
        let told: Vec<_> = newly_left
            .iter()
            .filter_map(|id| Some((id, *view?.members.get(&id)?)))
            .filter(|(id, _)| *id != local)
            .collect();
        let regroup = &mut membership.regroup;
        regroup.highest_bound = regroup.highest_bound.max(body.bound);
        if regroup.joiner.is_none() && body.joiner.is_some() && regroup.decision.is_none() {
            regroup.joiner = body.joiner;
            self.refresh_row();
        }
        for (id, incarnation) in told {
            self.report_left(now, id, incarnation, None);
        }
        let Some(Membership { regroup, .. }) = &mut self.membership else { return Err(Refusal::NoMembership) };
        if matches!(regroup.stage, Stage::Activate | Stage::Closing) {
            for (id, row) in &body.rows {
                // Its own row is what this node measures; rows of others may only be relayed.
                if *id != self.config.local {
                    regroup.merge_row(*id, *row);
                }
            }
            for (id, weak) in body.weak.iter().filter(|(id, _)| *id != self.config.local) {
                let known = regroup.weak.entry(*id).or_default();
                *known = known.or(weak);
            }
            let may_form = regroup.may_form.or(&body.may_form.and(&candidates));
            regroup.dirty |= may_form != regroup.may_form && may_form.len() <= crate::regroup::TOLD_AT_ONCE;
            regroup.may_form = may_form;
        }
        if let Some(decision) = body.decision
            && regroup.decision.is_none()
            && matches!(regroup.stage, Stage::Activate | Stage::Closing)
        {
            self.accept(now, decision)?;
        }
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        let regroup = &mut membership.regroup;
        let agreed = regroup.decision.as_ref().map(|accepted| accepted.decision.view);
        if agreed.is_some() && agreed == body.decision.map(|decision| decision.view) {
            for (mine, theirs) in regroup.reached.iter_mut().zip(body.reached) {
                *mine = mine.or(&theirs);
            }
            regroup.mark(message.source, body.stage);
            membership.strangers = membership.strangers.without(&membership.regroup.reached[1]);
            if self.note_reports(now, body, message.source) {
                self.settle_removals();
            }
        }
        Ok(())
    }

    /// What another survivor says of nodes that the decision leaves out; whether that is news.
    fn note_reports(&mut self, now: Now, body: &Message, source: NodeId) -> bool {
        let Some(membership) = &mut self.membership else { return false };
        let regroup = &mut membership.regroup;
        let mut is_news = false;
        for ((id, age_ns), mask) in body.ages.iter().zip(&body.heard_on) {
            regroup.heard_on.insert((source, *id), *mask);
            let stamp_ns = now.mono_ns.saturating_sub(*age_ns);
            is_news |= regroup.reported.entry(*id).or_default().insert(source);
            let known = regroup.reports.entry((source, *id)).or_insert(stamp_ns);
            is_news |= stamp_ns < *known;
            *known = (*known).min(stamp_ns);
        }
        is_news
    }

    /// Sends the state of the regroup to one node that is behind.
    pub(super) fn reply_regroup(&mut self, now: Now, to: NodeId) {
        let Some(membership) = &self.membership else { return };
        let body = self.regroup_body(membership, now, true);
        self.persist();
        self.send_counting(to, Kind::Regroup, &body);
    }

    fn regroup_body(&self, membership: &Membership, now: Now, reply: bool) -> Vec<u8> {
        let (local, base, mask_bytes) = (self.config.local, self.base(), membership.mask_bytes);
        let sender = Sender { local, base, epoch: membership.epoch, left: membership.left, mask_bytes };
        membership.regroup.message(sender, now.mono_ns, reply).encode(mask_bytes)
    }

    /// One copy on every network that counts.
    pub(super) fn send_counting(&mut self, to: NodeId, kind: Kind, body: &[u8]) {
        let networks = self.peers.get(&to).map(Peer::networks).unwrap_or_default();
        for network in networks {
            if self.counts(network) {
                self.send(to, network, kind, body.to_vec());
            }
        }
    }

    /// Tells the others, at once after a change and again at every tick. The record stands before the message leaves.
    pub(super) fn publish(&mut self, now: Now) {
        let tick_ns = self.config.timing.regroup_tick_ns();
        let Some(membership) = &mut self.membership else { return };
        let regroup = &mut membership.regroup;
        let due = regroup.is_active() && regroup.next_tick_ns <= now.mono_ns;
        if !due && !regroup.dirty {
            return;
        }
        regroup.dirty = false;
        regroup.next_tick_ns = now.mono_ns.saturating_add(tick_ns);
        regroup.rotation = regroup.rotation.wrapping_add(1);
        self.persist();
        self.broadcast(now);
    }

    pub(super) fn broadcast(&mut self, now: Now) {
        let local = self.config.local;
        let Some(membership) = &self.membership else { return };
        let regroup = &membership.regroup;
        let decided = regroup.decision.as_ref().map(|accepted| accepted.decision.members).unwrap_or_default();
        let mut targets = self.candidates().or(&decided).without(&membership.left);
        targets.remove(local);
        let body = self.regroup_body(membership, now, false);
        for id in targets.iter() {
            self.send_counting(id, Kind::Regroup, &body);
        }
    }

    pub(super) fn persist(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        // A member is of a later incarnation, and nothing below the highest is accepted: no bar is needed to keep that.
        let barred_outside = |(id, peer): (&NodeId, &Peer)| {
            let is_member = membership.view.as_ref().is_some_and(|view| view.members.contains_key(id));
            peer.handshake.barred().filter(|_| !is_member).map(|incarnation| (*id, incarnation))
        };
        let view = membership.view.as_ref().map(|view| view.id);
        let bars_follow_from = Some((self.peers.changes(), view));
        let bars_may_differ = self.bars_follow_from != bars_follow_from;
        let bars_stand = |known: &Record| {
            let known = known.barred.iter().map(|(id, incarnation)| (*id, *incarnation));
            known.eq(self.peers.iter().filter_map(barred_outside))
        };
        // Two views with one identity are the same: no need to copy a thousand members to see that nothing has changed.
        let stands = membership.persisted.as_ref().is_some_and(|known| {
            known.view.as_ref().map(|view| view.id) == view
                && known.sequence == membership.regroup.sequence
                && known.stage == membership.regroup.stage
                && known.epoch == membership.epoch
                && known.bound == membership.regroup.announced()
                && known.began_ns == membership.began_ns
                && known.removals == membership.removals
                && known.strangers.iter().copied().eq(membership.strangers.iter())
                && (!bars_may_differ || bars_stand(known))
        });
        self.bars_follow_from = bars_follow_from;
        if stands {
            return;
        }
        let record = Record {
            view: membership.view.clone(),
            sequence: membership.regroup.sequence,
            stage: membership.regroup.stage,
            epoch: membership.epoch,
            bound: membership.regroup.announced(),
            began_ns: membership.began_ns,
            removals: membership.removals.clone(),
            strangers: membership.strangers.iter().collect(),
            barred: self.peers.iter().filter_map(barred_outside).collect(),
        };
        membership.persisted = Some(record.clone());
        self.actions.push_back(Action::Membership(MembershipAction::Persist(record)));
    }
}
