//! Membership: settings, what the driver exchanges with it, and its state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{CoreConfig, Timing};
use crate::ids::{ConfigDigest, Incarnation, NetworkId, NodeId};
use crate::lease::Lease;
use crate::network_state::NetworkReport;
use crate::node::networks::Networks;
use crate::nodeset::NodeSet;
use crate::quarantine::Quarantine;
use crate::quorum::{Arbiter, Votes};
use crate::regroup::{Regroup, Stage};
use crate::staging::Staged;
use crate::time::{MILLISECOND_NS, Now, SECOND_NS};
use crate::view::{View, ViewId};
use crate::witness::{MIN_RECORD_LEASE_NS, Witness, WitnessAnswer, WitnessRequest, WitnessSnapshot};

/// What membership needs beside the configuration of the core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What decides an exact half.
    pub arbiter: Arbiter,
    /// How long a node may take to stop acting: the longer of the hooks' limit and the watchdog's timeout.
    pub stop_time_ns: u64,
    /// Highest form epoch that this node ever persisted; 0 = none.
    pub epoch: u32,
    /// How long the witness's record must be unchanged before others take it, at least 5 s; ignored without a witness.
    /// `grace` is at least twice as long then: whoever waits for the record is suspended meanwhile.
    #[serde(default = "least_record_lease_ns")]
    pub record_lease_ns: u64,
    /// The configuration is not the one that this node last was in a view under, as far as it remembers. It may join then,
    /// but not form, unless every configured node is here and in no view: the others may go on under the former one, in
    /// which other votes are a quorum.
    #[serde(default)]
    pub config_is_new: bool,
    /// The record of a controller that is being restarted, under the conditions of adoption.
    pub resume: Option<Record>,
}

impl Settings {
    /// What a restarted controller goes on with. One that stopped in the middle of a regroup begins a new life.
    pub(crate) fn resumed(&self) -> Option<&Record> {
        self.resume.as_ref().filter(|record| record.stage == Stage::Stabilized)
    }
}

/// What must stand in a pinned map before the message that follows from it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The installed view.
    pub view: Option<View>,
    /// Regroup sequence.
    pub sequence: u64,
    /// Regroup stage.
    pub stage: Stage,
    /// Highest form epoch known; on disk as well, for it must outlive this life.
    pub epoch: u32,
    /// The view that this node is bound to and that is not installed yet.
    pub bound: Option<ViewId>,
    /// When this incarnation began, `CLOCK_MONOTONIC`: echoes of anything sent earlier do not count.
    #[serde(default)]
    pub began_ns: u64,
    /// Removed nodes that may still act.
    #[serde(default)]
    pub removals: BTreeMap<NodeId, Removal>,
    /// Members that are not known to have installed the view that this node joined.
    #[serde(default)]
    pub strangers: Vec<NodeId>,
    /// Incarnations that were removed from a view, of nodes that are in none: never accepted again in this life of the
    /// node, also when its controller is another process by then.
    #[serde(default)]
    pub barred: BTreeMap<NodeId, Incarnation>,
}

/// A removed node that may still believe itself in. Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The incarnation that was removed.
    pub incarnation: Incarnation,
    /// No survivor had a newer stamp.
    pub newest_ns: u64,
    /// When its lease has certainly ended.
    pub lease_over_ns: u64,
    /// When it has certainly stopped.
    pub due_ns: u64,
    /// It was in no view that was installed here: nothing is announced, but nobody joins before its lease is over.
    #[serde(default)]
    pub silent: bool,
}

/// One input for membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "membership", rename_all = "kebab-case")]
pub enum MembershipInput {
    /// The newest echo of each peer over its internal and mixed networks, read from the kernel's link records: often,
    /// and always first after the controller was stopped.
    Echoes {
        /// One entry per peer.
        echoes: Vec<Echo>,
    },
    /// [`MembershipAction::Bind`] was carried out.
    Bound {
        /// As in the action.
        sequence: u64,
        /// Newest stamp of each excluded peer over all its networks, `CLOCK_MONOTONIC`; read after it was cleared.
        newest: Vec<Newest>,
    },
    /// The local clock stood still while the world went on: on most links `stamp - sent` fell by about this much.
    ClockStood {
        /// By how much.
        length_ns: u64,
    },
    /// The kernel of a peer beats but its controller has made no pass for the hang timeout.
    PeerHung {
        /// The peer.
        peer: NodeId,
    },
    /// The witness answered [`MembershipAction::Witness`], however late.
    Witness(WitnessAnswer),
    /// The machine knows that its own interface is broken, or works again: carrier lost, address gone.
    InterfaceBroken {
        /// The network.
        network: NetworkId,
        /// Whether it is broken.
        broken: bool,
    },
    /// Whether hosts outside of the cluster answer on a network: the answer to [`MembershipAction::AskExternalHosts`].
    ExternalHosts {
        /// The network.
        network: NetworkId,
        /// `None` = there are none to ask, or they were not asked.
        answer: Option<bool>,
    },
    /// The operator has put another configuration on this node; it waits until all members have the same. `None` takes
    /// back what was staged. A configuration that the core refuses is told with 9018, and changes nothing.
    Stage {
        /// The configuration.
        staged: Option<Box<Staged>>,
    },
    /// The operator says that all other nodes are off: form a view of this node alone, though it has no majority. Others
    /// join it. Refused while this node is in a view or bound to one.
    FormForced,
    /// The operator lets a quarantined node in again.
    ClearQuarantine {
        /// The node.
        peer: NodeId,
    },
    /// The operator, or a fencing agent, says that the node is off.
    ConfirmFenced {
        /// The node.
        peer: NodeId,
    },
}

