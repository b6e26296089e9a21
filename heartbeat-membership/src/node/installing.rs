//! Installing a view, and the time from which the work of a removed node is free to take.

use super::Node;
use crate::action::Action;
use crate::event::{Detail, Enforcement, EventId};
use crate::ids::NodeId;
use crate::membership::{Membership, MembershipAction, Removal, electorate};
use crate::nodeset::NodeSet;
use crate::refusal::Refusal;
use crate::regroup::{Stage, StageEvent};
use crate::time::Now;
use crate::view::{self, View};

impl Node {
    /// All members have announced pruning for `view`: it is ours from here on.
    pub(super) fn install(&mut self, now: Now, view: View) {
        let local = self.config.local;
        let timing = self.config.timing;
        let Some(membership) = &mut self.membership else { return };
        let old = membership.view.take();
        let set = view.set();
        let old_set = old.as_ref().map(View::set).unwrap_or_default();
        let wait_ns = membership.safety_wait_ns(&timing);
        let regroup = &mut membership.regroup;
        let decided = regroup.decision.as_ref().filter(|accepted| accepted.view.id == view.id);
        let decider = decided.map_or(local, |accepted| accepted.decision.decider);
        membership.electorate = electorate(&membership.votes, Some(&view));
        let rule = membership.electorate.quorum(&set, membership.witness_ns.is_some());
        let removed = old_set.without(&set);
        let gone = std::mem::take(&mut membership.left);
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
            let due_ns = newest_ns.saturating_add(wait_ns);
            let lease_over_ns = newest_ns.saturating_add(Membership::lease_wait_ns(&timing));
            let removal = Removal { incarnation: *incarnation, newest_ns, lease_over_ns, due_ns, silent: false };
            membership.removals.insert(*id, removal);
            let configured = self.config.nodes.iter().map(|node| node.id).collect();
            membership.quarantine.removed(*id, &configured, &membership.votes, now);
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
        let (reason, sequence, began_ns) = (regroup.reason, regroup.sequence, regroup.began_ns);
        let joined_existing = regroup.joining.is_some();
        regroup.bound = None;
        regroup.joining = None;
        regroup.joiner = None;
        regroup.newest.clear();
        regroup.reports.clear();
        regroup.step(StageEvent::AllPruning, now.mono_ns);
        regroup.mark(local, Stage::Cleanup1);
        membership.epoch = membership.epoch.max(view::epoch(view.id.number));
        membership.installed = Some(now);
        membership.lease_stale = true;
        // Whoever is in this view has installed the one before it. A node that joins knows of nobody yet; where a view
        // is formed there is none before it.
        membership.strangers =
            if joined_existing { set.without(&NodeSet::of(local)) } else { membership.strangers.and(&removed) };
        membership.suspended_boot_ns = None;
        membership.hung.retain(|id, incarnation| view.has(*id, *incarnation));
        for id in removed.iter() {
            membership.lease.forget(id);
        }
        membership.view = Some(view.clone());
        self.persist();
        self.actions.push_back(Action::Membership(MembershipAction::Install(view.clone())));
        for id in removed.without(&gone).iter() {
            self.report_removed(now, id, reason, decider, rule);
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
        let detail = Detail::Installed { members, decider, reason, rule, sequence, began_ns };
        self.event(now, EventId::ViewInstalled, None, None, text, detail);
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

    fn report_removed(
        &mut self,
        now: Now,
        id: NodeId,
        reason: crate::message::regroup::Reason,
        decider: NodeId,
        rule: crate::quorum::Rule,
    ) {
        let Some(removal) = self.membership.as_ref().and_then(|membership| membership.removals.get(&id)).copied()
        else {
            return;
        };
        let text = format!("Node {} was removed from the view.", self.peer_name(id));
        let detail = Detail::Removed {
            incarnation: removal.incarnation,
            newest_ns: removal.newest_ns,
            safe_ns: removal.due_ns,
            reason,
            decider,
            rule,
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
        let detail = Detail::Safe { incarnation: removal.incarnation, newest_ns, enforced };
        self.event(now, EventId::RemovalSafe, Some(id), None, text, detail);
    }

    fn node_name(&self, id: NodeId) -> String {
        self.config.node(id).map_or_else(|| id.to_string(), |node| node.name.clone())
    }
}
