//! The invariants, in true time: what the cores say and do, against what really happened.

mod arrivals;
pub mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heartbeat_membership::{
    Arbiter, ConfigDigest, CoreConfig, Incarnation, NodeId, NodeSet, Record, Stage, Timing, View, ViewId, Votes,
};

use arrivals::Arrivals;

/// A node in one of its lives.
pub type Life = (NodeId, Incarnation);

/// What the checker must know of a machine at this moment.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Who it is.
    pub life: Life,
    /// Its view, while it acts.
    pub view: Option<Arc<View>>,
    /// Whether its lease is valid by its own clock.
    pub leased: bool,
    /// It stood still as a whole and cannot know that yet.
    pub unaware: bool,
}

/// Collects evidence and finds violations.
#[derive(Debug)]
pub struct Checker {
    timing: Timing,
    votes: Votes,
    /// Votes of each configuration, and the configuration that each view was installed under.
    configs: BTreeMap<ConfigDigest, Votes>,
    under: BTreeMap<ViewId, ConfigDigest>,
    views: BTreeMap<u64, ViewId>,
    predecessors: BTreeMap<ViewId, View>,
    /// Every view that was installed anywhere.
    known: Vec<View>,
    announced: BTreeMap<ViewId, BTreeSet<Life>>,
    installed: BTreeSet<ViewId>,
    safe: BTreeSet<Life>,
    records: BTreeMap<Life, Record>,
    arrivals: Arrivals,
    /// When a node last was dead, frozen or in another life.
    disturbed: BTreeMap<NodeId, u64>,
    /// Regroups that each life has started over since it last was stabilized, once that is counted.
    restarts: Option<BTreeMap<Life, u64>>,
    /// Nodes that are configured.
    nodes: u64,
    /// Violations, in words.
    pub violations: Vec<String>,
    /// What was seen, so that a run that exercises nothing shows.
    pub tally: Tally,
}

/// Counts of what a run exercised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Views installed anywhere for the first time.
    pub views: u64,
    /// Removals reported.
    pub removals: u64,
    /// Takeovers declared safe.
    pub safe: u64,
    /// Stops for lack of quorum.
    pub quorum_lost: u64,
    /// Stops because the others went on.
    pub pruned: u64,
    /// Suspensions.
    pub suspended: u64,
    /// Nodes that came into a view.
    pub joined: u64,
    /// Nodes that went over to another configuration.
    pub configs: u64,
    /// Times that the witness changed hands.
    pub witness_taken: u64,
    /// Machines that noticed that they had stood still.
    pub stood_still: u64,
    /// Controllers that were found to hang.
    pub hung: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.views += other.views;
        self.removals += other.removals;
        self.safe += other.safe;
        self.quorum_lost += other.quorum_lost;
        self.pruned += other.pruned;
        self.suspended += other.suspended;
        self.joined += other.joined;
        self.configs += other.configs;
        self.witness_taken += other.witness_taken;
        self.stood_still += other.stood_still;
        self.hung += other.hung;
    }
}

