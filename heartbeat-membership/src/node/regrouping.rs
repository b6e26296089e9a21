//! Regroup: what starts one, what moves it on, and what others are told.

use super::{Node, Reason as Wakeup};
use crate::action::Action;
use crate::config::NetworkRole;
use crate::ids::{Incarnation, NodeId};
use crate::input::ControlMessage;
use crate::membership::{Membership, MembershipAction, Record};
use crate::message::Kind;
use crate::message::regroup::{Reason, Regroup as Message};
use crate::nodeset::NodeSet;
use crate::refusal::Refusal;
use crate::regroup::connectivity::Graph;
use crate::regroup::{Stage, StageEvent};
use crate::time::Now;
use crate::view::ViewId;

/// Steps that one input can set off. A regroup passes five stages and may start over once for each of two causes; what
/// is left then is done at the next input or tick.
const MAX_STEPS: usize = 16;

impl Node {
    /// Everything that time, verdicts and messages may have made due.
    pub(super) fn drive_membership(&mut self, now: Now) {
        for _ in 0..MAX_STEPS {
            if self.is_out_of_membership() {
                return;
            }
            self.check_lease(now);
            let moved = self.notice_losses(now) || self.advance(now) || self.check_limit(now);
            if !moved {
                break;
            }
        }
        if self.is_out_of_membership() {
            return;
        }
        self.check_removals(now);
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
        // A removal that is due waits for a valid lease: the lease wakes the core, not the clock.
        let removal = removal.filter(|(due_ns, _)| *due_ns > self.now.mono_ns);
        [tick, limit, removal, self.admission_due(), self.lease_due()].into_iter().flatten().min()
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

    /// Whether a node is heard on a network that counts, as `incarnation` where that is known.
    pub(super) fn hears(&self, id: NodeId, incarnation: Option<Incarnation>) -> bool {
        if id == self.config.local {
            return true;
        }
        self.peers.get(&id).is_some_and(|peer| {
            let accepted = peer.handshake.accepted();
            accepted.is_some()
                && (incarnation.is_none() || accepted == incarnation)
                && peer.links.iter().any(|(network, link)| self.counts(*network) && link.is_heard())
        })
    }

    /// Nodes that have a say: members and who is to join; where there is no view, every configured node.
    pub(super) fn candidates(&self) -> NodeSet {
        let Some(membership) = &self.membership else { return NodeSet::EMPTY };
        match &membership.view {
            Some(view) => view.set().or(&membership.regroup.joiner.map(|(id, _)| NodeSet::of(id)).unwrap_or_default()),
            None => self.config.nodes.iter().map(|node| node.id).collect(),
        }
    }

    /// The incarnation of a candidate that this regroup means, where it is fixed.
    pub(super) fn meant(&self, id: NodeId) -> Option<Incarnation> {
        let membership = self.membership.as_ref()?;
        let member = membership.view.as_ref().and_then(|view| view.members.get(&id).copied());
        member.or(membership.regroup.joiner.filter(|(joiner, _)| *joiner == id).map(|(_, incarnation)| incarnation))
    }

    pub(super) fn base(&self) -> ViewId {
        self.membership.as_ref().map_or(ViewId::NONE, |membership| {
            membership.view.as_ref().map(|view| view.id).or(membership.regroup.joining).unwrap_or(ViewId::NONE)
        })
    }

    /// Sends the state of the regroup to one node that is behind.
    pub(super) fn reply_regroup(&mut self, now: Now, to: NodeId) {
        let Some(membership) = &self.membership else { return };
        let body = membership
            .regroup
            .message(self.config.local, self.base(), membership.epoch, membership.left, now.mono_ns, true)
            .encode(membership.mask_bytes);
        self.persist();
        self.send_counting(to, Kind::Regroup, &body);
    }

    /// One copy on every network that counts.
    pub(super) fn send_counting(&mut self, to: NodeId, kind: Kind, body: &[u8]) {
        let networks = self.peers.get(&to).map(crate::peer::Peer::networks).unwrap_or_default();
        for network in networks {
            if self.counts(network) {
                self.send(to, network, kind, body.to_vec());
            }
        }
    }

    pub(super) fn on_regroup(&mut self, now: Now, message: &ControlMessage) -> Result<(), Refusal> {
        if self.is_out_of_membership() {
            return Err(Refusal::NoMembership);
        }
        let body = Message::decode(&message.body).map_err(|_| Refusal::Malformed)?;
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
    fn install_if_others_have(&mut self, now: Now, body: &Message, source: NodeId) {
        let Some(membership) = &self.membership else { return };
        let regroup = &membership.regroup;
        let decided = regroup.decision.as_ref().map(|accepted| &accepted.view);
        let pending = regroup.bound.as_ref().or(decided.filter(|_| regroup.stage == Stage::Pruning));
        let Some(view) = pending.filter(|view| view.id == body.base && view.members.contains_key(&source)).cloned()
        else {
            return;
        };
        let current = decided.is_some_and(|decided| decided.id == view.id);
        let sequence = regroup.sequence;
        self.install(now, view);
        if !current && body.sequence <= sequence {
            // What this node restarted for has not been dealt with by those who went on.
            let sequence = self.next_sequence();
            self.begin_regroup(now, sequence, Reason::Silent, None, NodeSet::EMPTY);
        }
    }

    /// Whether the sender has a say in the regroup that it speaks of, and this node a part in it.
    fn check_say(&mut self, now: Now, body: &Message, message: &ControlMessage) -> Result<(), Refusal> {
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

    fn merge(&mut self, now: Now, body: &Message, message: &ControlMessage) -> Result<(), Refusal> {
        let candidates = self.candidates();
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        let members = membership.members();
        let newly_left = body.left.and(&members).without(&membership.left);
        membership.left = membership.left.or(&newly_left);
        let regroup = &mut membership.regroup;
        regroup.highest_bound = regroup.highest_bound.max(body.bound);
        if regroup.joiner.is_none() && body.joiner.is_some() && regroup.decision.is_none() {
            regroup.joiner = body.joiner;
            self.refresh_row();
        }
        let Some(Membership { regroup, .. }) = &mut self.membership else { return Err(Refusal::NoMembership) };
        if matches!(regroup.stage, Stage::Activate | Stage::Closing) {
            for (id, row) in &body.rows {
                // Its own row is what this node measures; rows of others may only be relayed.
                if *id != self.config.local {
                    regroup.merge_row(*id, *row);
                }
            }
            let may_form = regroup.may_form.or(&body.may_form.and(&candidates));
            regroup.dirty |= may_form != regroup.may_form;
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
            let regroup = &mut membership.regroup;
            for (id, age_ns) in &body.ages {
                let stamp_ns = now.mono_ns.saturating_sub(*age_ns);
                let known = regroup.reports.entry((message.source, *id)).or_insert(stamp_ns);
                *known = (*known).min(stamp_ns);
            }
        }
        Ok(())
    }

    /// Recomputes whom this node hears. Within a regroup the row only shrinks.
    pub(super) fn refresh_row(&mut self) {
        let heard: NodeSet = self.candidates().iter().filter(|id| self.hears(*id, self.meant(*id))).collect();
        let may_form = self.may_form_now();
        let local = self.config.local;
        let Some(membership) = &mut self.membership else { return };
        let regroup = &mut membership.regroup;
        let mut row = heard.without(&regroup.unheard).without(&regroup.excluded).without(&membership.left);
        if let Some(bound) = &regroup.bound {
            row = row.and(&bound.set());
        }
        row.insert(local);
        regroup.rows.remove(&local);
        regroup.merge_row(local, row);
        if may_form && membership.view.is_none() {
            regroup.may_form.insert(local);
        }
    }

    fn notice_losses(&mut self, now: Now) -> bool {
        let Some(membership) = &self.membership else { return false };
        let regroup = &membership.regroup;
        let deciding = regroup.decision.as_ref().map(|accepted| accepted.decision.members);
        let own_row = regroup.rows.get(&self.config.local).copied().unwrap_or_default();
        let watched = match (regroup.stage, &membership.view) {
            (Stage::Closing | Stage::Pruning, _) if deciding.is_some() => deciding.unwrap_or_default(),
            (_, Some(view)) => view.set(),
            (Stage::Activate | Stage::Closing | Stage::Pruning, None) => own_row,
            (Stage::Cleanup1 | Stage::Cleanup2 | Stage::Stabilized, None) => return false,
        };
        let known = regroup.unheard.or(&regroup.excluded);
        let lost: NodeSet = watched
            .without(&known)
            .iter()
            .filter(|id| membership.left.contains(*id) || !self.hears(*id, self.meant(*id)))
            .collect();
        let Some(first) = lost.first() else { return false };
        let reason = if membership.left.contains(first) {
            Reason::Left
        } else if self.peers.get(&first).is_some_and(|peer| {
            let accepted = peer.handshake.accepted();
            accepted.is_some() && accepted != self.meant(first)
        }) && self.meant(first).is_some()
        {
            Reason::Restarted
        } else {
            Reason::Silent
        };
        let stage = regroup.stage;
        let (in_view, joining) = (membership.view.is_some(), regroup.joining.is_some());
        match stage {
            Stage::Activate => {
                if let Some(membership) = &mut self.membership {
                    membership.regroup.unheard = membership.regroup.unheard.or(&lost);
                }
                self.refresh_row();
            }
            Stage::Closing | Stage::Pruning if joining && !in_view => self.abandon(now),
            Stage::Closing | Stage::Pruning | Stage::Cleanup1 | Stage::Cleanup2 | Stage::Stabilized => {
                let sequence = self.next_sequence();
                self.begin_regroup(now, sequence, reason, Some(first), lost);
            }
        }
        true
    }

    fn advance(&mut self, now: Now) -> bool {
        let local = self.config.local;
        let Some(membership) = &self.membership else { return false };
        let regroup = &membership.regroup;
        let members = membership.members();
        let everyone = |reached: &NodeSet| members.is_subset(reached);
        let event = match regroup.stage {
            Stage::Activate if regroup.joining.is_none() && self.rows_complete(membership) => StageEvent::RowsComplete,
            Stage::Closing if regroup.decision.is_none() && regroup.joining.is_none() => {
                let is_decider = self.decider(membership) == Some(local);
                if is_decider {
                    self.decide(now);
                }
                return is_decider;
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
            membership.regroup.forget_outsiders();
        }
    }

    /// Everyone has reported who is heard by anyone who has.
    fn rows_complete(&self, membership: &Membership) -> bool {
        let regroup = &membership.regroup;
        let candidates = self.candidates().without(&regroup.excluded).without(&membership.left);
        let reporters: NodeSet = regroup.rows.keys().copied().collect();
        let missing = candidates.without(&reporters);
        regroup.rows.iter().filter(|(id, _)| candidates.contains(**id)).all(|(_, row)| row.and(&missing).is_empty())
    }

    /// Who decides: the lowest id among those that are joined to this node by pairs that hear each other.
    fn decider(&self, membership: &Membership) -> Option<NodeId> {
        let component = self.component(membership);
        match &membership.view {
            Some(view) => component.and(&view.set()).first(),
            None => component.first(),
        }
    }

    pub(super) fn graph(&self, membership: &Membership) -> Graph {
        let candidates = self.candidates().without(&membership.regroup.excluded).without(&membership.left);
        let rows = membership.regroup.rows.iter().filter(|(id, _)| candidates.contains(**id));
        Graph::from_rows(&rows.map(|(id, row)| (*id, row.and(&candidates))).collect())
    }

    pub(super) fn component(&self, membership: &Membership) -> NodeSet {
        self.graph(membership).component(self.config.local)
    }

    /// When the present stage is looked at again: at its limit, and after that when the hang timeout is over.
    fn limit_ns(&self, membership: &Membership) -> u64 {
        let timing = &self.config.timing;
        let limit_ns = membership.regroup.stage_since_ns.saturating_add(timing.stage_limit_ns());
        if self.now.mono_ns < limit_ns {
            return limit_ns;
        }
        let last_ns = membership.regroup.began_ns.saturating_add(timing.hang_timeout_ns);
        // Whoever is waited for longer than that is dealt with at the next tick.
        if self.now.mono_ns < last_ns { last_ns } else { u64::MAX }
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
        let patient = now.mono_ns < regroup.began_ns.saturating_add(timing.hang_timeout_ns);
        let enough = |set: &NodeSet| {
            let members = if in_view { set.and(&membership.members()) } else { *set };
            membership.votes.quorum(&members, membership.witness_ns.is_some()).holds()
        };
        match regroup.stage {
            Stage::Activate if regroup.joining.is_some() => self.abandon(now),
            Stage::Activate => {
                let reporters: NodeSet = regroup.rows.keys().copied().collect();
                if in_view && patient && !enough(&reporters) {
                    return false;
                }
                let mute = self.candidates().without(&reporters);
                self.exclude(&mute);
                self.step_regroup(now, StageEvent::RowsComplete);
            }
            Stage::Closing if regroup.decision.is_some() => return false,
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

    /// Tells the others, at once after a change and again at every tick. The record stands before the message leaves.
    fn publish(&mut self, now: Now) {
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
        let body = regroup
            .message(local, self.base(), membership.epoch, membership.left, now.mono_ns, false)
            .encode(membership.mask_bytes);
        for id in targets.iter() {
            self.send_counting(id, Kind::Regroup, &body);
        }
    }

    pub(super) fn persist(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        let record = Record {
            view: membership.view.clone(),
            sequence: membership.regroup.sequence,
            stage: membership.regroup.stage,
            epoch: membership.epoch,
            bound: membership.regroup.bound.as_ref().map(|view| view.id),
        };
        if membership.persisted.as_ref() != Some(&record) {
            membership.persisted = Some(record.clone());
            self.actions.push_back(Action::Membership(MembershipAction::Persist(record)));
        }
    }

    fn counts(&self, network: crate::ids::NetworkId) -> bool {
        self.config.network(network).is_some_and(|network| match network.role {
            NetworkRole::Internal | NetworkRole::Mixed => true,
            NetworkRole::Client => false,
        })
    }
}
