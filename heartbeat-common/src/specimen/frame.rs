//! Frames built field by field, so that each can be made to lie.

use std::net::IpAddr;

use bytemuck::Zeroable as _;

use super::world::{self, CLUSTER_ID, INCARNATION, KEY, OWN_NODE, PEER};
use crate::{
    auth::{self, HeartbeatKey},
    ids,
    wire::{self, Header, Heartbeat},
};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of an 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// A message in the making: length and tag are filled in by [`Message::to_bytes`].
#[derive(Clone)]
pub struct Message {
    /// The header, `length` aside.
    pub header: Header,
    /// What stands in the length field, when that is not the length.
    pub length: Option<u16>,
    /// What follows the header.
    pub content: Content,
    /// What signs it, whatever `header.key_id` says.
    pub key: HeartbeatKey,
    /// Bit of the tag that is flipped.
    pub tag_flip: Option<usize>,
}

/// What follows the header.
#[derive(Clone, Debug)]
pub enum Content {
    /// The rest of a heartbeat.
    Heartbeat {
        /// See [`Heartbeat`].
        echo_sent_ns: u64,
        /// See [`Heartbeat`].
        echo_hold_us: u32,
        /// See [`Heartbeat`].
        controller_age_ms: u32,
        /// See [`Heartbeat`].
        controller_beat: u64,
    },
    /// Body of a control message; its HMAC, which only userspace looks at, is zeros.
    Control(Vec<u8>),
}

impl Message {
    /// A heartbeat of [`PEER`] to us.
    #[must_use]
    pub fn heartbeat(network: u8, sequence: u64) -> Self {
        let header = Header {
            magic: wire::MAGIC,
            version: wire::VERSION,
            kind: wire::KIND_HEARTBEAT,
            flags: 0,
            key_id: 1,
            cluster_id: CLUSTER_ID,
            source: PEER.to_be_bytes(),
            destination: OWN_NODE.to_be_bytes(),
            network,
            incarnation: INCARNATION.to_be_bytes(),
            sequence: sequence.to_be_bytes(),
            sent_ns: 123_456_789_u64.to_be_bytes(),
            view: 7_u64.to_be_bytes(),
            ..Header::zeroed()
        };
        let content = Content::Heartbeat {
            echo_sent_ns: 987_654_321,
            echo_hold_us: 250,
            controller_age_ms: 3,
            controller_beat: 99,
        };
        Self { header, length: None, content, key: KEY, tag_flip: None }
    }

    /// A control message of [`PEER`] to us.
    #[must_use]
    pub fn control(network: u8, kind: u8, body: Vec<u8>) -> Self {
        let mut message = Self::heartbeat(network, 1);
        message.header.kind = kind;
        message.content = Content::Control(body);
        message
    }

    /// Makes it one to the group.
    #[must_use]
    pub fn to_group(mut self) -> Self {
        self.header.flags |= wire::FLAG_MULTICAST;
        self.header.destination = ids::EVERY_NODE.to_be_bytes();
        self
    }

    /// The UDP payload, signed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        let true_length = match &self.content {
            Content::Heartbeat { .. } => wire::HEARTBEAT_LENGTH,
            Content::Control(body) => wire::CONTROL_LENGTH_MIN + body.len(),
        };
        header.length = self.length.unwrap_or(true_length as u16).to_be_bytes();
        let flip = |tag: &mut [u8]| {
            if let Some(bit) = self.tag_flip {
                tag[bit / 8] ^= 1 << (bit % 8);
            }
        };
        match &self.content {
            Content::Heartbeat { echo_sent_ns, echo_hold_us, controller_age_ms, controller_beat } => {
                let mut heartbeat = Heartbeat {
                    header,
                    echo_sent_ns: echo_sent_ns.to_be_bytes(),
                    echo_hold_us: echo_hold_us.to_be_bytes(),
                    controller_age_ms: controller_age_ms.to_be_bytes(),
                    controller_beat: controller_beat.to_be_bytes(),
                    tag: [0; 16],
                };
                if let Some(tagged) = heartbeat.as_bytes().first_chunk::<{ wire::HEARTBEAT_TAGGED_LENGTH }>() {
                    heartbeat.tag = auth::tag_bytes(self.key, tagged).to_bytes();
                }
                flip(&mut heartbeat.tag);
                heartbeat.as_bytes().to_vec()
            }
            Content::Control(body) => {
                let header: [u8; wire::HEADER_LENGTH] = bytemuck::cast(header);
                let mut tag = auth::tag_bytes(self.key, &header).to_bytes();
                flip(&mut tag);
                [&header[..], &tag, body, &[0; wire::CONTROL_MAC_LENGTH]].concat()
            }
        }
    }
}

