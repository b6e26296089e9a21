//! The checks between a datagram and a proven heartbeat, in the order of docs/protocol.md.
//!
//! Generic over [`Tables`]: BPF maps in the XDP program, plain memory in the socket data plane and in tests.

use crate::{
    auth::{self, HeartbeatKey, State},
    decode::{self, Heartbeat, PacketBytes, WORDS_MIN, Words},
    frame::{Address, Datagram},
    ids,
    records::{
        KeyRecord, NETWORK_GROUP, NETWORK_IPV6, NETWORK_PRESENT, NETWORK_SINGLE_HOP, NetworkTable, NodeRecord,
        PeerRecord,
    },
    reject::Reject,
    wire,
};

/// What the checks look up.
pub trait Tables<'a>: Copy {
    /// Who we are.
    fn node(self) -> Option<&'a NodeRecord>;
    /// Our networks.
    fn networks(self) -> Option<&'a NetworkTable>;
    /// What is expected of the peer behind a link index.
    fn peer(self, link: u32) -> Option<&'a PeerRecord>;
    /// The key in a slot, which may be any number.
    fn key(self, slot: u8) -> Option<&'a KeyRecord>;
}

/// The network that a datagram came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Network id, 1..=8.
    pub network: u8,
    /// The TTL must be 255.
    pub single_hop: bool,
    /// Addressed to the group rather than to us.
    pub multicast: bool,
}

/// Is the datagram addressed to us on the interface that it came in by? `None`: it is somebody else's, pass it on.
#[inline(always)]
pub fn ingress<B: PacketBytes>(networks: &NetworkTable, ifindex: u32, datagram: &Datagram<B>) -> Option<Ingress> {
    let mut slot = 0;
    while slot < networks.networks.len() {
        let network = &networks.networks[slot];
        slot += 1;
        let flags = network.flags;
        let here = network.ifindex == ifindex
            && network.vlan == datagram.vlan
            && flags & NETWORK_PRESENT != 0
            && (flags & NETWORK_IPV6 != 0) == datagram.ipv6;
        if !here {
            continue;
        }
        let own = Address::from_bytes(&network.address) == datagram.destination;
        let group = flags & NETWORK_GROUP != 0 && Address::from_bytes(&network.group) == datagram.destination;
        if own || group {
            return Some(Ingress { network: slot as u8, single_hop: flags & NETWORK_SINGLE_HOP != 0, multicast: !own });
        }
    }
    None
}

/// A datagram whose sender holds the key: everything is checked but incarnation and sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Index of the link that it came by.
    pub link: u32,
    /// Heartbeat, or control message with its kind.
    pub message: Message,
}

/// What was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// A control message, of which only the header is proven.
    Control {
        /// Its kind, 16 or above.
        kind: u8,
    },
}

/// Checks a datagram that [`ingress`] found to be addressed to us.
///
/// # Errors
/// The first [`Reject`] that applies; nothing was changed.
#[inline(always)]
pub fn verify<'a, B: PacketBytes, T: Tables<'a>>(
    tables: T,
    datagram: &Datagram<B>,
    ingress: Ingress,
) -> Result<Verified, Reject> {
    if !datagram.lengths_agree {
        return Err(Reject::Malformed);
    }
    let words = datagram.payload.words::<WORDS_MIN>().ok_or(Reject::Malformed)?;
    let decoded = decode::decode(words, datagram.payload_length)?;

    // Without a NODE record nothing can be addressed to us; userspace writes it before it attaches.
    let node = tables.node().ok_or(Reject::Cluster)?;
    if decoded.cluster_id != node.cluster_id {
        return Err(Reject::Cluster);
    }
    let expected = if ingress.multicast { u32::from(ids::EVERY_NODE) } else { node.node };
    let says_multicast = decoded.flags & wire::FLAG_MULTICAST != 0;
    if u32::from(decoded.destination) != expected || says_multicast != ingress.multicast {
        return Err(Reject::Destination);
    }
    if decoded.source == ids::EVERY_NODE
        || decoded.source > ids::MAX_NODE
        || decoded.network == 0
        || decoded.network > ids::MAX_NETWORK
    {
        return Err(Reject::UnknownPeer);
    }
    if decoded.network != ingress.network {
        return Err(Reject::WrongInterface);
    }
    let link = ids::link_index(decoded.source, decoded.network);
    let peer = tables.peer(link).ok_or(Reject::UnknownPeer)?;
    if peer.present == 0 {
        return Err(Reject::UnknownPeer);
    }
    if Address::from_bytes(&peer.address) != datagram.source {
        return Err(Reject::WrongAddress);
    }
    if ingress.single_hop && datagram.time_to_live != wire::TIME_TO_LIVE {
        return Err(Reject::Ttl);
    }

    let key = tables.key(decoded.key_id).ok_or(Reject::UnknownKey)?;
    if key.present == 0 {
        return Err(Reject::UnknownKey);
    }
    if decoded.is_control() {
        let key = HeartbeatKey::from_halves(key.k0, key.k1);
        let tag = auth::tag::<{ wire::HEADER_LENGTH / 8 }>(key, |index| words.word(index));
        if tag.0 != words.word(7) || tag.1 != words.word(8) {
            return Err(Reject::BadTag);
        }
        return Ok(Verified { link, message: Message::Control { kind: decoded.kind } });
    }
    // The cluster id has been found to be ours, so that an ordinary first word means a state that is known already.
    let state = if words.word(0) == key.first_word {
        State::from_words(key.state)
    } else {
        State::new(HeartbeatKey::from_halves(key.k0, key.k1)).absorb(words.word(0)).absorb(words.word(1))
    };
    let tag = auth::tag_behind::<2, { wire::HEARTBEAT_TAGGED_LENGTH / 8 }>(state, |index| words.word(index));
    if tag.0 != words.word(10) || tag.1 != words.word(11) {
        return Err(Reject::BadTag);
    }
    Ok(Verified { link, message: Message::Heartbeat(Heartbeat::read(words, decoded.flags)) })
}

#[cfg(test)]
mod tests;