impl Checker {
    /// A checker for one configuration.
    #[must_use]
    pub fn new(config: &CoreConfig, arbiter: Arbiter) -> Self {
        Self {
            timing: config.timing,
            votes: Votes::new(config, arbiter),
            configs: BTreeMap::new(),
            under: BTreeMap::new(),
            views: BTreeMap::new(),
            predecessors: BTreeMap::new(),
            known: Vec::new(),
            announced: BTreeMap::new(),
            installed: BTreeSet::new(),
            safe: BTreeSet::new(),
            records: BTreeMap::new(),
            arrivals: Arrivals::new(config.timing),
            disturbed: BTreeMap::new(),
            restarts: None,
            nodes: config.nodes.len() as u64,
            violations: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// `to` accepted a heartbeat that `from` sent at `sent_ns` on its own clock.
    pub fn accepted(&mut self, from: Life, to: Life, sent_ns: u64, true_ns: u64) {
        self.arrivals.accepted(from, to, sent_ns, true_ns);
    }

    /// Invariant 8 from here on: faults are over, so a regroup starts over at most once for each node.
    pub fn expect_few_restarts(&mut self) {
        self.restarts = Some(BTreeMap::new());
    }

    /// The node is dead, frozen, or has begun another life.
    pub fn disturb(&mut self, node: NodeId, true_ns: u64) {
        self.disturbed.insert(node, true_ns);
    }

    /// Invariant 6: sequence and view number never fall within an incarnation. Collects who announced what.
    pub fn recorded(&mut self, life: Life, record: &Record) {
        if let Some(earlier) = self.records.get(&life) {
            let number = |record: &Record| record.view.as_ref().map_or(0, |view| view.id.number);
            if record.sequence < earlier.sequence || number(record) < number(earlier) || record.epoch < earlier.epoch {
                self.violations.push(format!("6: {life:?} fell from {earlier:?} to {record:?}"));
            }
        }
        if let Some(restarts) = &mut self.restarts {
            let count = restarts.entry(life).or_default();
            // Attempts to form have nothing to do with each other.
            let same_view = |earlier: &&Record| record.view.is_some() && earlier.view == record.view;
            let earlier = self.records.get(&life).filter(same_view);
            let earlier = earlier.filter(|earlier| earlier.stage != Stage::Stabilized);
            match earlier {
                _ if record.stage == Stage::Stabilized => *count = 0,
                Some(earlier) if record.sequence > earlier.sequence => *count += 1,
                Some(_) | None => {}
            }
            if *count > self.nodes {
                self.violations.push(format!("8: {life:?} started a regroup over {count} times"));
                *count = 0;
            }
        }
        if let Some(bound) = record.bound {
            self.announced.entry(bound).or_default().insert(life);
        }
        self.records.insert(life, record.clone());
    }

    /// Invariant 3, and 5 for forming.
    pub fn installing(
        &mut self,
        life: Life,
        view: &View,
        predecessor: Option<&View>,
        may_form: bool,
        config: ConfigDigest,
    ) {
        match self.views.get(&view.id.number) {
            Some(known) if *known != view.id => {
                self.violations.push(format!("3: two views {}: {known:?} and {:?}", view.id.number, view.id));
            }
            Some(_) => {}
            None => {
                self.views.insert(view.id.number, view.id);
            }
        }
        if !self.installed.insert(view.id) {
            return;
        }
        self.under.insert(view.id, config);
        self.tally.views += 1;
        self.known.push(view.clone());
        let announced = self.announced.get(&view.id).cloned().unwrap_or_default();
        for member in &view.members {
            let member = (*member.0, *member.1);
            if !announced.contains(&member) {
                self.violations.push(format!("3: {life:?} installed {view:?} before {member:?} announced pruning"));
            }
        }
        match predecessor {
            Some(predecessor) => {
                let stayed: NodeSet = view
                    .members
                    .iter()
                    .filter(|(id, incarnation)| predecessor.has(**id, **incarnation))
                    .map(|(id, _)| *id)
                    .collect();
                let electorate = self.electorate(predecessor);
                if !electorate.quorum(&stayed, true).holds() {
                    self.violations.push(format!("3: {view:?} follows {predecessor:?} without a quorum of it"));
                }
                self.predecessors.insert(view.id, predecessor.clone());
            }
            None if self.predecessors.contains_key(&view.id) => {}
            None => {
                // A joining node has no predecessor either: then another member installs it from one.
                let forming = view.id.number & 0xffff_ffff == 1 && !view.forced;
                if forming && !self.electorate(view).may_form(&view.set(), true) {
                    self.violations.push(format!("5: {view:?} was formed without a strict majority"));
                }
                if forming && !may_form {
                    self.violations.push(format!("5: {life:?} formed {view:?} before its wait was over"));
                }
            }
        }
    }

    /// Invariants 1 and 2, whenever the lease of `of` changed; `all` are the standings of all machines.
    pub fn leases_exclude(&mut self, of: usize, all: &[Standing]) {
        let Some(own) = all.get(of).filter(|own| own.leased) else { return };
        let Some(view) = &own.view else { return };
        if self.safe.contains(&own.life) {
            self.violations.push(format!("1: {:?} holds a lease although it was declared gone", own.life));
        }
        let own_is_in = view.has(own.life.0, own.life.1);
        for other in all.iter().filter(|other| other.leased && other.life != own.life) {
            let Some(their_view) = &other.view else { continue };
            if own_is_in && their_view.id == view.id {
                continue;
            }
            let strangers = !their_view.has(own.life.0, own.life.1) && !view.has(other.life.0, other.life.1);
            if strangers {
                self.violations.push(format!("2: {own:?} and {other:?} both hold leases"));
            }
        }
    }

    /// Invariants 1, 2 and 4, whenever the lease of `of` changed; `all` are the standings of all machines.
    pub fn leases(&mut self, of: usize, lease_end_ns: u64, all: &[Standing]) {
        self.leases_exclude(of, all);
        let Some(own) = all.get(of).filter(|own| own.leased) else { return };
        let Some(view) = &own.view else { return };
        let since_ns = lease_end_ns.saturating_sub(self.timing.lease_ns());
        let mut backers: NodeSet = view
            .members
            .iter()
            .filter(|(id, incarnation)| {
                self.arrivals.received(own.life, (**id, **incarnation)).is_some_and(|sent_ns| sent_ns >= since_ns)
            })
            .map(|(id, _)| *id)
            .collect();
        backers.insert(own.life.0);
        let electorate = self.electorate(view);
        if !electorate.quorum(&backers, true).holds() {
            let heard = self.arrivals.received_of(own.life);
            let text = format!("4: the lease of {own:?} since {since_ns} rests on {backers:?} alone; heard: {heard:?}");
            self.violations.push(text);
        }
    }

    /// Invariants 1 and 5 for a declared takeover.
    pub fn declared_safe(&mut self, declarer: &Standing, removed: Life, confirmed: bool, all: &[Standing]) {
        self.tally.safe += 1;
        if !declarer.leased && !declarer.unaware && !confirmed {
            self.violations.push(format!("5: {declarer:?} declared {removed:?} gone without a lease"));
        }
        if let Some(alive) = all.iter().find(|other| other.life == removed && other.leased && other.view.is_some()) {
            self.violations.push(format!("1: {alive:?} holds a lease while it is declared gone"));
        }
        self.safe.insert(removed);
    }

    /// Invariant 7 for a removal.
    pub fn removed(&mut self, by: Life, node: NodeId, old: &NodeSet, since_ns: u64, true_ns: u64) {
        self.tally.removals += 1;
        let unheard = old.iter().any(|other| {
            self.arrivals.was_cut((other, node), since_ns, true_ns)
                || self.arrivals.was_cut((node, other), since_ns, true_ns)
        });
        let disturbed = self.disturbed.get(&node).is_some_and(|at| *at >= since_ns);
        if !unheard && !disturbed {
            self.violations.push(format!("7: {by:?} removed node {node}, which was heard by all and heard all"));
        }
    }

    /// Invariant 7 for a poison: it stops only whom a later view has left out.
    pub fn poisoned(&mut self, life: Life, view: Option<&View>) {
        let number = view.map_or(0, |view| view.id.number);
        if !self.known.iter().any(|later| later.id.number > number && !later.has(life.0, life.1)) {
            self.violations.push(format!("7: {life:?} was poisoned in view {number}, which nobody left it out of"));
        }
    }

    /// Invariant 7 for a lapse.
    pub fn lapsed(&mut self, of: Life, view: Option<ViewId>, members: &NodeSet, since_ns: u64, true_ns: u64) {
        self.tally.suspended += 1;
        if self.disturbed.get(&of.0).is_some_and(|at| *at >= since_ns) {
            return;
        }
        let mut sound: NodeSet = members
            .iter()
            .filter(|other| {
                let disturbed = self.disturbed.get(other).is_some_and(|at| *at >= since_ns);
                !disturbed && !self.arrivals.was_late(*other, of.0, since_ns, true_ns)
            })
            .collect();
        sound.insert(of.0);
        let votes = view.and_then(|view| self.configs.get(self.under.get(&view)?)).unwrap_or(&self.votes);
        if votes.quorum(&sound, false).holds() {
            self.violations.push(format!("7: the lease of {of:?} lapsed although it and {sound:?} heard each other"));
        }
    }

    /// Another configuration that nodes may go over to.
    pub fn under(&mut self, digest: ConfigDigest, votes: Votes) {
        self.configs.insert(digest, votes);
    }

    /// The votes that count in a view.
    fn electorate(&self, view: &View) -> Votes {
        let votes = self.under.get(&view.id).and_then(|digest| self.configs.get(digest)).unwrap_or(&self.votes);
        if view.forced { votes.narrowed(&view.set()) } else { votes.clone() }
    }
}
