//! The node that receives the specimens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::Zeroable as _;

use crate::{
    ABI_VERSION,
    account::{account, empty_link},
    auth::HeartbeatKey,
    decode::Heartbeat,
    frame, ids,
    records::{
        KeyRecord, LinkRecord, NETWORK_GROUP, NETWORK_IPV6, NETWORK_PRESENT, NETWORK_SINGLE_HOP, NetworkRecord,
        NetworkTable, NodeRecord, PeerRecord, VerdictRecord,
    },
    reject::Reject,
    verify::{self, Message, Tables},
};

/// Own node id: the destination of the test vector in docs/protocol.md.
pub const OWN_NODE: u16 = 2;
/// A peer on every network.
pub const PEER: u16 = 1;
/// A peer on the plain network only.
pub const OTHER_PEER: u16 = 3;
/// Largest node id that the maps have room for.
pub const LARGEST_NODE: u16 = 3;
/// Incarnation that is accepted of every peer.
pub const INCARNATION: u64 = 1_700_000_000_000_000_000;
/// Cluster id of "demo".
pub const CLUSTER_ID: [u8; 8] = [0x2a, 0x97, 0x51, 0x6c, 0x35, 0x4b, 0x68, 0x84];
/// Key of slot 1: that of the test vector.
pub const KEY: HeartbeatKey = HeartbeatKey::from_bytes([
    0xce, 0x81, 0x5f, 0xd4, 0x9a, 0x6d, 0xeb, 0x4c, 0x3d, 0xe8, 0x22, 0xe0, 0x17, 0x18, 0x67, 0x05,
]);
/// Key of slot 2; the slots 3 and 4 are empty.
pub const SECOND_KEY: HeartbeatKey = HeartbeatKey::from_bytes([0x5a; 16]);
/// First sequence number that is accepted on the routed network; 1 on the others.
pub const ROUTED_START: u64 = 1_000;
/// Epoch of every peer record.
pub const EPOCH: u64 = 1;

/// IPv4, untagged, single hop, no group.
pub const PLAIN: u8 = 1;
/// IPv6, untagged, single hop, with a group.
pub const IPV6: u8 = 2;
/// IPv4 with VLAN 300, single hop, with a group.
pub const TAGGED: u8 = 3;
/// IPv4, untagged, any TTL.
pub const ROUTED: u8 = 4;
/// IPv4, on another interface.
pub const ELSEWHERE: u8 = 5;
/// IPv6 with VLAN 600, any hop limit.
pub const IPV6_TAGGED: u8 = 6;
/// A network that this node has no part in.
pub const ABSENT: u8 = 7;

/// An address of a node on a network.
#[must_use]
pub fn address(node: u16, network: u8) -> IpAddr {
    let [_, low] = node.to_be_bytes();
    if is_ipv6(network) {
        IpAddr::V6(Ipv6Addr::new(0xfd00, network.into(), 0x1234, 0, 0xabcd, 0, 0, node))
    } else {
        IpAddr::V4(Ipv4Addr::new(10, 0, network, low))
    }
}

/// The multicast group of a network, whether the node uses it or not.
#[must_use]
pub fn group(network: u8) -> IpAddr {
    if is_ipv6(network) {
        IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, network.into(), 0x3343))
    } else {
        IpAddr::V4(Ipv4Addr::new(239, 3, 43, network))
    }
}

/// VLAN of a network; 0 is untagged.
#[must_use]
pub fn vlan(network: u8) -> u16 {
    match network {
        TAGGED => 300,
        IPV6_TAGGED => 600,
        _ => 0,
    }
}

/// Does the network use IPv6?
#[must_use]
pub fn is_ipv6(network: u8) -> bool {
    matches!(network, IPV6 | IPV6_TAGGED)
}

/// What a frame is to the node, with nothing heard before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Passed on, uncounted.
    NotOurs,
    /// Dropped and counted.
    Refused(Reject),
    /// Booked on this link.
    Heartbeat(u32, Heartbeat),
    /// Passed to userspace: link and kind.
    Control(u32, u8),
}

/// Tables of the node.
#[derive(Clone)]
pub struct World {
    /// Who we are.
    pub node: NodeRecord,
    /// Our networks.
    pub networks: NetworkTable,
    /// By slot.
    pub keys: [KeyRecord; ids::MAX_KEY as usize + 1],
    /// By link.
    pub peers: Vec<PeerRecord>,
}

