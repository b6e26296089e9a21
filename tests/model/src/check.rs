//! The invariants, checked at every step. The numbers are those of the simulator's checker.
//!
//! What is remembered of the past is kept only as long as it can be broken, so that it does not make each state another.

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_membership::{HaltReason, Incarnation, NodeId, NodeSet, Record, View, ViewId, Votes};
use serde::Serialize;

use crate::{cluster::Cluster, model::Scope};

/// A node in one of its lives.
pub type Life = (NodeId, Incarnation);

/// A broken invariant.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// Its number.
    pub invariant: u8,
    /// What happened. Not part of the state: it tells times.
    #[serde(skip)]
    pub text: String,
}

/// What must be remembered to see an invariant broken.
#[derive(Debug, Clone, Default, Serialize)]
pub struct History {
    /// Views that were installed or announced, by number; those that a node is still in or bound to, and newer ones.
    views: BTreeMap<Numbered, ViewId>,
    /// Who announced pruning for a view.
    announced: BTreeMap<Announced, BTreeSet<Life>>,
    /// Living incarnations that were declared gone.
    gone: BTreeSet<Life>,
    /// Living incarnations that an installed view left out.
    left_out: BTreeSet<Life>,
    /// Newest send time of what one living incarnation accepted of another.
    received: BTreeMap<(Life, Life), u64>,
}

/// A view number as a key: told by its field name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Numbered {
    number: u64,
}

/// The identity of an announced view as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Announced {
    id: ViewId,
}

impl History {
    /// `to` accepted a heartbeat of `from`.
    pub(crate) fn accepted(&mut self, from: Life, to: Life, sent_ns: u64) {
        let newest = self.received.entry((from, to)).or_default();
        *newest = (*newest).max(sent_ns);
    }
}

