//! Everything that a node tells about itself, with the field names that dashboards rely on, and the same as tables.

mod table;
mod tables;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use table::painted;
pub use table::{Colour, Table};
pub(crate) use tables::{heard, milliseconds, short_count};

/// One node's view of everything, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the cluster.
    pub cluster: String,
    /// This node.
    pub node: LocalNode,
    /// The view that it is in.
    pub view: View,
    /// Where it is in a regroup.
    pub regroup: Regroup,
    /// Removed nodes whose work may not be taken over yet.
    #[serde(default)]
    pub removals: Vec<Removal>,
    /// The witness; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
    /// A configuration that waits to be installed; absent where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
    /// How heartbeats are received.
    pub dataplane: Dataplane,
    /// How heartbeats are sent.
    pub sender: Sender,
    /// All configured nodes, this one included, ascending by id.
    pub nodes: Vec<Node>,
    /// All configured networks, ascending by id.
    pub networks: Vec<Network>,
    /// Every attachment of a node to a network.
    pub interfaces: Vec<Interface>,
    /// Every peer on every network that both are on.
    pub links: Vec<Link>,
    /// Datagrams that were refused, per reason.
    pub rejects: BTreeMap<String, u64>,
    /// Everything else that is counted: what was dropped, where, and what the threads measure of themselves.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// What became of events.
    pub event_log: EventLog,
    /// What became of the entries that record the core.
    #[serde(default)]
    pub recording: EventLog,
}

/// The node that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalNode {
    /// Its id.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// Its incarnation; 0 = none yet.
    pub incarnation: u64,
    /// Whether the incarnation was taken over from an earlier controller, whose kernel state was still there.
    pub adopted: bool,
    /// Version of the program.
    pub version: String,
    /// Hexadecimal digest of the configuration.
    pub config_digest: String,
}

/// A view; number 0 and no members if this node is in none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Number; 0 = none.
    pub number: u64,
    /// Ids of the members, ascending.
    pub members: Vec<u16>,
    /// Whether this node may act.
    pub quorate: bool,
    /// Time until the lease ends; 0 if it has.
    pub lease_left_ms: u64,
    /// Who judges networks and lets nodes in: the lowest id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u16>,
    /// The lease has ended and may still be renewed: until then this node may not act.
    #[serde(default)]
    pub suspended: bool,
    /// It was formed on an operator's word, without a majority.
    #[serde(default)]
    pub forced: bool,
}

/// A removed node whose work may not be taken over yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The node.
    pub node: u16,
    /// The incarnation that was removed.
    pub incarnation: u64,
    /// Time until 9008, unless somebody confirms that it is off.
    pub safe_in_ms: u64,
}

/// The witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The newest epoch that was seen; absent before the first answer.
    pub epoch: Option<u64>,
    /// Who holds it; absent where nobody does, or nobody knows.
    pub holder: Option<u16>,
    /// Its vote counts for this node now.
    pub counts: bool,
    /// Operations that failed since the last success.
    pub failures: u32,
    /// Why the newest failed; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A configuration that waits until all members have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Its digest, hexadecimal.
    pub digest: String,
    /// Members that have it, as far as this node knows.
    pub ready: Vec<u16>,
    /// What it waits for; empty where nothing stands in its way.
    pub waits_for: String,
}

/// The regroup that goes on, or went on last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regroup {
    /// Stage.
    pub stage: Stage,
    /// Sequence number; 0 = there was none.
    pub sequence: u64,
}

/// How heartbeats are received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataplane {
    /// The worst of the interfaces.
    pub mode: Mode,
    /// What judges lateness.
    pub judge: Judge,
    /// Where programs are attached.
    pub interfaces: Vec<AttachedInterface>,
    /// Why it is not what was asked for; absent if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    /// Records that the kernel could not hand over, because the ring was full; verdicts are re-read then.
    pub ring_lost: u64,
}

/// A network interface that heartbeats are received on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedInterface {
    /// Its name.
    pub name: String,
    /// The network.
    pub network: String,
    /// Id of the XDP program; absent with the socket dataplane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_id: Option<u32>,
    /// How this one is attached.
    pub mode: Mode,
}

/// How heartbeats are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// What sends.
    pub engine: Engine,
    /// Priority that was asked for.
    pub rt_priority: u8,
    /// Whether the kernel granted it.
    pub rt_granted: bool,
    /// Longest time between two rounds.
    pub longest_gap_ns: u64,
    /// Why this one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What this machine may take away from the node's threads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
}

/// Something that limits the node's threads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What it is, in words.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
    /// Heartbeats or verdicts may be late because of it.
    pub harmful: bool,
}

/// A configured node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: NodeState,
    /// Its votes.
    pub votes: u32,
    /// Its proven incarnation; 0 = none.
    pub incarnation: u64,
    /// Whether its configuration is another one than this node's.
    pub config_differs: bool,
    /// How long it is still kept out here for having been removed again and again; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine_left_s: Option<u64>,
}

