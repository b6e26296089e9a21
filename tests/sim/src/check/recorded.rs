//! The same invariants on what real processes recorded: 1, 2, 3, 5 and 6. What really arrived (4, 7) and what should have
//! happened (8) is in no recording.

use std::collections::BTreeMap;
use std::sync::Arc;

use heartbeat_membership::{
    Action, Arbiter, ConfigDigest, CoreConfig, Detail, Enforcement, EventId, Incarnation, Input, MembershipAction,
    NodeId, Now, View, Votes,
};

use super::{Checker, Standing, Tally};

/// One line of the merged recordings of all nodes.
#[derive(Debug, Clone)]
pub struct Entry {
    /// True time: on one machine the `CLOCK_MONOTONIC` of all processes.
    pub true_ns: u64,
    /// The node.
    pub node: NodeId,
    /// The clocks that its core was given.
    pub now: Now,
    /// What happened there.
    pub what: Happened,
}

/// What happens at a node.
#[derive(Debug, Clone)]
pub enum Happened {
    /// A core was built: a process has started.
    Started {
        /// Its incarnation.
        incarnation: Incarnation,
        /// The view that it goes on with, where it does.
        view: Option<View>,
    },
    /// An input was fed.
    Input(Input),
    /// An action was polled.
    Action(Action),
    /// The process is gone, with everything that it did.
    Ended,
}

/// What the check found.
#[derive(Debug)]
pub struct Findings {
    /// Violations, in words; none in a good run.
    pub violations: Vec<String>,
    /// What was exercised: a recording in which nothing happens proves nothing.
    pub tally: Tally,
    /// Entries that were looked at.
    pub entries: u64,
}

/// Recordings of all nodes of one cluster, merged.
#[derive(Debug)]
pub struct Recorded {
    checker: Checker,
    formation_wait_ns: u64,
    digest: ConfigDigest,
    nodes: BTreeMap<NodeId, Node>,
    entries: u64,
}

#[derive(Debug, Clone, Default)]
struct Node {
    incarnation: Option<Incarnation>,
    view: Option<View>,
    /// In true time.
    lease_end_ns: u64,
    began_mono_ns: u64,
    began_ns: u64,
    /// When it last lived without a view.
    viewless_ns: u64,
    /// The configuration that it went over to since it started.
    digest: Option<ConfigDigest>,
}

impl Recorded {
    /// Another configuration that nodes go over to in these recordings.
    pub fn under(&mut self, config: &CoreConfig, arbiter: Arbiter) {
        self.checker.under(config.digest, Votes::new(config, arbiter));
    }

    /// For a cluster in which each node takes at most `stop_time_ns` to stop acting. `config` is that of any of its nodes,
    /// as its core was given it.
    #[must_use]
    pub fn new(config: &CoreConfig, arbiter: Arbiter, stop_time_ns: u64) -> Self {
        let timing = &config.timing;
        let lease_ns = timing.lease_ns();
        let formation_wait_ns = lease_ns + lease_ns / 1000 * 21 + timing.interval_ns + timing.grace_ns + stop_time_ns;
        Self {
            checker: Checker::new(config, arbiter),
            formation_wait_ns,
            digest: config.digest,
            nodes: config.nodes.iter().map(|node| (node.id, Node::default())).collect(),
            entries: 0,
        }
    }

    /// Checks a list of entries; they are put in the order of true time first, those of equal times stay as they are.
    #[must_use]
    pub fn check(mut self, mut entries: Vec<Entry>) -> Findings {
        entries.sort_by_key(|entry| entry.true_ns);
        for entry in entries {
            self.entries += 1;
            self.take(entry);
        }
        Findings { violations: self.checker.violations, tally: self.checker.tally, entries: self.entries }
    }

