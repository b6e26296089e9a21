//! The decision of a regroup: made by one, checked and obeyed by all, and bound to before it is announced.

use std::collections::BTreeMap;

use super::Node;
use crate::action::Action;
use crate::ids::{Incarnation, NodeId};
use crate::membership::{HaltReason, Membership, MembershipAction, Newest};
use crate::message::regroup::{Decision, Reason};
use crate::mutation::Mutation;
use crate::nodeset::NodeSet;
use crate::refusal::Refusal;
use crate::regroup::{Accepted, Stage, StageEvent};
use crate::time::Now;
use crate::view::{self, View, ViewId};

impl Node {
    /// This node decides: the best fully connected group with a quorum, or nobody.
    pub(super) fn decide(&mut self, now: Now) {
        let Some(membership) = &self.membership else { return };
        let witness = membership.witness_ns.is_some();
        let graph = self.graph(membership);
        let component = graph.component(self.config.local);
        let votes = &membership.votes;
        let regroup = &membership.regroup;
        let (group, number) = match &membership.view {
            Some(view) => {
                let quorate = |set: &NodeSet| membership.electorate.quorum(set, witness).holds();
                let mut group = graph.best_group(&component.and(&view.set()), votes, quorate);
                // Nobody is pruned for the sake of a joining node: it comes in if it hears all who stay. Whoever is
                // removed may hold a lease for a while, and does not know the joining node: they must not both act.
                if let (Some(group), Some((joiner, _))) = (&mut group, regroup.joiner) {
                    let with = group.or(&NodeSet::of(joiner));
                    let may_act = view.set().without(group).iter().any(|id| !self.has_stopped(id));
                    if component.contains(joiner) && graph.is_clique(&with) && !may_act {
                        *group = with;
                    }
                }
                (group, view.id.number.max(regroup.highest_bound).saturating_add(1))
            }
            None => {
                let may_form = |set: &NodeSet| self.enough_to_form(membership, set);
                let group = graph.best_group(&component.and(&regroup.may_form), votes, may_form);
                (group, view::first_of_epoch(membership.epoch.saturating_add(1)))
            }
        };
        let members = group.unwrap_or_default();
        let was_forced = membership.view.as_ref().is_some_and(|view| view.forced);
        let forced = was_forced && !members.is_empty() && !votes.quorum(&members, witness).holds();
        let view = if members.is_empty() {
            ViewId::NONE
        } else {
            let Some(view) = self.view_of(&members, number, forced) else {
                self.abandon(now);
                return;
            };
            view.id
        };
        let decision = Decision { view, members, decider: self.config.local, forced };
        if let Err(refusal) = self.accept(now, decision) {
            // Nobody obeys a decision that its decider cannot.
            self.refuse(refusal);
            self.abandon(now);
        }
    }

    /// On the operator's word that all others are off: a view of this node alone.
    pub(super) fn form_forced(&mut self, now: Now) -> Result<(), Refusal> {
        let local = self.config.local;
        let Some(membership) = &self.membership else { return Err(Refusal::NoMembership) };
        if membership.view.is_some() || membership.regroup.bound.is_some() {
            return Err(Refusal::JoinNotNow);
        }
        let number = view::first_of_epoch(membership.epoch.saturating_add(1));
        let members = NodeSet::of(local);
        let forced = !membership.votes.quorum(&members, membership.witness_ns.is_some()).holds();
        let sequence = self.next_sequence();
        if let Some(membership) = &mut self.membership {
            membership.regroup.joining = None;
        }
        self.begin_regroup(now, sequence, Reason::Form, Some(local), NodeSet::EMPTY);
        let view = self.view_of(&members, number, forced).ok_or(Refusal::BadDecision)?;
        self.accept(now, Decision { view: view.id, members, decider: local, forced })
    }

    /// Takes a decision: the first of its sequence, if it breaks no rule.
    pub(super) fn accept(&mut self, now: Now, decision: Decision) -> Result<(), Refusal> {
        let local = self.config.local;
        let Some(membership) = &self.membership else { return Err(Refusal::NoMembership) };
        let bound = membership.regroup.bound.as_ref().map(View::set);
        let in_view = membership.view.is_some();
        if !decision.members.is_empty() {
            self.check_decision(membership, &decision)?;
        }
        if decision.members.is_empty() && !self.component(membership).contains(decision.decider) {
            // Behind a one-way cut: that there is no quorum where the decider is says nothing about this side.
            return Ok(());
        }
        if !decision.members.contains(local) {
            // The others must learn of it before its decider, or whoever relays it, is gone.
            self.announce(now, decision);
            match (decision.members.is_empty(), in_view || bound.is_some()) {
                (_, false) => self.abandon(now),
                (true, true) => self.halt(now, HaltReason::NoQuorum),
                (false, true) if in_view => self.halt(now, HaltReason::Pruned),
                (false, true) => self.halt(now, HaltReason::Abandoned),
            }
            return Ok(());
        }
        let view =
            self.view_of(&decision.members, decision.view.number, decision.forced).ok_or(Refusal::BadDecision)?;
        if view.id != decision.view {
            return Err(Refusal::BadDecision);
        }
        // Whoever is in a view that this node was bound to may still install it: it must not be echoed either.
        let pending = membership.regroup.bound.as_ref().map(|bound| bound.members.clone()).unwrap_or_default();
        let promised: NodeSet = pending.keys().copied().collect();
        let outside = membership.members().or(&promised).without(&decision.members);
        let mut exclude = Vec::new();
        let mut ghosts = BTreeMap::new();
        for id in outside.iter() {
            let member = membership_incarnation(self.membership.as_ref(), id);
            if let (None, Some(incarnation)) = (member, pending.get(&id)) {
                ghosts.insert(id, *incarnation);
            }
            let incarnation = member.or_else(|| pending.get(&id).copied());
            let (Some(incarnation), Some(peer)) = (incarnation, self.peers.get_mut(&id)) else { continue };
            if self.mutation != Some(Mutation::NoBinding) && peer.handshake.bar(incarnation) {
                peer.windows.clear();
                exclude.push(id);
            }
        }
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        membership.epoch = membership.epoch.max(view::epoch(decision.view.number));
        let regroup = &mut membership.regroup;
        // Whoever has come to a decision has passed activate, whatever this node still waited for.
        regroup.step(StageEvent::RowsComplete, now.mono_ns);
        regroup.decision = Some(Accepted { decision, view });
        regroup.ghosts.append(&mut ghosts);
        // What a node that left or came back was heard last is of the past, whenever that was.
        for id in outside.iter().filter(|id| !exclude.contains(id)) {
            regroup.newest.entry(id).or_insert(now.mono_ns);
        }
        let sequence = regroup.sequence;
        self.actions.push_back(Action::Membership(MembershipAction::Bind { sequence, exclude }));
        Ok(())
    }