/// An Ethernet frame in the making.
#[derive(Clone)]
pub struct Frame {
    /// EtherType and tag control information of each VLAN tag, from the outside.
    pub tags: Vec<(u16, u16)>,
    /// EtherType behind the tags, when it is not that of the addresses.
    pub ethertype: Option<u16>,
    /// Source address; tells the family, too.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub time_to_live: u8,
    /// Protocol, or next header.
    pub protocol: u8,
    /// First byte of the IP header, when it is not the right one.
    pub first_byte: Option<u8>,
    /// Length in the IP header, when it is not the right one.
    pub ip_length: Option<u16>,
    /// Flags and offset (IPv4).
    pub fragment: u16,
    /// Options (IPv4), a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Extension header (IPv6): its type, and its bytes, of which the first is overwritten with `protocol`.
    pub extension: Option<(u8, Vec<u8>)>,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
    /// Length in the UDP header, when it is not the right one.
    pub udp_length: Option<u16>,
    /// What the datagram carries.
    pub message: Message,
    /// Bytes behind the message that only the frame knows of: padding.
    pub padding: usize,
}

impl Frame {
    /// A frame from the message's sender to us on `network`, as the sender would send it.
    #[must_use]
    pub fn unicast(network: u8, message: Message) -> Self {
        let sender = u16::from_be_bytes(message.header.source);
        let tags = match world::vlan(network) {
            0 => Vec::new(),
            vlan => vec![(ETHERTYPE_VLAN, vlan)],
        };
        Self {
            tags,
            ethertype: None,
            source: world::address(sender, network),
            destination: world::address(OWN_NODE, network),
            time_to_live: wire::TIME_TO_LIVE,
            protocol: PROTOCOL_UDP,
            first_byte: None,
            ip_length: None,
            fragment: 0x4000,
            options: Vec::new(),
            extension: None,
            source_port: wire::PORT,
            destination_port: wire::PORT,
            udp_length: None,
            message,
            padding: 0,
        }
    }

    /// A heartbeat of [`PEER`] to us.
    #[must_use]
    pub fn heartbeat(network: u8, sequence: u64) -> Self {
        Self::unicast(network, Message::heartbeat(network, sequence))
    }

    /// A heartbeat of [`PEER`] to the group.
    #[must_use]
    pub fn group_heartbeat(network: u8, sequence: u64) -> Self {
        let message = Message::heartbeat(network, sequence).to_group();
        Self { destination: world::group(network), ..Self::unicast(network, message) }
    }

    /// Where the IP header begins.
    #[must_use]
    pub fn network_offset(&self) -> usize {
        14 + 4 * self.tags.len()
    }

    /// Where the UDP header begins.
    #[must_use]
    pub fn udp_offset(&self) -> usize {
        let header = if self.source.is_ipv6() {
            40 + self.extension.as_ref().map_or(0, |(_, bytes)| bytes.len())
        } else {
            20 + self.options.len()
        };
        self.network_offset() + header
    }

    /// The bytes of the frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let payload = self.message.to_bytes();
        let udp_length = payload.len() as u16 + 8;
        let mut bytes = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1];
        for (ethertype, control) in &self.tags {
            bytes.extend(ethertype.to_be_bytes());
            bytes.extend(control.to_be_bytes());
        }
        let ethertype = if self.source.is_ipv6() { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        bytes.extend(self.ethertype.unwrap_or(ethertype).to_be_bytes());
        self.network_header(&mut bytes, udp_length);
        bytes.extend(self.source_port.to_be_bytes());
        bytes.extend(self.destination_port.to_be_bytes());
        bytes.extend(self.udp_length.unwrap_or(udp_length).to_be_bytes());
        bytes.extend([0xbe, 0xef]);
        bytes.extend(payload);
        bytes.resize(bytes.len() + self.padding, 0);
        bytes
    }

    fn network_header(&self, bytes: &mut Vec<u8>, udp_length: u16) {
        let source = world::address_bytes(self.source);
        let destination = world::address_bytes(self.destination);
        if self.source.is_ipv6() {
            let extension_length = self.extension.as_ref().map_or(0, |(_, extension)| extension.len()) as u16;
            bytes.extend([self.first_byte.unwrap_or(0x6c), 0, 0, 0]);
            bytes.extend(self.ip_length.unwrap_or(udp_length + extension_length).to_be_bytes());
            bytes.extend([self.extension.as_ref().map_or(self.protocol, |(kind, _)| *kind), self.time_to_live]);
            bytes.extend(source);
            bytes.extend(destination);
            if let Some((_, extension)) = &self.extension {
                bytes.push(self.protocol);
                bytes.extend(&extension[1..]);
            }
            return;
        }
        let header_length = 20 + self.options.len() as u16;
        bytes.extend([self.first_byte.unwrap_or(0x40 | (header_length / 4) as u8), wire::TRAFFIC_CLASS]);
        bytes.extend(self.ip_length.unwrap_or(header_length + udp_length).to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.time_to_live, self.protocol, 0xca, 0xfe]);
        bytes.extend(&source[..4]);
        bytes.extend(&destination[..4]);
        bytes.extend(&self.options);
    }
}
