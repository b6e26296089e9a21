//! What the driver gives to membership and gets from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{ConfigDigest, Incarnation, NetworkId, NodeId};
use crate::network_state::NetworkReport;
use crate::quorum::Arbiter;
use crate::regroup::Stage;
use crate::staging::Staged;
use crate::view::{View, ViewId};
use crate::witness::{MIN_RECORD_LEASE_NS, WitnessAnswer, WitnessRequest, WitnessSnapshot};

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
