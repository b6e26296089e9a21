//! Who is there: one node under test, its peers, their addresses and keys, as records of the maps.

use anyhow::{Context as _, Result};
use bytemuck::Zeroable as _;
use heartbeat_common::{
    ABI_VERSION,
    auth::HeartbeatKey,
    ids,
    records::{
        KeyRecord, NETWORK_PRESENT, NETWORK_SINGLE_HOP, NetworkRecord, NetworkTable, NodeRecord, PeerRecord,
        TimingRecord,
    },
};
use heartbeat_user::dataplane::{
    kernel::Kernel,
    memory::{Memory, Sizes},
};

/// The node under test.
pub(crate) const NODE: u16 = 1;
/// The first peer.
pub(crate) const FIRST_PEER: u16 = 2;
/// Incarnation that is accepted of every peer.
pub(crate) const INCARNATION: u64 = 0x1928_3746_5564_7382;
/// Cluster id, as it stands in memory.
pub(crate) const CLUSTER: u64 = 0x0807_0605_0403_0201;
/// The key slot in use.
pub(crate) const KEY_SLOT: u8 = 1;
/// The key; it protects nothing.
pub(crate) const KEY: [u8; 16] = *b"benchmark key 01";

/// Address of a node on a network: 10.77.network.node, and 10.78, 10.79, ... where the node's number does not fit.
pub(crate) fn address(node: u16, network: u8) -> [u8; 4] {
    let [low, high] = node.to_le_bytes();
    [10, 77 + high, network, low]
}

/// As the records hold it.
pub(crate) fn address_record(address: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address);
    bytes
}

/// The key as a signer takes it.
pub(crate) fn key() -> HeartbeatKey {
    HeartbeatKey::from_bytes(KEY)
}

/// The KEYS map: slot 1 is set, the others are empty.
pub(crate) fn keys() -> [KeyRecord; ids::MAX_KEY as usize + 1] {
    let mut slots = [KeyRecord::zeroed(); ids::MAX_KEY as usize + 1];
    slots[usize::from(KEY_SLOT)] = KeyRecord::new(KEY_SLOT, key(), node().cluster_id);
    slots
}

/// The NODE map.
pub(crate) fn node() -> NodeRecord {
    NodeRecord { abi: ABI_VERSION, node: u32::from(NODE), cluster_id: CLUSTER, incarnation: 1, ..NodeRecord::zeroed() }
}

/// The NETWORKS map: network `n` is on the `n`th interface.
pub(crate) fn networks(interfaces: &[u32]) -> NetworkTable {
    let mut table = NetworkTable::zeroed();
    for ((slot, network), ifindex) in table.networks.iter_mut().zip(1_u8..).zip(interfaces) {
        *slot = NetworkRecord {
            ifindex: *ifindex,
            vlan: 0,
            flags: NETWORK_PRESENT | NETWORK_SINGLE_HOP,
            address: address_record(address(NODE, network)),
            group: [0; 16],
        };
    }
    table
}

/// The PEERS entry of a node that is proven and begins with sequence number 1.
pub(crate) fn peer(node: u16, network: u8, since_ns: u64) -> PeerRecord {
    PeerRecord {
        incarnation: INCARNATION,
        epoch: 1,
        address: address_record(address(node, network)),
        unicast_start: 1,
        multicast_start: 1,
        since_ns,
        present: 1,
    }
}

/// Timeouts of a cluster with this interval, the default `late_after`, and a `lost_after` that is tighter than the default.
pub(crate) fn timing(interval_ns: u64, active_links: u64) -> TimingRecord {
    /// Intervals.
    const LATE_AFTER: u64 = 2;
    /// Intervals.
    const LOST_AFTER: u64 = 4;
    let slack_ns = (interval_ns / 8).max(1_000_000);
    TimingRecord {
        interval_ns,
        late_ns: LATE_AFTER * interval_ns + slack_ns,
        silent_ns: LOST_AFTER * interval_ns + slack_ns,
        slack_ns,
        active_links,
    }
}

/// Loads the data plane of the node under test, as it ships, and fills its maps. Nothing is pinned or attached.
pub(crate) fn load(peers: &[u16], interfaces: &[u32], since_ns: u64) -> Result<(Kernel, Memory)> {
    let sizes = Sizes::for_nodes_up_to(peers.iter().copied().max().unwrap_or(NODE));
    let mut kernel = Kernel::load(sizes, None, false).context("the data plane cannot be loaded")?;
    let memory = kernel.memory(sizes)?;
    memory.node.write(0, &node());
    for (network, _) in (1_u8..).zip(interfaces) {
        for node in peers {
            memory.peers.write(ids::link_index(*node, network), &peer(*node, network, since_ns));
        }
    }
    kernel.set_keys(&keys())?;
    kernel.set_networks(&networks(interfaces))?;
    Ok((kernel, memory))
}
