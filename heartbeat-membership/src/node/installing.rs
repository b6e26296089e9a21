//! Installing a view, and the time from which the work of a removed node is free to take.

use std::collections::BTreeMap;

use super::Node;
use crate::action::Action;
use crate::event::{Detail, Enforcement, EventId};
use crate::evidence::{LinkEvidence, StageTime, SurvivorReport, VoteCount};
use crate::ids::NodeId;
use crate::membership::{Membership, MembershipAction, Removal, Settling, electorate};
use crate::message::regroup::Reason;
use crate::nodeset::NodeSet;
use crate::quorum::Rule;
use crate::refusal::Refusal;
use crate::regroup::{self, Regroup, Stage, StageEvent};
use crate::time::Now;
use crate::view::{self, View};

/// What a removal rests on.
struct Basis {
    reason: Reason,
    decider: NodeId,
    rule: Rule,
    votes: VoteCount,
    sequence: u64,
    survivors: Vec<SurvivorReport>,
    links: Vec<LinkEvidence>,
    stages: Vec<StageTime>,
}

/// What each of `who` said about a removed node.
fn survivor_reports(regroup: &Regroup, about: NodeId, who: NodeSet, local: NodeId, now: Now) -> Vec<SurvivorReport> {
    let report = |node: NodeId| {
        let own = regroup.newest.get(&about).filter(|_| node == local);
        let stamp_ns = own.or(regroup.reports.get(&(node, about))).copied();
        let mask = match node == local {
            true => regroup.own_heard_on(about),
            false => regroup.heard_on.get(&(node, about)).copied().unwrap_or(0),
        };
        SurvivorReport {
            node,
            reported: stamp_ns.is_some(),
            newest_ns: stamp_ns.unwrap_or(now.mono_ns),
            heard_on: regroup::networks_of(mask),
        }
    };
    who.iter().map(report).collect()
}

