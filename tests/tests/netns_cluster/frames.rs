//! Frames of the protocol, true and false: whoever makes them holds the cluster's key.

use std::net::Ipv4Addr;

use bytemuck::Zeroable as _;
use heartbeat_common::{
    auth::{HeartbeatKey, tag_bytes},
    wire::{self, HEADER_LENGTH, HEARTBEAT_TAGGED_LENGTH, Header, Heartbeat},
};
use heartbeat_tests::cluster::Cluster;
use heartbeat_user::{
    control::{Envelope, Signer},
    keys::{self, Secret},
};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
/// Where the payload of a frame without IP options begins.
pub(crate) const PAYLOAD: usize = ETHERNET + IPV4 + UDP;

/// A UDP datagram in IPv4 in Ethernet.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    /// Of the interface that is to take it.
    pub(crate) destination_mac: [u8; 6],
    /// Source address.
    pub(crate) source: Ipv4Addr,
    /// Destination address.
    pub(crate) destination: Ipv4Addr,
    /// TTL.
    pub(crate) time_to_live: u8,
    /// Destination port; the source port is always the cluster's.
    pub(crate) port: u16,
    /// UDP payload.
    pub(crate) payload: Vec<u8>,
}

impl Datagram {
    /// The frame. It has no UDP checksum, which IPv4 allows.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let udp_length = u16::try_from(UDP + self.payload.len()).unwrap();
        let total = u16::try_from(IPV4).unwrap() + udp_length;
        let mut frame = Vec::with_capacity(PAYLOAD + self.payload.len());
        frame.extend(self.destination_mac);
        frame.extend([0x02, 0, 0, 0, 0, 0x99]);
        frame.extend(0x0800_u16.to_be_bytes());
        frame.extend([0x45, wire::TRAFFIC_CLASS]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 0, 0x40, 0, self.time_to_live, 17, 0, 0]);
        frame.extend(self.source.octets());
        frame.extend(self.destination.octets());
        let sum = checksum(&frame[ETHERNET..ETHERNET + IPV4]);
        frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(wire::PORT.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend(udp_length.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(&self.payload);
        frame
    }
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// Makes messages of a node with the key of its cluster.
#[derive(Clone)]
pub(crate) struct Forger {
    signer: Signer,
}

impl Forger {
    /// One that speaks as `node`.
    pub(crate) fn new(cluster: &Cluster, node: u16) -> Self {
        let secret = Secret::read(&cluster.topology().prefix().directory().join("secret.key")).unwrap();
        let cluster_id = keys::cluster_id("demo");
        let derived = secret.derive(cluster_id);
        let heartbeat_key = HeartbeatKey::from_bytes(derived.heartbeat_key);
        Self { signer: Signer { cluster_id, node, key_id: 1, heartbeat_key, control_key: derived.control_key } }
    }

    /// A heartbeat with a header changed by `change`, and a tag that fits.
    pub(crate) fn heartbeat(&self, envelope: &Envelope, change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let length = u16::try_from(wire::HEARTBEAT_LENGTH).unwrap();
        let mut heartbeat = Heartbeat { header: self.signer.header(envelope, 0, length), ..Heartbeat::zeroed() };
        change(&mut heartbeat.header);
        let tagged: &[u8; HEARTBEAT_TAGGED_LENGTH] = heartbeat.as_bytes().first_chunk().unwrap();
        heartbeat.tag = tag_bytes(self.signer.heartbeat_key, tagged).to_bytes();
        heartbeat.as_bytes().to_vec()
    }

    /// A control message.
    pub(crate) fn control(&self, envelope: &Envelope, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        self.signer.seal(envelope, body, &mut message).unwrap();
        message
    }
}

/// A captured message of the protocol, without IP options.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Captured {
    /// The whole frame, fit to be sent again.
    pub(crate) frame: Vec<u8>,
    /// Its header.
    pub(crate) header: Header,
}

impl Captured {
    /// `None` where the frame is something else.
    pub(crate) fn parse(frame: &[u8]) -> Option<Self> {
        let is_udp_to_port = frame.get(12..15)? == [8, 0, 0x45]
            && frame.get(ETHERNET + 9)? == &17
            && frame.get(ETHERNET + IPV4 + 2..ETHERNET + IPV4 + 4)? == wire::PORT.to_be_bytes();
        let header: [u8; HEADER_LENGTH] = *frame.get(PAYLOAD..)?.first_chunk()?;
        let header: Header = bytemuck::cast(header);
        if !is_udp_to_port || header.magic != wire::MAGIC {
            return None;
        }
        let mut frame = frame.to_vec();
        // What was captured on its way out of a socket may have no finished checksum: a replay goes without.
        frame[PAYLOAD - 2..PAYLOAD].fill(0);
        Some(Self { frame, header })
    }

    /// From whom to whom.
    pub(crate) fn is_between(&self, source: u16, destination: u16) -> bool {
        (self.header.source, self.header.destination) == (source.to_be_bytes(), destination.to_be_bytes())
    }

    /// Its sequence number.
    pub(crate) fn sequence(&self) -> u64 {
        u64::from_be_bytes(self.header.sequence)
    }

    /// Its sender's incarnation.
    pub(crate) fn incarnation(&self) -> u64 {
        u64::from_be_bytes(self.header.incarnation)
    }
}
