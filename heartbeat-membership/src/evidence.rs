//! What a verdict rests on, as it is told with the verdict.

use serde::{Deserialize, Serialize};

use crate::ids::{NetworkId, NodeId};
use crate::link::LinkState;
use crate::regroup::Stage;

/// What one survivor said about a removed node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurvivorReport {
    /// The survivor.
    pub node: NodeId,
    /// Its report arrived. Else it was bound before the view was installed, and heard nothing since: that moment counts.
    pub reported: bool,
    /// Its newest stamp, on this node's clock and never earlier than the truth.
    pub newest_ns: u64,
    /// Networks on which it still heard the node when it was bound; empty where none, or where it did not say.
    pub heard_on: Vec<NetworkId>,
}

/// What this node knew of one link to a removed node when it was bound against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEvidence {
    /// The network.
    pub network: NetworkId,
    /// The state of the link.
    pub state: LinkState,
    /// Since when.
    pub since_ns: u64,
    /// The last verdict against it, if there ever was one for this incarnation.
    pub verdict: Option<LinkVerdict>,
}

/// The judge's last verdict against a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkVerdict {
    /// Newest stamp when it was judged; 0 = none.
    pub stamp_ns: u64,
    /// When the link became late or silent.
    pub deadline_ns: u64,
    /// When the judge ran.
    pub judged_ns: u64,
    /// Whole intervals without a heartbeat; 0 where the verdict was on the peer as a whole.
    pub missed: u32,
}

/// When a stage of a regroup was entered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// The stage.
    pub stage: Stage,
    /// The regroup sequence in which it was entered.
    pub sequence: u64,
    /// When.
    pub at_ns: u64,
}

/// The count that made the survivors a quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteCount {
    /// Votes of the members.
    pub own: u64,
    /// All votes that count, the witness's included.
    pub total: u64,
    /// The witness's vote was needed and counted.
    pub witness: bool,
}