impl Node {
    /// All members have announced pruning for `view`: it is ours from here on.
    pub(super) fn install(&mut self, now: Now, view: View) {
        let local = self.config.local;
        let timing = self.config.timing;
        let Some(membership) = &mut self.membership else { return };
        // A removed node may follow the timing before the last change.
        let timing = membership.former_timing.map_or(timing, |former| former.longest(&timing));
        let old = membership.set_view(None);
        let set = view.set();
        let old_set = old.as_ref().map(View::set).unwrap_or_default();
        let wait_ns = membership.safety_wait_ns(&timing);
        let regroup = &mut membership.regroup;
        let decided = regroup.decision.as_ref().filter(|accepted| accepted.view.id == view.id);
        let decider = decided.map_or(local, |accepted| accepted.decision.decider);
        membership.electorate = electorate(&membership.votes, Some(&view));
        // Whoever decided held the witness if that was needed.
        let rule = membership.electorate.quorum(&set, true);
        let by_witness = rule == Rule::WitnessMajority;
        let votes = VoteCount {
            own: membership.electorate.of(&set),
            total: membership.electorate.total(),
            witness: by_witness,
        };
        let removed = old_set.without(&set);
        let gone = std::mem::take(&mut membership.left);
        let mut quarantined = Vec::new();
        let mut survivors = BTreeMap::new();
        for (id, incarnation) in old.iter().flat_map(|old| &old.members) {
            if !removed.contains(*id) || gone.contains(*id) {
                continue;
            }
            // A survivor whose report was lost was bound before this moment, and had heard nothing since.
            let reports = set.iter().filter(|survivor| old_set.contains(*survivor)).map(|survivor| {
                let own = regroup.newest.get(id).filter(|_| survivor == local);
                own.or(regroup.reports.get(&(survivor, *id))).copied().unwrap_or(now.mono_ns)
            });
            let newest_ns = reports.max().unwrap_or(now.mono_ns);
            let heartbeats_over_ns = newest_ns.saturating_add(Membership::lease_wait_ns(&timing));
            // What it held by the witness had lapsed when the decider took that, which was before this moment.
            let lease_over_ns = if by_witness { heartbeats_over_ns.max(now.mono_ns) } else { heartbeats_over_ns };
            let due_ns = lease_over_ns.saturating_add(wait_ns.saturating_sub(Membership::lease_wait_ns(&timing)));
            let removal = Removal { incarnation: *incarnation, newest_ns, lease_over_ns, due_ns, silent: false };
            membership.removals.insert(*id, removal);
            let configured = self.config.nodes.iter().map(|node| node.id).collect();
            if let Some(until_ns) = membership.quarantine.removed(*id, &configured, &membership.votes, now) {
                quarantined.push((*id, until_ns));
            }
            survivors.insert(*id, survivor_reports(regroup, *id, set.and(&old_set), local, now));
        }
        for (id, incarnation) in std::mem::take(&mut regroup.ghosts) {
            if !set.contains(id) && !membership.removals.contains_key(&id) {
                // Nobody has echoed it since before this moment.
                let (newest_ns, over_ns) =
                    (now.mono_ns, now.mono_ns.saturating_add(Membership::lease_wait_ns(&timing)));
                let removal = Removal { incarnation, newest_ns, lease_over_ns: over_ns, due_ns: over_ns, silent: true };
                membership.removals.insert(id, removal);
            }
        }
        let survivors_of = set.and(&old_set);
        membership.settling = Settling { removed, survivors: survivors_of, installed_ns: now.mono_ns, by_witness };
        let regroup = &mut membership.regroup;
        let (reason, sequence, began_ns) = (regroup.reason, regroup.sequence, regroup.began_ns);
        let joined_existing = regroup.joining.is_some();
        let bound_config = regroup.bound.as_ref().filter(|bound| bound.id == view.id).and(regroup.bound_config);
        let decided = regroup.decision.as_ref().filter(|accepted| accepted.view.id == view.id);
        let config = decided.and_then(|accepted| accepted.decision.config).or(bound_config);
        regroup.bound = None;
        regroup.bound_config = None;
        regroup.promise = None;
        regroup.joining = None;
        regroup.joiner = None;
        regroup.step(StageEvent::AllPruning, now.mono_ns);
        regroup.mark(local, Stage::Cleanup1);
        regroup.installed = view.id.number;
        let stages: Vec<_> = regroup.stages.iter().copied().collect();
        let mut links = std::mem::take(&mut regroup.links);
        membership.epoch = membership.epoch.max(view::epoch(view.id.number));
        membership.installed = Some(now);
        membership.lease_stale = true;
        // Whoever is in this view has installed the one before it. A node that joins knows of nobody yet; where a view
        // is formed there is none before it. One that was removed stays a stranger until its lease is over, however many
        // views follow meanwhile.
        membership.strangers =
            if joined_existing { set.without(&NodeSet::of(local)) } else { membership.strangers.without(&set) };
        membership.hung.retain(|id, incarnation| view.has(*id, *incarnation));
        for id in removed.iter() {
            membership.lease.forget(id);
        }
        // Another leads from here on, and may take the record once everybody knows.
        if set.first() != Some(local)
            && let Some(witness) = &mut membership.witness
        {
            witness.void();
        }
        membership.settings.config_is_new = false;
        membership.set_view(Some(view.clone()));
        if let Some(digest) = config {
            self.switch_config(now, digest);
        }
        self.persist();
        self.actions.push_back(Action::Membership(MembershipAction::Install(view.clone())));
        for id in removed.without(&gone).iter() {
            let (survivors, links) = (survivors.remove(&id).unwrap_or_default(), links.remove(&id).unwrap_or_default());
            let basis = Basis { reason, decider, rule, votes, sequence, survivors, links, stages: stages.clone() };
            self.report_removed(now, id, basis);
        }
        for (id, until_ns) in quarantined {
            let text = format!("Node {} was removed too often, and is kept out for a while.", self.peer_name(id));
            self.event(now, EventId::Quarantined, Some(id), None, text, Detail::Quarantined { until_ns });
        }
        for (id, incarnation) in
            view.members.iter().filter(|(id, _)| **id != local && !old_set.is_empty() && !old_set.contains(**id))
        {
            let text = format!("Node {} joined the view.", self.peer_name(*id));
            self.event(now, EventId::NodeJoined, Some(*id), None, text, Detail::Joined { incarnation: *incarnation });
        }
        let names: Vec<_> = set.iter().map(|id| self.node_name(id)).collect();
        let text = format!("View {} with {} is installed.", view.id.number, names.join(", "));
        let members = set.iter().collect();
        let forced = view.forced;
        let detail = Detail::Installed { members, decider, reason, rule, sequence, began_ns, votes, stages, forced };
        self.event(now, EventId::ViewInstalled, None, None, text, detail);
    }