    /// Whether the incarnation of a member has certainly stopped acting: it left, or a later one has proved itself.
    fn has_stopped(&self, id: NodeId) -> bool {
        let left = self.membership.as_ref().is_some_and(|membership| membership.left.contains(id));
        let accepted = self.peers.get(&id).and_then(|peer| peer.handshake.accepted());
        left || accepted > self.meant(id)
    }

    /// The kernel echoes nobody whom the decision leaves out: now it may be announced.
    pub(super) fn on_bound(&mut self, now: Now, sequence: u64, newest: &[Newest]) -> Result<(), Refusal> {
        let local = self.config.local;
        let slack_ns = self.config.timing.slack_ns();
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        let regroup = &mut membership.regroup;
        for entry in newest {
            // Whoever is in a view was heard: a record that is gone says nothing about when.
            let stamp_ns = if entry.stamp_ns == 0 { now.mono_ns } else { entry.stamp_ns };
            regroup.newest.insert(entry.peer, stamp_ns);
            if let Some(peer) = self.peers.get_mut(&entry.peer) {
                peer.reset_links(now.mono_ns, slack_ns);
            }
        }
        if regroup.sequence != sequence || regroup.stage != Stage::Closing {
            return Err(Refusal::OldSequence);
        }
        let Some(accepted) = &regroup.decision else { return Err(Refusal::OldSequence) };
        regroup.highest_bound = regroup.highest_bound.max(accepted.view.id.number);
        if self.mutation != Some(Mutation::NoBinding) {
            regroup.bound = Some(accepted.view.clone());
        }
        regroup.step(StageEvent::Bound, now.mono_ns);
        regroup.mark(local, Stage::Pruning);
        self.persist();
        Ok(())
    }

    fn check_decision(&self, membership: &Membership, decision: &Decision) -> Result<(), Refusal> {
        // Who is left out has nothing to obey.
        if let Some(bound) = &membership.regroup.bound
            && decision.members.contains(self.config.local)
            && !decision.members.is_subset(&bound.set())
        {
            return Err(Refusal::BadDecision);
        }
        let joiner = membership.regroup.joiner.map(|(id, _)| NodeSet::of(id)).unwrap_or_default();
        let sound = match &membership.view {
            Some(view) => {
                // The decider knows whether it holds the witness.
                let staying = decision.members.and(&view.set());
                decision.members.is_subset(&view.set().or(&joiner))
                    && membership.electorate.quorum(&staying, true).holds()
                    && decision.view.number > view.id.number
            }
            None if membership.regroup.joining.is_some() => true,
            None if self.breaks(Mutation::TieBreakerForms) => true,
            None if decision.forced => decision.members == NodeSet::of(self.config.local),
            None => membership.votes.may_form(&decision.members, true),
        };
        if sound { Ok(()) } else { Err(Refusal::BadDecision) }
    }

    /// The view of these members, with the incarnations that this node knows; `None` if it does not know one.
    fn view_of(&self, members: &NodeSet, number: u64, forced: bool) -> Option<View> {
        let membership = self.membership.as_ref()?;
        let known = |id: NodeId| -> Option<Incarnation> {
            if id == self.config.local {
                return Some(self.incarnation);
            }
            self.meant(id).or_else(|| self.peers.get(&id)?.handshake.accepted())
        };
        let members: Option<BTreeMap<_, _>> = members.iter().map(|id| known(id).map(|known| (id, known))).collect();
        Some(View::new(number, members?, forced, &membership.votes, &self.config.timing))
    }

    fn announce(&mut self, now: Now, decision: Decision) {
        if let Some(membership) = &mut self.membership {
            let view = View { id: decision.view, members: BTreeMap::new(), forced: decision.forced };
            membership.regroup.decision = Some(Accepted { decision, view });
        }
        self.broadcast(now);
    }
}

/// The incarnation of a member of the installed view.
fn membership_incarnation(membership: Option<&Membership>, id: NodeId) -> Option<Incarnation> {
    membership?.view.as_ref()?.members.get(&id).copied()
}