/// A configured network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: NetworkState,
    /// `internal`, `mixed` or `client`.
    pub role: String,
    /// The leader, if the state is what it found; absent where it is what this node alone can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<u16>,
}

/// A node's attachment to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Id of the node.
    pub node: u16,
    /// Name of the network.
    pub network: String,
    /// Its state.
    pub state: InterfaceState,
    /// Its address.
    pub address: String,
}

/// One peer on one network, as seen from here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Id of the peer.
    pub peer: u16,
    /// Name of the network.
    pub network: String,
    /// Its state.
    pub state: LinkState,
    /// Heartbeats accepted.
    pub received: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Heartbeats that came twice.
    pub duplicates: u64,
    /// Heartbeats that came behind a newer one.
    pub reordered: u64,
    /// Time since the newest heartbeat; absent if there was none.
    pub last_heard_ms: Option<f64>,
    /// Round trip by the newest echo; absent if unknown.
    pub rtt_us: Option<u64>,
    /// Age of the newest of our own heartbeats that the peer said it heard: it hears us as long as this stays small. Absent if
    /// it never said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echoed_ms: Option<f64>,
    /// Mean deviation of the last inter-arrival times from the interval; absent with fewer than two.
    pub jitter_us: Option<u64>,
    /// Age of the peer's controller, by its newest heartbeat.
    pub controller_age_ms: Option<u64>,
    /// Log2 histogram of inter-arrival times: entry n counts those of 2^n up to 2^(n+1) nanoseconds. Only in `links`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals: Option<Vec<u64>>,
}

/// What became of what is written to `state_dir`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLog {
    /// Written to disk.
    pub written: u64,
    /// Not written, because the disk was too slow.
    pub dropped: u64,
    /// Not written, because the disk refused.
    pub failed: u64,
    /// The last refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal, $colour:ident;)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
            pub enum $name {
                $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
            }

            impl $name {
                /// Every value.
                pub const ALL: &[Self] = &[$(Self::$variant),*];

                /// The word in JSON and tables.
                #[must_use]
                pub fn as_str(self) -> &'static str {
                    match self {
                        $(Self::$variant => $word,)*
                    }
                }

                /// Its colour in tables.
                #[must_use]
                pub fn colour(self) -> Colour {
                    match self {
                        $(Self::$variant => Colour::$colour,)*
                    }
                }
            }
        )*
    };
}

words! {
    /// State of a node.
    NodeState {
        /// In the view.
        Up = "up", Good;
        /// Not in the view.
        Down = "down", Bad;
        /// On its way into the view.
        Joining = "joining", Notable;
        /// Kept out after repeated removals.
        Quarantined = "quarantined", Bad;
    }
    /// State of a link.
    LinkState {
        /// Nothing heard since the peer's incarnation was set.
        Init = "init", Notable;
        /// Heartbeats arrive in time.
        Up = "up", Good;
        /// `late_after` intervals without one.
        Late = "late", Notable;
        /// The peer is silent on all its networks.
        Silent = "silent", Bad;
    }
    /// State of an interface.
    InterfaceState {
        /// Hears all others on its network.
        Up = "up", Good;
        /// Not reached by some other.
        Unreachable = "unreachable", Notable;
        /// Reached by none.
        Failed = "failed", Bad;
        /// Its node is down.
        Unavailable = "unavailable", Faint;
    }
    /// State of a network.
    NetworkState {
        /// All available nodes reach each other.
        Up = "up", Good;
        /// Some do not.
        Partitioned = "partitioned", Bad;
        /// None can use it.
        Down = "down", Bad;
        /// No node of it is up.
        Unavailable = "unavailable", Faint;
    }
    /// Stage of a regroup.
    Stage {
        /// Every member says whom it hears.
        Activate = "activate", Notable;
        /// The decider chooses the survivors.
        Closing = "closing", Notable;
        /// Survivors bind themselves to the decision.
        Pruning = "pruning", Notable;
        /// The view is installed.
        CleanupOne = "cleanup1", Notable;
        /// What the removed left behind is cleared away.
        CleanupTwo = "cleanup2", Notable;
        /// Nothing goes on.
        Stabilized = "stabilized", Good;
    }
    /// How heartbeats are received on an interface.
    Mode {
        /// XDP in the driver.
        Native = "native", Good;
        /// XDP in the network stack.
        Generic = "generic", Notable;
        /// A UDP socket with kernel receive timestamps.
        Socket = "socket", Notable;
    }
    /// What judges lateness.
    Judge {
        /// A timer in the kernel.
        KernelTimer = "kernel-timer", Good;
        /// A deadline scan in the reactor.
        Reactor = "reactor", Notable;
    }
    /// What sends heartbeats.
    Engine {
        /// A real-time thread.
        Realtime = "realtime", Good;
        /// A timer in the kernel.
        Metronome = "metronome", Good;
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use tests::example;
