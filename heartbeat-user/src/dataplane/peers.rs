//! What is expected of peers: the PEERS records, written by the reactor alone.

use std::{net::IpAddr, sync::atomic::Ordering};

use bytemuck::Zeroable as _;
use heartbeat_common::{
    ids,
    records::{ACTIVE_COUNTING, ACTIVE_LAST, ActiveRecord, PeerRecord},
};

use super::memory::Memory;
use crate::config::Config;

/// First sequence numbers that are accepted of a peer on one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The network.
    pub network: u8,
    /// Unicast heartbeats.
    pub unicast: u64,
    /// Multicast heartbeats.
    pub multicast: u64,
}

/// An address as map records hold it: IPv4 in the first four bytes.
#[must_use]
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// Who may be heard by a configuration, for maps with room for `links` links; by link index.
#[must_use]
pub fn configured(config: &Config, links: usize) -> Vec<PeerRecord> {
    let mut peers = vec![PeerRecord::zeroed(); links];
    for network in &config.networks {
        for (node, address) in config.peers_on(network.id) {
            if let Some(peer) = peers.get_mut(ids::link_index(node.id, network.id) as usize) {
                peer.present = 1;
                peer.address = address_bytes(address);
            }
        }
    }
    peers
}

/// Changes who may be heard from `before` to `after`, both by link index. Who is in both stays as it is, with what is
/// accepted of it; who comes, and who goes, has nothing accepted.
pub fn change_configured(memory: &Memory, before: &[PeerRecord], after: &[PeerRecord]) {
    for (index, (before, after)) in (0..).zip(before.iter().zip(after)) {
        if (before.present, before.address) == (after.present, after.address) {
            continue;
        }
        set_incarnation(memory, index, 0);
        // The epoch goes on: what the link record holds of an earlier life stays another one's.
        let epoch = memory.peers.read(index).map_or(0, |record| record.epoch);
        memory.peers.write(index, &PeerRecord { epoch, ..*after });
    }
}

/// Writes who may be heard, with no incarnation accepted yet: `configured` by link index.
pub fn write_configured(memory: &Memory, configured: &[PeerRecord]) {
    for (index, record) in (0..).zip(configured) {
        memory.peers.write(index, record);
    }
}

/// What the judge watches: every peer, on every network that it shares with us.
#[must_use]
pub fn active(config: &Config) -> Vec<ActiveRecord> {
    let mut records = Vec::new();
    for node in config.nodes.iter().filter(|node| node.id != config.local.node) {
        let first = records.len();
        for network in &config.networks {
            let shared =
                node.addresses.contains_key(&network.id) && config.local_node().addresses.contains_key(&network.id);
            if shared {
                let flags = if network.role.carries_membership() { ACTIVE_COUNTING } else { 0 };
                records.push(ActiveRecord { link: ids::link_index(node.id, network.id), flags });
            }
        }
        if let Some(last) = records[first..].last_mut() {
            last.flags |= ACTIVE_LAST;
        }
    }
    records
}

/// Accepts exactly this incarnation of a peer, with windows that begin at `starts`; a network that is not named accepts
/// nothing. `now_ns` is when deadlines of links that were never heard begin.
///
/// The kernel never sees the new incarnation with old window starts: it reads 0 until everything else is written.
pub fn accept(memory: &Memory, node: u16, incarnation: u64, starts: &[Start], now_ns: u64) {
    clear(memory, node);
    let epoch = 1 + largest_epoch(memory, node);
    for start in starts {
        let index = ids::link_index(node, start.network);
        let Some(mut record) = memory.peers.read(index).filter(|record| record.present != 0) else { continue };
        record.epoch = epoch;
        record.unicast_start = start.unicast;
        record.multicast_start = start.multicast;
        record.since_ns = now_ns;
        record.incarnation = 0;
        memory.peers.write(index, &record);
        set_incarnation(memory, index, incarnation);
    }
}

/// Accepts no incarnation of a peer: its stamps and its echo freeze.
pub fn clear(memory: &Memory, node: u16) {
    for network in 1..=ids::MAX_NETWORK {
        set_incarnation(memory, ids::link_index(node, network), 0);
    }
}

fn set_incarnation(memory: &Memory, index: u32, incarnation: u64) {
    if let Some(word) = memory.peers.word(index, std::mem::offset_of!(PeerRecord, incarnation)) {
        word.store(incarnation, Ordering::SeqCst);
    }
}

fn largest_epoch(memory: &Memory, node: u16) -> u64 {
    (1..=ids::MAX_NETWORK)
        .filter_map(|network| memory.peers.read(ids::link_index(node, network)))
        .map(|record| record.epoch)
        .max()
        .unwrap_or(0)
}