/// An echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// Who echoed.
    pub peer: NodeId,
    /// The incarnation that the kernel accepts for it.
    pub incarnation: Incarnation,
    /// Own send time of the heartbeat that it echoed, `CLOCK_MONOTONIC`.
    pub sent_ns: u64,
}

/// The newest stamp of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// The peer.
    pub peer: NodeId,
    /// `CLOCK_MONOTONIC` nanoseconds; 0 = never heard.
    pub stamp_ns: u64,
}

/// One duty of the driver, for membership. In order with all other actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "membership", rename_all = "kebab-case")]
pub enum MembershipAction {
    /// Write the record before any later action.
    Persist(Record),
    /// Clear each excluded peer's incarnation in the kernel, then read its newest stamp, then feed
    /// [`MembershipInput::Bound`]: from here on the kernel must not echo them.
    Bind {
        /// The regroup.
        sequence: u64,
        /// Whom the decision leaves out.
        exclude: Vec<NodeId>,
    },
    /// Write the end of the lease to the kernel's NODE map.
    Lease {
        /// `CLOCK_BOOTTIME` nanoseconds; 0 = there is none.
        end_boot_ns: u64,
    },
    /// The view is installed: show it in heartbeats, run `on_view` and `on_node_removed`.
    Install(View),
    /// Stop acting: run `on_quorum_lost`. [`crate::Action::TakeIncarnation`] follows.
    Halt(HaltReason),
    /// Ask the witness, outside of the reactor, and feed [`MembershipInput::Witness`] with what comes of it.
    Witness(WitnessRequest),
    /// Find out whether hosts outside of the cluster (the gateway, ends of connections) answer on a network, outside of
    /// the reactor, and feed [`MembershipInput::ExternalHosts`].
    AskExternalHosts {
        /// The network.
        network: NetworkId,
    },
    /// The staged configuration with this digest is in force from here on, for the core already: switch to it. Peers that
    /// are gone have been cleared by an action before this one; new ones are handshaken with afterwards.
    SwitchConfig {
        /// Digest of the configuration.
        digest: ConfigDigest,
    },
}

/// Why a node stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltReason {
    /// 1177: the decision was that nobody survives.
    NoQuorum,
    /// 1177: the lease ended and was not renewed within the grace.
    LeaseLost,
    /// 1006: the decision left this node out.
    Pruned,
    /// 1006: a view without this node was installed meanwhile.
    Poisoned,
    /// Bound to a decision that never came about, while in no view.
    Abandoned,
    /// Another cluster was formed under a higher epoch.
    Superseded,
}

/// State of membership, for status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipSnapshot {
    /// The installed view.
    pub view: Option<View>,
    /// In a view, with a valid lease, and not stopped.
    pub quorate: bool,
    /// End of the lease in `CLOCK_BOOTTIME`.
    pub lease_end_boot_ns: Option<u64>,
    /// In a view, and the lease has ended.
    pub suspended: bool,
    /// Regroup sequence.
    pub sequence: u64,
    /// Regroup stage.
    pub stage: Stage,
    /// The view that this node is bound to and that is not installed yet.
    pub bound: Option<ViewId>,
    /// Nodes that this one keeps out for flapping, and until when, `CLOCK_MONOTONIC` nanoseconds.
    pub quarantined: BTreeMap<NodeId, u64>,
    /// States of networks and interfaces as the leader sees them, who tells all members; empty before the first judgement.
    pub networks: BTreeMap<NetworkId, NetworkReport>,
    /// Who leads the view: judges networks, lets nodes in, holds the witness's record.
    pub leader: Option<NodeId>,
    /// Removed nodes whose work may not be taken over yet.
    pub removals: BTreeMap<NodeId, Removal>,
    /// The witness, where there is one.
    pub witness: Option<WitnessSnapshot>,
    /// What waits to be installed, where anything does.
    pub staged: Option<StagedSnapshot>,
}

/// A configuration that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedSnapshot {
    /// Its digest.
    pub digest: ConfigDigest,
    /// Members of the view that have the same one staged, as far as the leader knows; this node alone elsewhere.
    pub ready: Vec<NodeId>,
    /// What it waits for, in words; empty where nothing stands in its way.
    pub waits_for: String,
}

fn least_record_lease_ns() -> u64 {
    MIN_RECORD_LEASE_NS
}

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