impl World {
    /// A node whose networks are all on the interface `ifindex`, but for [`ELSEWHERE`].
    #[must_use]
    pub fn new(ifindex: u32) -> Self {
        let node = NodeRecord {
            abi: ABI_VERSION,
            node: u32::from(OWN_NODE),
            cluster_id: u64::from_ne_bytes(CLUSTER_ID),
            incarnation: 1,
            ..NodeRecord::zeroed()
        };
        let mut networks = NetworkTable::zeroed();
        let mut keys = [KeyRecord::zeroed(); ids::MAX_KEY as usize + 1];
        let cluster_id = u64::from_ne_bytes(CLUSTER_ID);
        keys[1] = KeyRecord::new(1, KEY, cluster_id);
        keys[2] = KeyRecord::new(2, SECOND_KEY, cluster_id);
        let links = (usize::from(LARGEST_NODE) + 1) * usize::from(ids::MAX_NETWORK);
        let mut peers = vec![PeerRecord::zeroed(); links];
        for id in [PLAIN, IPV6, TAGGED, ROUTED, ELSEWHERE, IPV6_TAGGED] {
            networks.networks[usize::from(id - 1)] = network_record(id, ifindex);
            peers[ids::link_index(PEER, id) as usize] = peer_record(PEER, id);
        }
        peers[ids::link_index(OTHER_PEER, PLAIN) as usize] = peer_record(OTHER_PEER, PLAIN);
        Self { node, networks, keys, peers }
    }

    /// Runs everything that the XDP program runs, on the host.
    #[must_use]
    pub fn outcome(&self, ifindex: u32, bytes: &[u8]) -> Outcome {
        let Some(datagram) = frame::locate(bytes) else { return Outcome::NotOurs };
        let Some(ingress) = verify::ingress(&self.networks, ifindex, &datagram) else { return Outcome::NotOurs };
        let verified = match verify::verify(self, &datagram, ingress) {
            Ok(verified) => verified,
            Err(reason) => return Outcome::Refused(reason),
        };
        let heartbeat = match verified.message {
            Message::Heartbeat(heartbeat) => heartbeat,
            Message::Control { kind } => return Outcome::Control(verified.link, kind),
        };
        match self.book(verified.link, &heartbeat, 1) {
            Ok(_) => Outcome::Heartbeat(verified.link, heartbeat),
            Err(reason) => Outcome::Refused(reason),
        }
    }

    /// The link record after a first heartbeat that arrived at `stamp_ns`.
    ///
    /// # Errors
    /// Wrong incarnation or sequence number.
    pub fn book(&self, link: u32, heartbeat: &Heartbeat, stamp_ns: u64) -> Result<LinkRecord, Reject> {
        let peer = self.peer(link).ok_or(Reject::UnknownPeer)?;
        if peer.incarnation == 0 || peer.incarnation != heartbeat.incarnation {
            return Err(Reject::WrongIncarnation);
        }
        let mut record = empty_link();
        account(&mut record, peer, &VerdictRecord::zeroed(), heartbeat, || stamp_ns)?;
        Ok(record)
    }
}

impl<'a> Tables<'a> for &'a World {
    fn node(self) -> Option<&'a NodeRecord> {
        Some(&self.node)
    }

    fn networks(self) -> Option<&'a NetworkTable> {
        Some(&self.networks)
    }

    fn peer(self, link: u32) -> Option<&'a PeerRecord> {
        self.peers.get(usize::try_from(link).ok()?)
    }

    fn key(self, slot: u8) -> Option<&'a KeyRecord> {
        self.keys.get(usize::from(slot))
    }
}

fn network_record(id: u8, ifindex: u32) -> NetworkRecord {
    let mut flags = NETWORK_PRESENT;
    flags |= if matches!(id, ROUTED | IPV6_TAGGED) { 0 } else { NETWORK_SINGLE_HOP };
    flags |= if is_ipv6(id) { NETWORK_IPV6 } else { 0 };
    let has_group = matches!(id, IPV6 | TAGGED);
    flags |= if has_group { NETWORK_GROUP } else { 0 };
    NetworkRecord {
        ifindex: if id == ELSEWHERE { ifindex + 1_000 } else { ifindex },
        vlan: vlan(id),
        flags,
        address: address_bytes(address(OWN_NODE, id)),
        group: if has_group { address_bytes(group(id)) } else { [0; 16] },
    }
}

fn peer_record(node: u16, network: u8) -> PeerRecord {
    PeerRecord {
        incarnation: INCARNATION,
        epoch: EPOCH,
        address: address_bytes(address(node, network)),
        unicast_start: if network == ROUTED { ROUTED_START } else { 1 },
        multicast_start: 1,
        since_ns: 1,
        present: 1,
    }
}

/// An address as map records hold it.
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
