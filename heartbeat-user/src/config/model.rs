//! What a configuration means once it is accepted: every value here is complete and in range.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::places::Places;
use crate::keys::Secret;

/// A checked configuration. Values are in range, names and ids are unique, and every reference resolves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it was read from, for messages.
    pub file: PathBuf,
    /// Name of the cluster; its digest is the cluster id on the wire.
    pub cluster_name: String,
    /// Keys that this node accepts, ascending by id; never empty.
    pub keys: Vec<KeyConfig>,
    /// The id of the key that this node sends with; one of `keys`.
    pub send_key: u8,
    /// Interval and limits.
    pub timing: Timing,
    /// Networks, ascending by id; never empty.
    pub networks: Vec<Network>,
    /// Nodes, ascending by id; holds the local node.
    pub nodes: Vec<Node>,
    /// Who decides when the cluster splits.
    pub quorum: Quorum,
    /// Settings of this machine alone.
    pub local: Local,
    /// The Prometheus endpoint.
    pub metrics: Metrics,
    pub(super) places: Places,
}

/// One shared secret.
#[derive(Debug, Clone)]
pub struct KeyConfig {
    /// Slot 1..=4, `key_id` on the wire.
    pub id: u8,
    /// Where the secret was read from.
    pub file: PathBuf,
    /// The secret itself.
    pub secret: Secret,
}

/// Interval and limits; all times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time between two heartbeats of a node to the same peer on the same network; 1 ms to 60 s.
    pub interval_ns: u64,
    /// A link is late after this many intervals without a heartbeat; 1..=254, less than `lost_after`.
    pub late_after: u32,
    /// A peer is silent after this many intervals without a heartbeat on any of its networks; 2..=255.
    pub lost_after: u32,
    /// How long a suspended node waits for its lease to be renewed before it stops.
    pub grace_ns: u64,
    /// How long a peer's controller may be frozen while its kernel goes on beating.
    pub hang_timeout_ns: u64,
}

/// A network that joins nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// 1..=8, `network` on the wire.
    pub id: u8,
    /// Unique name.
    pub name: String,
    /// Who uses it.
    pub role: Role,
    /// VLAN tag that heartbeats carry on this network; the XDP program then sits on the parent interface.
    pub vlan: Option<u16>,
    /// Whether heartbeats that crossed a router are refused.
    pub single_hop: bool,
    /// Whether heartbeats go to a group instead of to each peer.
    pub multicast: Multicast,
}

/// Who uses a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nodes only.
    Internal,
    /// Nodes and clients.
    Mixed,
    /// Clients; it is watched, but no node is removed because of it.
    Client,
}

/// How heartbeats of a network are addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Multicast {
    /// Unicast to every peer.
    Off,
    /// Multicast once a self-test has shown that it reaches every peer.
    Auto,
    /// Multicast to this group.
    Group(IpAddr),
}

/// A member that the cluster may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// 1..=1024.
    pub id: u16,
    /// Unique name; the host name unless `[local] node` says otherwise.
    pub name: String,
    /// Votes towards quorum; 0..=255.
    pub votes: u32,
    /// Address per network id; at least one on a network that is internal or mixed.
    pub addresses: BTreeMap<u8, IpAddr>,
}

/// Who decides when the cluster splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// How votes are counted.
    pub mode: QuorumMode,
    /// The node that decides an exact half; a node with a vote.
    pub tie_breaker: u16,
    /// The shared directory that holds the witness's record.
    pub witness: Option<PathBuf>,
    /// How long a record of the witness holds after the start of its renewal; at least 5 s. Of no meaning without a witness.
    pub record_lease_ns: u64,
    /// What a cluster of two nodes without a witness may do.
    pub two_node: TwoNode,
}

/// How votes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuorumMode {
    /// More than half of all configured votes, or exactly half with the tie-breaker.
    Majority,
}

/// What a cluster of two nodes without a witness may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwoNode {
    /// Refuse to start: neither node can tell a dead peer from a cut network.
    Refuse,
    /// The tie-breaker goes on alone; the other one stops.
    TieBreaker,
}

