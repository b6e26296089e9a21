//! The decision of a regroup: made by one, checked and obeyed by all, and bound to before it is announced.

use std::collections::BTreeMap;

use super::Node;
use crate::action::Action;
use crate::ids::{ConfigDigest, Incarnation, NodeId};
use crate::membership::{HaltReason, Membership, MembershipAction, Newest};
use crate::message::regroup::{Decision, Reason};
use crate::mutation::Mutation;
use crate::nodeset::NodeSet;
use crate::quorum::Votes;
use crate::refusal::Refusal;
use crate::regroup::connectivity::Graph;
use crate::regroup::{Accepted, Stage, StageEvent};
use crate::time::Now;
use crate::view::{self, View, ViewId};

impl Node {
    /// This node decides: the best fully connected group with a quorum, or nobody. Where the group needs the witness, its
    /// record must name the view first: what is decided here is then known to whoever takes the record later. Whether it
    /// has decided.
    pub(super) fn decide(&mut self, now: Now) -> bool {
        let local = self.config.local;
        let Some(membership) = &self.membership else { return false };
        let regroup = &membership.regroup;
        let number = match &membership.view {
            Some(view) => view.id.number.max(regroup.highest_bound).saturating_add(1),
            // The record that names the view to form has shown its epoch to this node: it is still the one to form.
            None => regroup
                .promise
                .filter(|promised| {
                    view::epoch(*promised) >= membership.epoch && membership.witness_promised(*promised, now)
                })
                .unwrap_or_else(|| view::first_of_epoch(membership.epoch.saturating_add(1))),
        };
        let patient = now.mono_ns < regroup.began_ns.saturating_add(self.patience_ns(membership));
        let witness = patient && membership.witness_attainable(local, membership.view_number());
        let graph = self.graph(membership);
        let component = self.component(membership);
        let quorate = |set: &NodeSet, witness: bool| match &membership.view {
            Some(view) => membership.electorate.quorum(&set.and(&view.set()), witness).holds(),
            None if self.breaks(Mutation::TieBreakerForms) => membership.votes.quorum(set, witness).holds(),
            None => membership.votes.may_form(set, witness),
        };
        // Whoever decides without being in the group does not hold the witness for it.
        let allowed = |set: &NodeSet| quorate(set, witness && set.contains(local));
        let among = component.and(&membership.view.as_ref().map_or(regroup.may_form, View::set));
        let mut group = self.best_group(&graph, &among, allowed);
        let rests_on_witness = group.is_some_and(|group| !quorate(&group, false));
        if rests_on_witness && !membership.witness_promised(number, now) {
            if let Some(membership) = &mut self.membership {
                membership.regroup.promise = Some(number);
            }
            return false;
        }
        // Nobody is pruned for the sake of a joining node: it comes in if it hears all who stay. Whoever is removed may
        // hold a lease for a while, and does not know the joining node: they must not both act.
        if let (Some(group), Some((joiner, _)), Some(view)) = (&mut group, regroup.joiner, &membership.view) {
            let with = group.or(&NodeSet::of(joiner));
            let may_act = view.set().without(group).iter().any(|id| !self.has_stopped(id));
            if component.contains(joiner) && graph.is_clique(&with) && !may_act {
                *group = with;
            }
        }
        let members = group.unwrap_or_default();
        let was_forced = membership.view.as_ref().is_some_and(|view| view.forced);
        let majority = membership.votes.quorum(&members, rests_on_witness).holds();
        let forced = was_forced && !members.is_empty() && !majority;
        let config = self.config_to_install(membership, &members);
        let view = if members.is_empty() {
            ViewId::NONE
        } else {
            let Some(view) = self.view_of(&members, number, forced, config) else {
                self.abandon(now);
                return true;
            };
            view.id
        };
        let decision = Decision { view, members, decider: local, forced, config };
        if let Err(refusal) = self.accept(now, decision) {
            // Nobody obeys a decision that its decider cannot.
            self.refuse(refusal);
            self.abandon(now);
        }
        true
    }

