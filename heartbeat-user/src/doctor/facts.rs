//! What the checks judge: plain data, as gathered or as a test makes it up.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::event::Event;
use crate::realtime::constraints::Constraint;
use crate::status::{Link, Status};

/// Facts, or why there are none.
pub type Gathered<T> = Result<T, String>;

/// Everything that was found out.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The configuration file.
    pub config: Gathered<ConfigFacts>,
    /// Whether the file is there, read or refused.
    pub config_exists: bool,
    /// The running node.
    pub node: Gathered<NodeFacts>,
    /// The interfaces that carry the cluster's networks.
    pub interfaces: Gathered<Vec<InterfaceFacts>>,
    /// The machine.
    pub machine: MachineFacts,
}

/// What matters of a configuration.
#[derive(Debug, Clone)]
pub struct ConfigFacts {
    /// Time between two heartbeats, nanoseconds.
    pub interval_ns: u64,
    /// Without a heartbeat for so long a link is late, nanoseconds.
    pub late_timeout_ns: u64,
    /// Without a heartbeat for so long on all networks a node is given up, nanoseconds.
    pub silent_timeout_ns: u64,
    /// Networks that carry heartbeats of this node.
    pub networks: Vec<NetworkFacts>,
    /// Secrets of the cluster.
    pub secrets: Vec<SecretFacts>,
    /// Whether something is run when a node was removed, which can fence it.
    pub fences: bool,
    /// The directory of the witness, and whether it is there now.
    pub witness: Option<(PathBuf, Gathered<()>)>,
}

/// A network of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFacts {
    /// 1..=8.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Heartbeats go to a group.
    pub multicast: bool,
}

/// A file that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFacts {
    /// The file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: Gathered<u32>,
}

/// What a node says of itself.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// Everything at a glance.
    pub status: Status,
    /// Links with their histograms of inter-arrival times.
    pub links: Vec<Link>,
    /// Events of the last hour, oldest first.
    pub events: Vec<Event>,
    /// Heartbeats accepted from (peer, network) to a group while the doctor looked; absent where its maps cannot be read.
    pub group_heartbeats: Gathered<Vec<(u16, u8, u64)>>,
    /// As `group_heartbeats`, to the node's own address.
    pub unicast_heartbeats: Gathered<Vec<(u16, u8, u64)>>,
}

/// An interface that carries a network.
#[derive(Debug, Clone, Default)]
pub struct InterfaceFacts {
    /// Name of the network.
    pub network: String,
    /// Name of the interface.
    pub name: String,
    /// The node's address on it, with the length of the prefix.
    pub address: Option<(IpAddr, u8)>,
    /// Name of the driver, where it tells.
    pub driver: Option<String>,
    /// It is a bond, or a port of one.
    pub bond: bool,
    /// The devices at the bottom of it; itself where there is nothing below.
    pub devices: Vec<String>,
    /// Bytes.
    pub mtu: Option<u32>,
    /// Frames that the device had no room for since it is there.
    pub missed: Option<u64>,
    /// Receive descriptors, where the driver tells.
    pub rings: Option<Rings>,
    /// The driver merges TCP segments before XDP sees them.
    pub lro: Option<bool>,
    /// The kernel merges received packets before generic XDP sees them.
    pub gro: Option<bool>,
    /// Microseconds that the device may hold back an interrupt.
    pub moderation_us: Option<u32>,
    /// It is a real device, not a virtual one of this kernel.
    pub physical: bool,
}

/// Receive descriptors of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rings {
    /// In use.
    pub now: u32,
    /// As many as the device can have.
    pub most: u32,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct MachineFacts {
    /// Release of the kernel, such as `6.12.5-amd64`.
    pub kernel: Gathered<String>,
    /// It runs on a hypervisor.
    pub virtual_machine: Gathered<bool>,
    /// Name of the clock source.
    pub clock_source: Gathered<String>,
    /// Share of the processors' time that the hypervisor gave to others: since the start, and while the doctor looked.
    pub steal: Gathered<(f64, f64)>,
    /// Packets that waited for a processor.
    pub softnet: Gathered<Softnet>,
    /// Idle states that processors may enter; empty where there are none.
    pub idle_states: Gathered<Vec<IdleState>>,
    /// What limits real-time threads.
    pub constraints: Vec<Constraint>,
    /// Watchdog devices.
    pub watchdogs: Gathered<Vec<WatchdogFacts>>,
    /// What `nft list ruleset` prints in the node's namespace.
    pub firewall: Gathered<String>,
}

/// Counts of /proc/net/softnet_stat, over all processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Softnet {
    /// Packets dropped because a backlog was full, while the doctor looked.
    pub dropped_now: u64,
    /// The same since the start.
    pub dropped: u64,
    /// Times that a softirq used up its budget with packets left, while the doctor looked.
    pub squeezed_now: u64,
}

/// An idle state that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleState {
    /// Its name.
    pub name: String,
    /// Time to leave it, microseconds.
    pub latency_us: u64,
}

/// A watchdog device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchdogFacts {
    /// Such as `watchdog0`.
    pub name: String,
    /// Somebody feeds it; nobody does: the machine is reset.
    pub armed: bool,
}