/// Settings of this machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Id of the node that this machine is.
    pub node: u16,
    /// Interface per network id, where the configuration names one.
    pub interfaces: BTreeMap<u8, String>,
    /// What sends heartbeats.
    pub sender: Sender,
    /// What receives heartbeats.
    pub dataplane: Dataplane,
    /// SCHED_FIFO priority of reactor and sender, 1..=99.
    pub rt_priority: u8,
    /// Directory of the persisted incarnation and the event log.
    pub state_dir: PathBuf,
    /// Directory of the control socket.
    pub run_dir: PathBuf,
    /// Directory on a BPF file system for pinned maps and programs.
    pub bpf_dir: PathBuf,
    /// What a service manager's watchdog is shown.
    pub watchdog: Watchdog,
    /// How much the program's own log says; as the command line says if absent.
    pub log: Option<LogLevel>,
    /// Programs to run on changes.
    pub hooks: Hooks,
}

/// How much the program's own log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What somebody has to mend.
    Error,
    /// That, and what somebody should look at.
    Warn,
    /// That, and what changes.
    Info,
    /// That, and why.
    Debug,
    /// Everything.
    Trace,
}

/// What a service manager's watchdog is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watchdog {
    /// That the reactor goes on.
    Alive,
    /// That, and that the node may act, from the first time on that it could.
    Quorate,
}

/// What sends heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The best that this machine supports.
    Auto,
    /// A real-time thread.
    Realtime,
    /// A timer in the kernel.
    Metronome,
}

/// What receives heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dataplane {
    /// The best that this machine supports: native, then generic, then socket.
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP in the network stack.
    Generic,
    /// A UDP socket with kernel receive timestamps.
    Socket,
}

/// Programs that run outside the reactor, with the event as JSON on standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// A node was removed (1135).
    pub on_node_removed: Option<PathBuf>,
    /// Taking over from a removed node is safe (9008).
    pub on_removal_safe: Option<PathBuf>,
    /// This node lost quorum (1177).
    pub on_quorum_lost: Option<PathBuf>,
    /// A view was installed (9007).
    pub on_view: Option<PathBuf>,
}

/// The Prometheus endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where it listens; nowhere if absent.
    pub listen: Option<SocketAddr>,
}

impl Config {
    /// The node that this machine is.
    ///
    /// # Panics
    ///
    /// Never for a configuration that was read: the local node is one of `nodes`.
    #[must_use]
    pub fn local_node(&self) -> &Node {
        self.node(self.local.node).unwrap_or_else(|| unreachable!("a checked configuration holds its local node"))
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: u16) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The network with this id.
    #[must_use]
    pub fn network(&self, id: u8) -> Option<&Network> {
        self.networks.iter().find(|network| network.id == id)
    }

    /// The nodes that share a network with this one and their address there, ascending by id, without this node.
    pub fn peers_on(&self, network: u8) -> impl Iterator<Item = (&Node, IpAddr)> {
        let attached = self.local_node().addresses.contains_key(&network);
        self.nodes
            .iter()
            .filter(move |node| attached && node.id != self.local.node)
            .filter_map(move |node| node.addresses.get(&network).map(|address| (node, *address)))
    }
}

impl Timing {
    /// Allowance for scheduling and transit before anything is late: an eighth of an interval, at least 1 ms.
    #[must_use]
    pub fn slack_ns(&self) -> u64 {
        (self.interval_ns / 8).max(1_000_000)
    }

    /// Time after the last heartbeat of a link when it becomes late.
    #[must_use]
    pub fn late_timeout_ns(&self) -> u64 {
        u64::from(self.late_after) * self.interval_ns + self.slack_ns()
    }

    /// Time after the last heartbeat of a peer, over its internal and mixed networks, when it becomes silent.
    #[must_use]
    pub fn silent_timeout_ns(&self) -> u64 {
        u64::from(self.lost_after) * self.interval_ns + self.slack_ns()
    }
}

impl Role {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Mixed => "mixed",
            Self::Client => "client",
        }
    }

    /// Whether silence on this network counts towards the silence of a peer.
    #[must_use]
    pub fn carries_membership(self) -> bool {
        match self {
            Self::Internal | Self::Mixed => true,
            Self::Client => false,
        }
    }
}

impl Sender {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Realtime => "realtime",
            Self::Metronome => "metronome",
        }
    }
}

impl Dataplane {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Socket => "socket",
        }
    }
}

impl LogLevel {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl TwoNode {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::TieBreaker => "tie-breaker",
        }
    }
}

impl fmt::Display for Multicast {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => formatter.write_str("off"),
            Self::Auto => formatter.write_str("auto"),
            Self::Group(group) => group.fmt(formatter),
        }
    }
}