    /// A survivor whose report had not come when the view was installed here was taken to have heard a removed node until
    /// then. Reports that come later bring the time of a safe takeover forward, to where the other survivors have it.
    pub(super) fn settle_removals(&mut self) {
        let timing = self.config.timing;
        let local = self.config.local;
        let Some(membership) = &mut self.membership else { return };
        if membership.regroup.installed != membership.view_number() {
            return;
        }
        let timing = membership.former_timing.map_or(timing, |former| former.longest(&timing));
        let stop_ns = membership.safety_wait_ns(&timing).saturating_sub(Membership::lease_wait_ns(&timing));
        let Settling { removed, survivors, installed_ns, by_witness } = membership.settling;
        let regroup = &membership.regroup;
        let mut earlier = false;
        for (id, removal) in membership.removals.iter_mut().filter(|(id, it)| removed.contains(**id) && !it.silent) {
            let reported = regroup.reported.get(id).copied().unwrap_or_default();
            if !survivors.without(&NodeSet::of(local)).is_subset(&reported) {
                continue;
            }
            let said = |node: NodeId| match node == local {
                true => regroup.newest.get(id),
                false => regroup.reports.get(&(node, *id)),
            };
            let all: Option<Vec<u64>> = survivors.iter().map(|node| said(node).copied()).collect();
            let Some(newest_ns) = all.and_then(|all| all.into_iter().max()).filter(|at| *at < removal.newest_ns) else {
                continue;
            };
            let over_ns = newest_ns.saturating_add(Membership::lease_wait_ns(&timing));
            removal.newest_ns = newest_ns;
            removal.lease_over_ns = if by_witness { over_ns.max(installed_ns) } else { over_ns };
            removal.due_ns = removal.lease_over_ns.saturating_add(stop_ns);
            earlier = true;
        }
        if earlier {
            self.persist();
        }
    }

    /// Takeovers that have become safe. Only a node that may act says so.
    pub(super) fn check_removals(&mut self, now: Now) {
        let Some(membership) = &self.membership else { return };
        if !membership.quorate(now) {
            return;
        }
        let due: Vec<_> = membership
            .removals
            .iter()
            .filter(|(_, removal)| removal.due_ns <= now.mono_ns)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.report_safe(now, id, Enforcement::LeaseCheckers);
        }
    }

    pub(super) fn confirm_fenced(&mut self, now: Now, id: NodeId) -> Result<(), Refusal> {
        let known = self.membership.as_ref().is_some_and(|membership| membership.removals.contains_key(&id));
        if !known {
            return Err(Refusal::NotMember);
        }
        self.report_safe(now, id, Enforcement::Confirmed);
        Ok(())
    }

    fn report_removed(&mut self, now: Now, id: NodeId, basis: Basis) {
        let Some(removal) = self.membership.as_ref().and_then(|membership| membership.removals.get(&id)).copied()
        else {
            return;
        };
        let text = format!("Node {} was removed from the view.", self.peer_name(id));
        let detail = Detail::Removed {
            incarnation: removal.incarnation,
            newest_ns: removal.newest_ns,
            safe_ns: removal.due_ns,
            reason: basis.reason,
            decider: basis.decider,
            rule: basis.rule,
            votes: basis.votes,
            sequence: basis.sequence,
            survivors: basis.survivors,
            links: basis.links,
            stages: basis.stages,
        };
        self.event(now, EventId::NodeRemoved, Some(id), None, text, detail);
    }

    fn report_safe(&mut self, now: Now, id: NodeId, enforced: Enforcement) {
        let removal = self.membership.as_mut().and_then(|membership| membership.removals.remove(&id));
        let Some(removal) = removal else { return };
        self.persist();
        if removal.silent {
            return;
        }
        let text = format!("What node {} did may be taken over.", self.peer_name(id));
        let newest_ns = removal.newest_ns;
        let (lease_over_ns, due_ns) = (removal.lease_over_ns, removal.due_ns);
        let detail = Detail::Safe { incarnation: removal.incarnation, newest_ns, enforced, lease_over_ns, due_ns };
        self.event(now, EventId::RemovalSafe, Some(id), None, text, detail);
    }

    fn node_name(&self, id: NodeId) -> String {
        self.config.node(id).map_or_else(|| id.to_string(), |node| node.name.clone())
    }
}