    fn take(&mut self, entry: Entry) {
        let Entry { true_ns, node: id, now, what } = entry;
        let node = self.nodes.entry(id).or_default();
        if node.incarnation.is_some() && node.view.is_none() {
            node.viewless_ns = true_ns;
        }
        match what {
            Happened::Started { incarnation, view } => {
                let viewless_ns = if view.is_none() { true_ns } else { 0 };
                *node = Node {
                    incarnation: Some(incarnation),
                    view,
                    // An adopted lease is written anew before the first action.
                    lease_end_ns: if node.incarnation == Some(incarnation) { node.lease_end_ns } else { 0 },
                    began_mono_ns: now.mono_ns,
                    began_ns: true_ns,
                    viewless_ns,
                    digest: None,
                };
            }
            Happened::Ended => *node = Node::default(),
            Happened::Input(Input::IncarnationTaken { incarnation }) => {
                *node = Node {
                    incarnation: Some(incarnation),
                    began_mono_ns: now.mono_ns,
                    began_ns: true_ns,
                    viewless_ns: true_ns,
                    digest: node.digest,
                    ..Node::default()
                };
            }
            Happened::Input(_) => {}
            Happened::Action(Action::Membership(action)) => self.membership(true_ns, id, now, action),
            Happened::Action(Action::Event(event)) => match (event.id, event.peer, event.detail) {
                (EventId::RemovalSafe, Some(peer), Detail::Safe { incarnation, enforced, .. }) => {
                    let all = self.standings(true_ns);
                    let Some(declarer) = all.iter().find(|standing| standing.life.0 == id) else { return };
                    let confirmed = enforced == Enforcement::Confirmed;
                    self.checker.declared_safe(declarer, (peer, incarnation), confirmed, &all);
                }
                (EventId::NodeRemoved, _, _) => self.checker.tally.removals += 1,
                (EventId::Suspended, _, _) => self.checker.tally.suspended += 1,
                (EventId::QuorumLost, _, _) => self.checker.tally.quorum_lost += 1,
                (EventId::Pruned, _, _) => self.checker.tally.pruned += 1,
                (EventId::NodeJoined, _, _) => self.checker.tally.joined += 1,
                (_, _, _) => {}
            },
            Happened::Action(Action::Stop) => *node = Node::default(),
            Happened::Action(
                Action::Send { .. }
                | Action::AcceptIncarnation { .. }
                | Action::ClearIncarnation { .. }
                | Action::TakeIncarnation { .. },
            ) => {}
        }
    }

    fn membership(&mut self, true_ns: u64, id: NodeId, now: Now, action: MembershipAction) {
        let wait_ns = self.formation_wait_ns;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(incarnation) = node.incarnation else { return };
        match action {
            MembershipAction::Persist(record) => self.checker.recorded((id, incarnation), &record),
            MembershipAction::Lease { end_boot_ns } => {
                // The boot clock of the node, as it stands to true time now.
                let ahead_ns = end_boot_ns.saturating_sub(now.boot_ns);
                node.lease_end_ns = if ahead_ns == 0 { 0 } else { true_ns.saturating_add(ahead_ns) };
                let all = self.standings(true_ns);
                if let Some(place) = all.iter().position(|standing| standing.life.0 == id) {
                    self.checker.leases_exclude(place, &all);
                }
            }
            MembershipAction::Install(view) => {
                let waited = now.mono_ns >= node.began_mono_ns.saturating_add(wait_ns);
                let began_ns = node.began_ns;
                let predecessor = node.view.replace(view.clone());
                let digest = node.digest.unwrap_or(self.digest);
                let others = self.nodes.iter().filter(|(other, _)| **other != id);
                let all_here = others.into_iter().all(|(_, other)| other.viewless_ns >= began_ns);
                self.checker.installing((id, incarnation), &view, predecessor.as_ref(), waited || all_here, digest);
            }
            MembershipAction::Halt(_) => {
                node.view = None;
                node.lease_end_ns = 0;
            }
            MembershipAction::Bind { .. }
            | MembershipAction::Witness(_)
            | MembershipAction::AskExternalHosts { .. } => {}
            MembershipAction::SwitchConfig { digest } => node.digest = Some(digest),
        }
    }

    fn standings(&self, true_ns: u64) -> Vec<Standing> {
        self.nodes
            .iter()
            .filter_map(|(id, node)| {
                Some(Standing {
                    life: (*id, node.incarnation?),
                    view: node.view.clone().map(Arc::new),
                    leased: true_ns < node.lease_end_ns,
                    unaware: false,
                })
            })
            .collect()
    }
}
