//! From an Ethernet frame to the UDP datagram in it, if it can be ours.
//!
//! What is not ours is `None` as early as possible, and stays untouched: other protocols, other ports, fragments, IPv6
//! extension headers, more than one VLAN tag, frames too short to tell.

use crate::{decode::PacketBytes, wire};

const ETHERNET_LENGTH: usize = 14;
const VLAN_LENGTH: usize = 4;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const VLAN_ID_MASK: u16 = 0x0fff;
const IPV4_LENGTH_MIN: usize = 20;
const IPV6_LENGTH: usize = 40;
const UDP_LENGTH: u16 = 8;
const PROTOCOL_UDP: u8 = 17;
/// "More fragments" and the fragment offset (RFC 791 section 3.1).
const IPV4_FRAGMENT_MASK: u16 = 0x3fff;

/// An IPv4 or IPv6 address as two words in memory order; IPv4 stands in the first four bytes, the rest is zero.
///
/// `::a.b.c.d`-like confusion is not possible: a family flag accompanies every comparison through the EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Address(pub u64, pub u64);

impl Address {
    /// From the 16 bytes that a map record holds.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(bytes: &[u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
        Self(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p]))
    }

    #[inline(always)]
    const fn from_ipv4_raw(raw: u32) -> Self {
        let [a, b, c, d] = raw.to_ne_bytes();
        Self(u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), 0)
    }
}

/// A UDP datagram to our port, found in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<B> {
    /// The UDP payload, and whatever the frame has behind it.
    pub payload: B,
    /// Length of the payload by the UDP header; meaningless unless `lengths_agree`.
    pub payload_length: u16,
    /// The UDP length fits the IP length, and is not shorter than its own header.
    pub lengths_agree: bool,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// TTL or hop limit.
    pub time_to_live: u8,
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// VLAN id of the single tag; 0 is untagged.
    pub vlan: u16,
}

/// Finds the datagram to port 3343 in an Ethernet frame; `None` is: not ours, pass it on.
#[inline(always)]
pub fn locate<B: PacketBytes>(frame: B) -> Option<Datagram<B>> {
    let outer = frame.u16_be(12)?;
    if outer == ETHERTYPE_VLAN {
        let vlan = frame.u16_be(ETHERNET_LENGTH)? & VLAN_ID_MASK;
        // VLAN id 0 only carries a priority; no network is configured with it, and it is not untagged either.
        if vlan == 0 {
            return None;
        }
        let inner = frame.u16_be(ETHERNET_LENGTH + 2)?;
        return network_layer(frame.skip(ETHERNET_LENGTH + VLAN_LENGTH), inner, vlan);
    }
    network_layer(frame.skip(ETHERNET_LENGTH), outer, 0)
}

#[inline(always)]
fn network_layer<B: PacketBytes>(packet: B, ethertype: u16, vlan: u16) -> Option<Datagram<B>> {
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(packet, vlan),
        ETHERTYPE_IPV6 => ipv6(packet, vlan),
        _ => None,
    }
}

#[inline(always)]
fn ipv4<B: PacketBytes>(packet: B, vlan: u16) -> Option<Datagram<B>> {
    if packet.byte(9)? != PROTOCOL_UDP {
        return None;
    }
    let version_and_length = packet.byte(0)?;
    let header_length = usize::from(version_and_length & 0x0f) * 4;
    if version_and_length >> 4 != 4 || header_length < IPV4_LENGTH_MIN {
        return None;
    }
    // The last field of the fixed header is read before anything behind it: its bounds check is the one that the verifier
    // needs. Behind a later one, of a variable offset, the compiler would drop it as implied.
    let destination = Address::from_ipv4_raw(packet.u32_raw(16)?);
    let udp = packet.skip(header_length);
    if udp.u16_be(2)? != wire::PORT || packet.u16_be(6)? & IPV4_FRAGMENT_MASK != 0 {
        return None;
    }
    let udp_length = udp.u16_be(4)?;
    Some(Datagram {
        payload: udp.skip(UDP_LENGTH as usize),
        payload_length: udp_length.wrapping_sub(UDP_LENGTH),
        lengths_agree: udp_length >= UDP_LENGTH && packet.u16_be(2)? == udp_length.wrapping_add(header_length as u16),
        source: Address::from_ipv4_raw(packet.u32_raw(12)?),
        destination,
        time_to_live: packet.byte(8)?,
        ipv6: false,
        vlan,
    })
}

#[inline(always)]
fn ipv6<B: PacketBytes>(packet: B, vlan: u16) -> Option<Datagram<B>> {
    if packet.byte(6)? != PROTOCOL_UDP || packet.byte(0)? >> 4 != 6 {
        return None;
    }
    // As with IPv4: the fixed header first.
    let destination = address_ipv6(packet, 24)?;
    let udp = packet.skip(IPV6_LENGTH);
    if udp.u16_be(2)? != wire::PORT {
        return None;
    }
    let udp_length = udp.u16_be(4)?;
    Some(Datagram {
        payload: udp.skip(UDP_LENGTH as usize),
        payload_length: udp_length.wrapping_sub(UDP_LENGTH),
        lengths_agree: udp_length >= UDP_LENGTH && packet.u16_be(4)? == udp_length,
        source: address_ipv6(packet, 8)?,
        destination,
        time_to_live: packet.byte(7)?,
        ipv6: true,
        vlan,
    })
}

#[inline(always)]
fn address_ipv6<B: PacketBytes>(packet: B, offset: usize) -> Option<Address> {
    let low = |offset| packet.u32_raw(offset);
    let join = |first: u32, second: u32| {
        let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    };
    Some(Address(join(low(offset)?, low(offset + 4)?), join(low(offset + 8)?, low(offset + 12)?)))
}

#[cfg(test)]
mod tests;
