//! State of a regroup: what one node knows of who hears whom, who has come how far, and what was decided.

use serde::{Deserialize, Serialize};

pub mod connectivity;
pub mod stage;

use std::collections::{BTreeMap, VecDeque};

use crate::evidence::{LinkEvidence, StageTime};
use crate::ids::{ConfigDigest, Incarnation, NetworkId, NodeId};
use crate::link::LinkState;
use crate::message::regroup::{Decision, MAX_BODY, Reason, Regroup as Message};
use crate::nodeset::NodeSet;
use crate::view::{View, ViewId};

pub use stage::{Stage, StageEvent};

/// Up to this many nodes news of others is told at once: that is as many messages from each to each as there are nodes.
pub(crate) const TOLD_AT_ONCE: usize = 8;

/// Stages that are remembered as evidence: five of each of a dozen restarts.
const STAGES: usize = 64;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Regroup {
    /// Generation; never falls.
    pub(crate) sequence: u64,
    pub(crate) stage: Stage,
    pub(crate) reason: Reason,
    pub(crate) trigger: Option<NodeId>,
    /// When the first sequence of this regroup began.
    pub(crate) began_ns: u64,
    pub(crate) stage_since_ns: u64,
    pub(crate) next_tick_ns: u64,
    /// Left out at a limit; stays out until stabilized.
    pub(crate) excluded: NodeSet,
    /// Not heard at some moment since the regroup began: rows only shrink, so that all nodes come to agree.
    pub(crate) unheard: NodeSet,
    pub(crate) rows: BTreeMap<NodeId, NodeSet>,
    /// Whose rows these are.
    pub(crate) reporters: NodeSet,
    /// Changes with every change of a row.
    pub(crate) rows_version: u64,
    /// Whom each node hears badly: the condition of links decides between groups of equal rank.
    pub(crate) weak: BTreeMap<NodeId, NodeSet>,
    pub(crate) may_form: NodeSet,
    /// Pruning, cleanup 1, cleanup 2, stabilized; valid for the decision of this sequence alone.
    pub(crate) reached: [NodeSet; 4],
    pub(crate) joiner: Option<(NodeId, Incarnation)>,
    /// The view that a joining node is let into; it does not know its members.
    pub(crate) joining: Option<ViewId>,
    pub(crate) decision: Option<Accepted>,
    /// The decision that this node announced pruning for and that is not installed yet.
    pub(crate) bound: Option<View>,
    /// Nodes that are in a view which this node was bound to, and in no view that was installed here: they may have
    /// installed it.
    pub(crate) ghosts: BTreeMap<NodeId, Incarnation>,
    /// Highest number that anyone was bound to: the next view must be above it.
    pub(crate) highest_bound: u64,
    /// Newest stamps here of nodes that a decision left out.
    pub(crate) newest: BTreeMap<NodeId, u64>,
    /// The same of other survivors, translated to this node's clock: never earlier than the truth.
    pub(crate) reports: BTreeMap<(NodeId, NodeId), u64>,
    /// Who has reported so on each node that is left out.
    pub(crate) reported: BTreeMap<NodeId, NodeSet>,
    /// Networks on which survivors still heard a node that the decision leaves out: bit 0 = network 1.
    pub(crate) heard_on: BTreeMap<(NodeId, NodeId), u8>,
    /// Links to nodes that a decision leaves out, as they stood when it was accepted here.
    pub(crate) links: BTreeMap<NodeId, Vec<LinkEvidence>>,
    /// Stages entered since the regroup began, the newest ones.
    pub(crate) stages: VecDeque<StageTime>,
    /// The configuration that comes with [`Self::bound`], if another one does.
    pub(crate) bound_config: Option<ConfigDigest>,
    /// Which row goes first into the next message, where they do not all fit.
    pub(crate) rotation: usize,
    /// As decider: the number of a decision that rests on the witness, which must be written there first.
    pub(crate) promise: Option<u64>,
    /// Number of the view that [`Self::reached`] is about once it was installed; 0 = none.
    pub(crate) installed: u64,
    /// Something changed that others should know at once.
    pub(crate) dirty: bool,
}

/// What a message says of its sender beside the state of the regroup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) local: NodeId,
    pub(crate) base: ViewId,
    pub(crate) epoch: u32,
    pub(crate) left: NodeSet,
    pub(crate) mask_bytes: usize,
}

/// The one decision that is accepted in a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) decision: Decision,
    pub(crate) view: View,
}

impl Regroup {
    pub(crate) fn new() -> Self {
        Self {
            sequence: 0,
            stage: Stage::Stabilized,
            reason: Reason::Form,
            trigger: None,
            began_ns: 0,
            stage_since_ns: 0,
            next_tick_ns: 0,
            excluded: NodeSet::EMPTY,
            unheard: NodeSet::EMPTY,
            rows: BTreeMap::new(),
            reporters: NodeSet::EMPTY,
            rows_version: 0,
            weak: BTreeMap::new(),
            may_form: NodeSet::EMPTY,
            reached: [NodeSet::EMPTY; 4],
            joiner: None,
            joining: None,
            decision: None,
            bound: None,
            ghosts: BTreeMap::new(),
            highest_bound: 0,
            newest: BTreeMap::new(),
            reports: BTreeMap::new(),
            reported: BTreeMap::new(),
            heard_on: BTreeMap::new(),
            links: BTreeMap::new(),
            stages: VecDeque::new(),
            bound_config: None,
            rotation: 0,
            promise: None,
            installed: 0,
            dirty: false,
        }
    }