    fn best_group(&self, graph: &Graph, among: &NodeSet, allowed: impl Fn(&NodeSet) -> bool) -> Option<NodeSet> {
        let membership = self.membership.as_ref()?;
        graph.best_group(among, &membership.votes, allowed)
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
        let forced = !membership.votes.quorum(&members, false).holds();
        let sequence = self.next_sequence();
        if let Some(membership) = &mut self.membership {
            membership.regroup.joining = None;
        }
        self.begin_regroup(now, sequence, Reason::Form, Some(local), NodeSet::EMPTY);
        let view = self.view_of(&members, number, forced, None).ok_or(Refusal::BadDecision)?;
        self.accept(now, Decision { view: view.id, members, decider: local, forced, config: None })
    }

    /// Takes a decision: the first of its sequence, if it breaks no rule.
    pub(super) fn accept(&mut self, now: Now, decision: Decision) -> Result<(), Refusal> {
        let local = self.config.local;
        if decision.members.is_empty() && !self.known_component().contains(decision.decider) {
            // Behind a one-way cut: that there is no quorum where the decider is says nothing about this side.
            return Ok(());
        }
        let Some(membership) = &self.membership else { return Err(Refusal::NoMembership) };
        let bound = membership.regroup.bound.as_ref().map(View::set);
        let in_view = membership.view.is_some();
        if !decision.members.is_empty() {
            self.check_decision(membership, &decision)?;
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
        let view = self
            .view_of(&decision.members, decision.view.number, decision.forced, decision.config)
            .ok_or(Refusal::BadDecision)?;
        if view.id != decision.view {
            return Err(Refusal::BadDecision);
        }
        // Whoever is in a view that this node was bound to may still install it: it must not be echoed either.
        let pending = membership.regroup.bound.as_ref().map(|bound| bound.members.clone()).unwrap_or_default();
        let promised: NodeSet = pending.keys().copied().collect();
        let outside = membership.members().or(&promised).without(&decision.members);
        let mut exclude = Vec::new();
        let mut ghosts = BTreeMap::new();
        let mut evidence = BTreeMap::new();
        for id in outside.iter() {
            let member = membership_incarnation(self.membership.as_ref(), id);
            if let (None, Some(incarnation)) = (member, pending.get(&id)) {
                ghosts.insert(id, *incarnation);
            }
            let incarnation = member.or_else(|| pending.get(&id).copied());
            let (Some(incarnation), Some(peer)) = (incarnation, self.peers.get_mut(&id)) else { continue };
            evidence.insert(id, peer.evidence());
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
        regroup.links.append(&mut evidence);
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
            regroup.bound_config = accepted.decision.config;
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
                let witness = staying.contains(decision.decider);
                decision.members.is_subset(&view.set().or(&joiner))
                    && membership.electorate.quorum(&staying, witness).holds()
                    && (decision.config.is_none() || decision.members == view.set())
                    && decision.view.number > view.id.number
            }
            None if membership.regroup.joining.is_some() => true,
            None if self.breaks(Mutation::TieBreakerForms) => true,
            None if decision.forced => decision.members == NodeSet::of(self.config.local),
            None => membership.votes.may_form(&decision.members, decision.members.contains(decision.decider)),
        };
        if sound { Ok(()) } else { Err(Refusal::BadDecision) }
    }

    /// The view of these members, with the incarnations that this node knows, under the configuration in force or the
    /// staged one; `None` if it does not know one.
    fn view_of(&self, members: &NodeSet, number: u64, forced: bool, config: Option<ConfigDigest>) -> Option<View> {
        let membership = self.membership.as_ref()?;
        let known = |id: NodeId| -> Option<Incarnation> {
            if id == self.config.local {
                return Some(self.incarnation);
            }
            self.meant(id).or_else(|| self.peers.get(&id)?.handshake.accepted())
        };
        let members: Option<BTreeMap<_, _>> = members.iter().map(|id| known(id).map(|known| (id, known))).collect();
        let Some(digest) = config else {
            return Some(View::new(number, members?, forced, &membership.votes, &self.config));
        };
        let staged = membership.staged.as_ref().filter(|staged| staged.digest() == digest)?;
        let config = super::patient(staged.config.clone(), staged.arbiter, staged.record_lease_ns);
        Some(View::new(number, members?, forced, &Votes::new(&config, staged.arbiter), &config))
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
