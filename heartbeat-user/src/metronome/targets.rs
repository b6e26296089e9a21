//! Where the metronome sends: one record for each destination, with the headers ready.

use std::net::IpAddr;

use heartbeat_common::{
    ids,
    metronome::{TARGET_ALTERNATE, TARGET_GROUP, TARGET_IPV6, TargetRecord, checksum, sum_of},
    wire::{HEARTBEAT_LENGTH, PORT, TIME_TO_LIVE, TRAFFIC_CLASS},
};

use crate::config::{Config, Machine, Multicast};

const UDP: u8 = 17;
const UDP_LENGTH: u16 = 8 + HEARTBEAT_LENGTH as u16;
const IPV4_LENGTH: u16 = 20 + UDP_LENGTH;
const DONT_FRAGMENT: u16 = 0x4000;
const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPE_IPV6: u16 = 0x86dd;

/// A hardware address of Ethernet.
pub type HardwareAddress = [u8; 6];

/// One destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index of the link.
    pub link: u32,
    /// Own address.
    pub source: IpAddr,
    /// The peer's address, or the group.
    pub destination: IpAddr,
    /// Interface that has the own address.
    pub carrier: u32,
    /// A group.
    pub group: bool,
    /// Only in every other interval.
    pub alternate: bool,
}

/// Everything that this node sends heartbeats to and that is on its own links. Those of one address family stand together:
/// the packet changes its length as seldom as can be.
#[must_use]
pub fn planned(config: &Config, machine: &Machine) -> Vec<Target> {
    let mut targets = Vec::new();
    for interface in &machine.interfaces {
        let Some(network) = config.network(interface.network).filter(|network| network.single_hop) else { continue };
        let group = match network.multicast {
            Multicast::Group(group) => Some(group),
            Multicast::Off | Multicast::Auto => None,
        };
        let target = |node, destination, is_group| Target {
            link: ids::link_index(node, interface.network),
            source: interface.address,
            destination,
            carrier: interface.carrier.index,
            group: is_group,
            alternate: group.is_some() && !is_group,
        };
        targets.extend(group.map(|group| target(ids::EVERY_NODE, group, true)));
        targets.extend(config.peers_on(interface.network).map(|(node, address)| target(node.id, address, false)));
    }
    targets.sort_by_key(|target| target.destination.is_ipv6());
    targets
}

impl Target {
    /// Its record; without a hardware address of the destination, one that is not sent to.
    #[must_use]
    pub fn record(&self, own: HardwareAddress, destination: Option<HardwareAddress>) -> TargetRecord {
        let destination = if self.group { Some(group_address(self.destination)) } else { destination };
        let mut bytes = [0; 56];
        bytes[..6].copy_from_slice(&destination.unwrap_or_default());
        bytes[6..12].copy_from_slice(&own);
        let (mut flags, pseudo) = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes[12..14].copy_from_slice(&ETHER_TYPE_IPV4.to_be_bytes());
                let header = &mut bytes[14..34];
                header[0] = 0x45;
                header[1] = TRAFFIC_CLASS;
                header[2..4].copy_from_slice(&IPV4_LENGTH.to_be_bytes());
                header[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
                header[8] = TIME_TO_LIVE;
                header[9] = UDP;
                header[12..16].copy_from_slice(&from.octets());
                header[16..20].copy_from_slice(&to.octets());
                let sum = checksum(sum_of(header));
                header[10..12].copy_from_slice(&sum.to_ne_bytes());
                (0, sum_of(&from.octets()) + sum_of(&to.octets()))
            }
            (from, to) => {
                bytes[12..14].copy_from_slice(&ETHER_TYPE_IPV6.to_be_bytes());
                let header = &mut bytes[14..54];
                // Version, then the traffic class, across two bytes.
                header[0] = 0x60 | (TRAFFIC_CLASS >> 4);
                header[1] = TRAFFIC_CLASS << 4;
                header[4..6].copy_from_slice(&UDP_LENGTH.to_be_bytes());
                header[6] = UDP;
                header[7] = TIME_TO_LIVE;
                header[8..24].copy_from_slice(&octets(from));
                header[24..40].copy_from_slice(&octets(to));
                (TARGET_IPV6, sum_of(&octets(from)) + sum_of(&octets(to)))
            }
        };
        if self.group {
            flags |= TARGET_GROUP;
        }
        if self.alternate {
            flags |= TARGET_ALTERNATE;
        }
        let ports_and_length: Vec<u8> =
            [u16::from(UDP), UDP_LENGTH, PORT, PORT, UDP_LENGTH].into_iter().flat_map(u16::to_be_bytes).collect();
        let sum = pseudo + sum_of(&ports_and_length);
        TargetRecord {
            headers: bytemuck::cast(bytes),
            link: self.link,
            ifindex: if destination.is_some() { self.carrier } else { 0 },
            flags,
            // Three dozen words of 16 bits.
            sum: u32::try_from(sum).unwrap_or(0),
        }
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Where frames to a group go: RFC 1112 section 6.4, RFC 2464 section 7.
fn group_address(group: IpAddr) -> HardwareAddress {
    match group {
        IpAddr::V4(group) => {
            let [_, a, b, c] = group.octets();
            [0x01, 0x00, 0x5e, a & 0x7f, b, c]
        }
        IpAddr::V6(group) => {
            let octets = group.octets();
            [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(source: &str, destination: &str) -> Target {
        Target {
            link: 16,
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            carrier: 7,
            group: false,
            alternate: false,
        }
    }

    #[test]
    fn headers_of_ipv4_are_those_of_rfc_791() {
        let record = target("10.1.0.1", "10.1.0.2").record([2, 0, 0, 0, 0, 1], Some([2, 0, 0, 0, 0, 2]));
        let bytes: [u8; 56] = bytemuck::cast(record.headers);
        assert_eq!(bytes[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!(bytes[14..24], [0x45, 0xc0, 0, 124, 0, 0, 0x40, 0, 255, 17]);
        assert_eq!(bytes[26..34], [10, 1, 0, 1, 10, 1, 0, 2]);
        let mut sum = sum_of(&bytes[14..34]);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
        assert_eq!((record.ifindex, record.flags, record.link), (7, 0, 16));
    }

    #[test]
    fn without_a_hardware_address_nothing_is_sent() {
        assert_eq!(target("10.1.0.1", "10.1.0.2").record([2; 6], None).ifindex, 0);
    }

    #[test]
    fn groups_have_addresses_of_their_own() {
        assert_eq!(group_address("239.129.2.3".parse().expect("v4")), [0x01, 0, 0x5e, 1, 2, 3]);
        assert_eq!(group_address("ff02::1:2345".parse().expect("v6")), [0x33, 0x33, 0, 1, 0x23, 0x45]);
        let group = Target { group: true, ..target("fd00::1", "ff02::1:2345") };
        let record = group.record([2; 6], None);
        assert_eq!((record.ifindex, record.flags), (7, TARGET_IPV6 | TARGET_GROUP));
    }
}