    /// The view that this node has announced pruning for, or is about to, and that is not installed.
    pub(crate) fn announced(&self) -> Option<ViewId> {
        let decided = self.decision.as_ref().filter(|_| self.stage == Stage::Pruning).map(|accepted| accepted.view.id);
        self.bound.as_ref().map(|view| view.id).or(decided)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.stage != Stage::Stabilized
    }

    /// Starts over under `sequence`. What was learned of who is out stays known until stabilized.
    pub(crate) fn begin(&mut self, sequence: u64, reason: Reason, trigger: Option<NodeId>, now_ns: u64) {
        if !self.is_active() {
            self.began_ns = now_ns;
            self.stages.clear();
            self.links.clear();
            self.newest.clear();
            self.reports.clear();
            self.reported.clear();
            self.heard_on.clear();
            self.forget_outsiders();
        }
        self.sequence = sequence;
        self.reason = reason;
        self.trigger = trigger;
        self.joiner = None;
        self.rows.clear();
        self.reporters = NodeSet::EMPTY;
        self.rows_version = self.rows_version.wrapping_add(1);
        self.weak.clear();
        self.may_form = NodeSet::EMPTY;
        self.reached = [NodeSet::EMPTY; 4];
        self.promise = None;
        self.installed = 0;
        self.decision = None;
        self.next_tick_ns = now_ns;
        self.step(StageEvent::Begin, now_ns);
    }

    /// Who was out is judged anew from here on.
    pub(crate) fn forget_outsiders(&mut self) {
        self.excluded = NodeSet::EMPTY;
        self.unheard = NodeSet::EMPTY;
    }

    pub(crate) fn step(&mut self, event: StageEvent, now_ns: u64) {
        let stage = self.stage.after(event);
        if stage != self.stage || event == StageEvent::Begin {
            self.stage = stage;
            self.stage_since_ns = now_ns;
            if self.stages.len() >= STAGES {
                self.stages.pop_front();
            }
            self.stages.push_back(StageTime { stage, sequence: self.sequence, at_ns: now_ns });
            self.dirty = true;
        }
    }

    /// Keeps what both know of a row: rows only shrink within a sequence.
    pub(crate) fn merge_row(&mut self, id: NodeId, row: NodeSet) {
        let merged = self.rows.get(&id).map_or(row, |known| known.and(&row));
        // In a large cluster what was learned of others goes with the next tick: told at once, a thousand rows would be a
        // thousand messages from each to each.
        self.reporters.insert(id);
        if self.rows.insert(id, merged) != Some(merged) {
            self.rows_version = self.rows_version.wrapping_add(1);
            self.dirty |= self.rows.len() <= TOLD_AT_ONCE;
        }
    }

    /// `id` has come to `stage`, so it has passed the earlier ones.
    pub(crate) fn mark(&mut self, id: NodeId, stage: Stage) {
        let passed = match stage {
            Stage::Activate | Stage::Closing => 0,
            Stage::Pruning => 1,
            Stage::Cleanup1 => 2,
            Stage::Cleanup2 => 3,
            Stage::Stabilized => 4,
        };
        for reached in &mut self.reached[..passed] {
            reached.insert(id);
        }
    }

    /// Networks on which this node still heard one that the decision leaves out.
    pub(crate) fn own_heard_on(&self, id: NodeId) -> u8 {
        let up = self.links.get(&id).into_iter().flatten().filter(|link| link.state == LinkState::Up);
        up.fold(0, |mask, link| mask | network_bit(link.network))
    }

    /// Rows for a message: the own one first, then the others from the one whose turn it is on; as many as a datagram holds.
    fn rows_to_tell(&self, local: NodeId, mask_bytes: usize) -> Vec<(NodeId, NodeSet)> {
        let own = self.rows.get(&local).map(|row| (local, *row));
        let others = self.rows.iter().filter(|(id, _)| **id != local).map(|(id, row)| (*id, *row));
        let count = self.rows.len() - usize::from(own.is_some());
        let turn = if own.is_some() && count > 0 { self.rotation % count } else { 0 };
        let rows = own.into_iter().chain(others.clone().skip(turn)).chain(others.take(turn));
        rows.take(MAX_BODY / (2 + mask_bytes)).collect()
    }

    pub(crate) fn message(&self, sender: Sender, now_ns: u64, reply: bool) -> Message {
        let Sender { local, base, epoch, left, mask_bytes } = sender;
        let rows = self.rows_to_tell(local, mask_bytes);
        let stage = self.stage;
        let ages = match stage {
            Stage::Activate | Stage::Closing => Vec::new(),
            Stage::Pruning | Stage::Cleanup1 | Stage::Cleanup2 | Stage::Stabilized => {
                self.newest.iter().map(|(id, stamp_ns)| (*id, now_ns.saturating_sub(*stamp_ns))).collect()
            }
        };
        Message {
            sequence: self.sequence,
            base,
            stage,
            reason: self.reason,
            reply,
            trigger: self.trigger,
            joiner: self.joiner,
            epoch,
            bound: self.highest_bound,
            reached: self.reached,
            left,
            may_form: self.may_form,
            decision: self.decision.as_ref().map(|accepted| accepted.decision),
            heard_on: ages.iter().map(|(id, _)| self.own_heard_on(*id)).collect(),
            ages,
            rows,
            weak: self.weak.iter().map(|(id, weak)| (*id, *weak)).collect(),
        }
    }
}

fn network_bit(network: NetworkId) -> u8 {
    network.0.checked_sub(1).and_then(|bit| 1_u8.checked_shl(bit.into())).unwrap_or(0)
}

/// The networks of a mask.
pub(crate) fn networks_of(mask: u8) -> Vec<NetworkId> {
    (1..=8).map(NetworkId).filter(|network| mask & network_bit(*network) != 0).collect()
}
