//! Membership: its state.

mod exchange;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{CoreConfig, Timing};
use crate::ids::{Incarnation, NodeId};
use crate::lease::Lease;
use crate::node::networks::Networks;
use crate::nodeset::NodeSet;
use crate::quarantine::Quarantine;
use crate::quorum::{Arbiter, Votes};
use crate::regroup::Regroup;
use crate::staging::Staged;
use crate::time::{MILLISECOND_NS, Now, SECOND_NS};
use crate::view::View;
use crate::witness::Witness;

pub use exchange::{
    Echo, HaltReason, MembershipAction, MembershipInput, MembershipSnapshot, Newest, Record, Removal, Settings,
    StagedSnapshot,
};

/// Removals of the view that was installed last.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Settling {
    pub(crate) removed: NodeSet,
    /// Who reports on them.
    pub(crate) survivors: NodeSet,
    pub(crate) installed_ns: u64,
    /// The view rested on the witness.
    pub(crate) by_witness: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Membership {
    pub(crate) settings: Settings,
    pub(crate) votes: Votes,
    /// The votes that count in the view: all configured ones, or its members' where it was formed by force.
    pub(crate) electorate: Votes,
    /// Changed by [`Membership::set_view`] alone.
    pub(crate) view: Option<View>,
    /// Its members; empty where there is none.
    members: NodeSet,
    pub(crate) epoch: u32,
    /// When this incarnation began.
    pub(crate) started: Now,
    pub(crate) began_ns: u64,
    pub(crate) installed: Option<Now>,
    pub(crate) regroup: Regroup,
    pub(crate) lease: Lease,
    pub(crate) shown_lease: Option<u64>,
    pub(crate) suspended_boot_ns: Option<u64>,
    /// Stopped acting; waits for a new incarnation.
    pub(crate) halted: bool,
    pub(crate) removals: BTreeMap<NodeId, Removal>,
    pub(crate) networks: Networks,
    pub(crate) quarantine: Quarantine,
    pub(crate) persisted: Option<Record>,
    pub(crate) next_join_ns: u64,
    pub(crate) next_config_ns: u64,
    /// When whom this node hears is looked at again, while it seeks a view in a large cluster.
    pub(crate) next_seek_ns: u64,
    /// What the removals of the installed view rest on.
    pub(crate) settling: Settling,
    /// Timing before the last change of the configuration, until every member has gone over.
    pub(crate) former_timing: Option<Timing>,
    pub(crate) next_form_ns: Option<u64>,
    pub(crate) next_poison_ns: BTreeMap<NodeId, u64>,
    pub(crate) witness: Option<Witness>,
    pub(crate) staged: Option<Staged>,
    /// Members of the view that left in order.
    pub(crate) left: NodeSet,
    /// Members whose controllers hang, and the incarnation that does.
    pub(crate) hung: BTreeMap<NodeId, Incarnation>,
    /// For a node that joined: members that may still act in the view before, which this node is not in. Until there is
    /// none, it holds no lease: two nodes that do not know each other must not both act.
    pub(crate) strangers: NodeSet,
    /// Echoes or view changed since the lease was computed.
    pub(crate) lease_stale: bool,
    /// Bytes of a mask that names every configured node.
    pub(crate) mask_bytes: usize,
}

impl Membership {
    pub(crate) fn new(config: &CoreConfig, settings: Settings, now: Now) -> Self {
        let resumed = settings.resumed().cloned();
        let mut regroup = Regroup::new();
        let mut lease = Lease::new(now, now.mono_ns);
        let (mut epoch, mut removals, mut strangers) = (settings.epoch, BTreeMap::new(), NodeSet::EMPTY);
        if let Some(record) = &resumed {
            regroup.sequence = record.sequence;
            epoch = epoch.max(record.epoch);
            removals.clone_from(&record.removals);
            strangers = record.strangers.iter().copied().collect();
            lease = Lease::new(now, record.began_ns);
        }
        let began_ns = resumed.as_ref().map_or(now.mono_ns, |record| record.began_ns);
        let view = resumed.and_then(|record| record.view);
        let votes = Votes::new(config, settings.arbiter);
        Self {
            electorate: electorate(&votes, view.as_ref()),
            votes,
            epoch,
            started: now,
            installed: view.is_some().then_some(now),
            members: view.as_ref().map(View::set).unwrap_or_default(),
            view,
            regroup,
            lease,
            began_ns,
            shown_lease: None,
            suspended_boot_ns: None,
            halted: false,
            removals,
            networks: Networks::default(),
            quarantine: Quarantine::default(),
            persisted: None,
            next_join_ns: now.mono_ns,
            next_config_ns: now.mono_ns,
            next_seek_ns: now.mono_ns,
            settling: Settling::default(),
            former_timing: None,
            next_form_ns: None,
            next_poison_ns: BTreeMap::new(),
            witness: (settings.arbiter == Arbiter::Witness).then(|| Witness::new(settings.record_lease_ns, now)),
            staged: None,
            left: NodeSet::EMPTY,
            hung: BTreeMap::new(),
            strangers,
            lease_stale: true,
            mask_bytes: mask_bytes(config),
            settings,
        }
    }

