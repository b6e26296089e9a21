//! The configuration as map records.

use bytemuck::Zeroable as _;
use heartbeat_common::{
    ABI_VERSION,
    records::{
        NETWORK_GROUP, NETWORK_IPV6, NETWORK_PRESENT, NETWORK_SINGLE_HOP, NetworkRecord, NetworkTable, NodeRecord,
        TimingRecord,
    },
};

use super::{Preparation, peers, receive::LocalTables};
use crate::{
    config::{Config, Machine, Multicast},
    keys::DerivedKeys,
    reload::keyring,
};

/// What the judge goes by.
#[must_use]
pub fn judging(config: &Config) -> TimingRecord {
    TimingRecord {
        interval_ns: config.timing.interval_ns,
        late_ns: config.timing.late_timeout_ns(),
        silent_ns: config.timing.silent_timeout_ns(),
        slack_ns: config.timing.slack_ns(),
        active_links: peers::active(config).len() as u64,
    }
}

/// Who we are, our networks, keys and peers.
pub(super) fn local_tables(
    config: &Config,
    machine: &Machine,
    keys: &[(u8, DerivedKeys)],
    preparation: &Preparation,
    incarnation: u64,
) -> LocalTables {
    let owner = &preparation.owner;
    let node = NodeRecord {
        abi: ABI_VERSION,
        node: owner.node,
        cluster_id: owner.cluster_id,
        incarnation,
        network_namespace: owner.network_namespace,
        links: preparation.sizes.links,
        boot_id: owner.boot_id,
        config_digest: owner.config_digest,
        ..NodeRecord::zeroed()
    };
    let mut table = NetworkTable::zeroed();
    for interface in &machine.interfaces {
        let Some(network) = config.network(interface.network) else { continue };
        let mut flags = NETWORK_PRESENT;
        flags |= if network.single_hop { NETWORK_SINGLE_HOP } else { 0 };
        flags |= if interface.address.is_ipv6() { NETWORK_IPV6 } else { 0 };
        let group = match network.multicast {
            Multicast::Group(group) => {
                flags |= NETWORK_GROUP;
                peers::address_bytes(group)
            }
            Multicast::Off | Multicast::Auto => [0; 16],
        };
        table.networks[usize::from(network.id - 1)] = NetworkRecord {
            ifindex: interface.attach.index,
            vlan: network.vlan.unwrap_or(0),
            flags,
            address: peers::address_bytes(interface.address),
            group,
        };
    }
    let cluster_id = owner.cluster_id.to_ne_bytes();
    let slots = keyring::slots(keys.iter().map(|(id, derived)| (*id, derived)), cluster_id);
    let peers = peers::configured(config, preparation.sizes.links as usize);
    LocalTables { node, networks: table, keys: slots, peers }
}