impl Cluster {
    /// Notes a broken invariant, the first one.
    pub(crate) fn violate(&mut self, invariant: u8, text: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, text: text() });
        }
    }

    /// Invariants 1 and 2, which concern the present alone; and forgets what cannot be broken any more.
    pub(crate) fn check_standing(&mut self, scope: &Scope) {
        let now = self.now();
        let acting: Vec<(Life, View)> = self
            .machines
            .iter()
            .filter(|machine| machine.leased(now))
            .filter_map(|machine| Some(((machine.id, machine.incarnation), machine.view.clone()?)))
            .collect();
        for (index, (life, view)) in acting.iter().enumerate() {
            if self.history.gone.contains(life) {
                self.violate(1, || format!("{life:?} may act although it was declared gone"));
            }
            for (other, their_view) in &acting[..index] {
                if !view.has(other.0, other.1) && !their_view.has(life.0, life.1) {
                    self.violate(2, || format!("{life:?} and {other:?} may both act, and neither knows the other"));
                }
            }
        }
        self.forget(scope);
    }

    /// Invariant 6: sequence, view number and epoch never fall within an incarnation. Collects who announced what.
    pub(crate) fn recorded(&mut self, life: Life, earlier: Option<&Record>, record: &Record) {
        if let Some(earlier) = earlier.filter(|earlier| earlier.began_ns == record.began_ns) {
            let number = |record: &Record| record.view.as_ref().map_or(0, |view| view.id.number);
            if record.sequence < earlier.sequence || number(record) < number(earlier) || record.epoch < earlier.epoch {
                self.violate(6, || format!("{life:?} fell from {earlier:?} to {record:?}"));
            }
        }
        if let Some(bound) = record.bound {
            self.history.announced.entry(Announced { id: bound }).or_default().insert(life);
        }
    }

    /// Invariant 4: a quorum of its view has heard what the lease counts from, or something newer. And 1.
    pub(crate) fn leased(&mut self, scope: &Scope, life: Life) {
        let machine = self.machine(life.0);
        let (true, Some(view)) = (machine.leased(self.now()), &machine.view) else { return };
        let since_ns = machine.lease_end_ns.saturating_sub(scope.timing().lease_ns());
        let heard = |peer: &Life| self.history.received.get(&(life, *peer)).is_some_and(|sent_ns| *sent_ns >= since_ns);
        let members = view.members.iter().map(|(id, incarnation)| (*id, *incarnation));
        let mut backers: NodeSet = members.filter(heard).map(|(id, _)| id).collect();
        backers.insert(life.0);
        if !electorate(scope, view).quorum(&backers, true).holds() {
            self.violate(4, || format!("the lease of {life:?} rests on {backers:?} alone"));
        }
    }

    /// Invariant 3, and 5 for forming.
    pub(crate) fn installed(
        &mut self,
        scope: &Scope,
        life: Life,
        view: &View,
        predecessor: Option<&View>,
        may_form: bool,
    ) {
        let known = *self.history.views.entry(Numbered { number: view.id.number }).or_insert(view.id);
        if known != view.id {
            self.violate(3, || format!("two views have the number {}: {known:?} and {view:?}", view.id.number));
        }
        let announced = self.history.announced.get(&Announced { id: view.id });
        let silent = view
            .members
            .iter()
            .map(|(id, incarnation)| (*id, *incarnation))
            .find(|member| !announced.is_some_and(|announced| announced.contains(member)));
        if let Some(member) = silent {
            self.violate(3, || format!("{life:?} installed {view:?} before {member:?} announced pruning"));
        }
        let forming = view.id.number & 0xffff_ffff == 1 && !view.forced;
        if let Some(predecessor) = predecessor {
            let has = |member: &(&NodeId, &Incarnation)| predecessor.has(*member.0, *member.1);
            let stayed: NodeSet = view.members.iter().filter(has).map(|(id, _)| *id).collect();
            if !electorate(scope, predecessor).quorum(&stayed, true).holds() {
                self.violate(3, || format!("{view:?} follows {predecessor:?} without a quorum of it"));
            }
            let left = predecessor.members.iter().filter(|(id, incarnation)| !view.has(**id, **incarnation));
            self.history.left_out.extend(left.map(|(id, incarnation)| (*id, *incarnation)));
        } else if forming && !scope.votes().may_form(&view.set(), true) {
            self.violate(5, || format!("{view:?} was formed without a strict majority"));
        } else if forming && !may_form {
            self.violate(5, || format!("{life:?} formed {view:?} before its wait was over"));
        }
    }

    /// Invariants 1 and 5 for a takeover that is declared safe.
    pub(crate) fn declared_safe(&mut self, declarer: Life, removed: Life, confirmed: bool) {
        let now = self.now();
        if !self.machine(declarer.0).leased(now) && !confirmed {
            self.violate(5, || format!("{declarer:?} declared {removed:?} gone and may not act itself"));
        }
        let machine = self.machine(removed.0);
        if machine.incarnation == removed.1 && machine.leased(now) && machine.view.is_some() {
            self.violate(1, || format!("{removed:?} may act while {declarer:?} declares it gone"));
        }
        self.history.gone.insert(removed);
    }

    /// Invariant 7, as far as it needs no look at the past: a poison takes only those out of a view whom another view has
    /// left out.
    pub(crate) fn halted(&mut self, life: Life, view: Option<&View>, reason: HaltReason) {
        if let (HaltReason::Poisoned, Some(view), false) = (reason, view, self.history.left_out.contains(&life)) {
            self.violate(7, || format!("{life:?} was poisoned in {view:?}, and no view had left it out"));
        }
    }

    fn forget(&mut self, scope: &Scope) {
        let (now_ns, lease_ns) = (self.now().mono_ns, scope.timing().lease_ns());
        let living: BTreeSet<Life> = self
            .machines
            .iter()
            .filter(|machine| machine.core.is_some())
            .map(|machine| (machine.id, machine.incarnation))
            .collect();
        // Below the oldest view that anyone is in nothing is installed any more; without any, everything may be.
        let lowest = self.machines.iter().filter_map(|machine| machine.view.as_ref()).map(|view| view.id.number).min();
        let history = &mut self.history;
        history.gone.retain(|life| living.contains(life));
        history.left_out.retain(|life| living.contains(life));
        // The dead have heard what they heard: a lease may rest on it until it ends.
        history.received.retain(|(from, to), sent_ns| {
            living.contains(from) && (living.contains(to) || *sent_ns + lease_ns >= now_ns)
        });
        if let Some(lowest) = lowest {
            history.views.retain(|number, _| number.number >= lowest);
            history.announced.retain(|view, _| view.id.number >= lowest);
        }
    }
}

fn electorate(scope: &Scope, view: &View) -> Votes {
    if view.forced { scope.votes().narrowed(&view.set()) } else { scope.votes() }
}