    /// A new life of this node, in no view. Sequences go on: nothing is gained by letting them fall.
    pub(crate) fn begin_life(&mut self, now: Now) {
        let sequence = self.regroup.sequence;
        self.regroup = Regroup::new();
        self.regroup.sequence = sequence;
        self.set_view(None);
        self.electorate = self.votes.clone();
        self.started = now;
        self.installed = None;
        self.lease = Lease::new(now, now.mono_ns);
        if let Some(witness) = &mut self.witness {
            witness.void();
        }
        self.began_ns = now.mono_ns;
        self.suspended_boot_ns = None;
        self.halted = false;
        self.removals.clear();
        self.networks.begin_life();
        self.left = NodeSet::EMPTY;
        self.hung.clear();
        self.strangers = NodeSet::EMPTY;
        self.lease_stale = true;
        self.next_join_ns = now.mono_ns;
        self.next_form_ns = None;
        self.next_poison_ns.clear();
    }

    pub(crate) fn members(&self) -> NodeSet {
        self.members
    }

    /// Returns the one before.
    pub(crate) fn set_view(&mut self, view: Option<View>) -> Option<View> {
        self.members = view.as_ref().map(View::set).unwrap_or_default();
        std::mem::replace(&mut self.view, view)
    }

    pub(crate) fn view_number(&self) -> u64 {
        self.view.as_ref().map_or(0, |view| view.id.number)
    }

    pub(crate) fn quorate(&self, now: Now) -> bool {
        self.view.is_some() && !self.halted && self.strangers.is_empty() && self.lease.is_valid(now)
    }

    pub(crate) fn snapshot(
        &self,
        now: Now,
        witness_counts: bool,
        staged: Option<StagedSnapshot>,
    ) -> MembershipSnapshot {
        MembershipSnapshot {
            view: self.view.clone(),
            quorate: self.quorate(now),
            lease_end_boot_ns: self.lease.end_boot_ns(),
            suspended: self.suspended_boot_ns.is_some(),
            sequence: self.regroup.sequence,
            stage: self.regroup.stage,
            bound: self.regroup.bound.as_ref().map(|view| view.id),
            quarantined: self.quarantine.standing(now),
            networks: self.networks.shown().clone(),
            leader: self.members().first(),
            removals: self.removals.iter().filter(|(_, removal)| !removal.silent).map(|(id, it)| (*id, *it)).collect(),
            witness: self.witness.as_ref().map(|witness| witness.snapshot(witness_counts)),
            staged,
        }
    }

    /// How long after its newest stamp the lease of a removed node has certainly ended: an echo of that stamp may have
    /// been an interval on its way into a heartbeat.
    pub(crate) fn lease_wait_ns(timing: &Timing) -> u64 {
        let lease_ns = timing.lease_ns();
        // Two clocks that each keep within 1 % of true time differ by at most 2.1 %.
        lease_ns.saturating_add(lease_ns / 1000 * 21).saturating_add(timing.interval_ns)
    }

    /// How long after its newest stamp a removed node has certainly stopped: the rule of when a takeover is safe.
    pub(crate) fn safety_wait_ns(&self, timing: &Timing) -> u64 {
        Self::lease_wait_ns(timing).saturating_add(timing.grace_ns).saturating_add(self.settings.stop_time_ns)
    }
}

/// Bytes of a mask that has room for every configured node.
pub(crate) fn mask_bytes(config: &CoreConfig) -> usize {
    let highest = config.nodes.iter().map(|node| node.id.0).max().unwrap_or(1);
    usize::from(highest.div_ceil(8))
}

/// The votes that count in a view.
pub(crate) fn electorate(votes: &Votes, view: Option<&View>) -> Votes {
    match view.filter(|view| view.forced) {
        Some(view) => votes.narrowed(&view.set()),
        None => votes.clone(),
    }
}

impl Timing {
    /// Of each period the longer one: what holds whichever of two timings a node follows.
    pub(crate) fn longest(&self, other: &Self) -> Self {
        Self {
            interval_ns: self.interval_ns.max(other.interval_ns),
            late_after: self.late_after.max(other.late_after),
            lost_after: self.lost_after.max(other.lost_after),
            grace_ns: self.grace_ns.max(other.grace_ns),
            hang_timeout_ns: self.hang_timeout_ns.max(other.hang_timeout_ns),
        }
    }

    /// Length of a lease: longer than the silence limit, for an echo is up to two intervals old when it counts.
    #[must_use]
    pub fn lease_ns(&self) -> u64 {
        u64::from(self.lost_after).saturating_add(3).saturating_mul(self.interval_ns)
    }

    /// Pause between two copies of a regroup message.
    pub(crate) fn regroup_tick_ns(&self) -> u64 {
        (self.interval_ns / 4).clamp(MILLISECOND_NS, 300 * MILLISECOND_NS)
    }

    /// How long a row waits for verdicts to settle: what is late now is silent by then, unless it is heard; and well
    /// before the limit at which who has not reported is excluded.
    pub(crate) fn settling_ns(&self) -> u64 {
        let intervals = u64::from(self.lost_after.saturating_sub(self.late_after)).saturating_add(2);
        intervals.saturating_mul(self.interval_ns).min(self.stage_limit_ns() / 4 * 3)
    }

    /// How long a stage waits for who does not answer.
    pub(crate) fn stage_limit_ns(&self) -> u64 {
        self.interval_ns.saturating_mul(4).clamp(SECOND_NS, 5 * SECOND_NS)
    }
}
