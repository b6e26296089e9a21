use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::specimen::{
    Frame,
    world::{self, IPV6, IPV6_TAGGED, OWN_NODE, PEER, PLAIN, TAGGED},
};

fn raw(address: IpAddr) -> Address {
    Address::from_bytes(&world::address_bytes(address))
}

#[test]
fn a_located_datagram_has_the_frame_s_fields() {
    for network in [PLAIN, IPV6, TAGGED, IPV6_TAGGED] {
        let frame = Frame { time_to_live: 77, padding: 3, ..Frame::heartbeat(network, 42) };
        let bytes = frame.to_bytes();
        let datagram = locate(&bytes[..]).expect("to our port");
        assert_eq!(&datagram.payload[..96], &frame.message.to_bytes()[..]);
        assert_eq!((datagram.payload.len(), datagram.payload_length), (99, 96));
        assert!(datagram.lengths_agree);
        assert_eq!(datagram.source, raw(world::address(PEER, network)));
        assert_eq!(datagram.destination, raw(world::address(OWN_NODE, network)));
        assert_eq!((datagram.time_to_live, datagram.vlan), (77, world::vlan(network)));
        assert_eq!(datagram.ipv6, world::is_ipv6(network));
    }
}

#[test]
fn options_move_the_payload() {
    for words in 0..=10 {
        let frame = Frame { options: vec![0x94; words * 4], ..Frame::heartbeat(PLAIN, 42) };
        let bytes = frame.to_bytes();
        let datagram = locate(&bytes[..]).expect("to our port");
        assert_eq!(datagram.payload, &frame.message.to_bytes()[..]);
        assert!(datagram.lengths_agree);
    }
}

#[test]
fn an_ipv4_address_is_no_prefix_of_an_ipv6_address() {
    let four = raw(IpAddr::from([10, 0, 1, 2]));
    let six = raw(IpAddr::from([0x0a00, 0x0102, 0, 0, 0, 0, 0, 0]));
    // The words alone are equal: the family is told apart by the network's flag, see `verify::ingress`.
    assert_eq!(four, six);
    assert_ne!(four, raw(IpAddr::from([0x0a00, 0x0102, 0, 0, 0, 0, 0, 1])));
}

proptest! {
    /// Whatever the bytes are, locating them neither panics nor finds a port other than ours.
    #[test]
    fn arbitrary_bytes_are_located_only_with_our_port(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(datagram) = locate(&bytes[..]) {
            let udp = bytes.len() - datagram.payload.len() - 8;
            prop_assert_eq!(&bytes[udp + 2..udp + 4], &wire::PORT.to_be_bytes()[..]);
        }
    }

    /// Headers of every length, led towards a datagram to our port as far as the draw says.
    #[test]
    fn random_ipv4_headers(
        first in prop_oneof![4 => 0x44u8..0x50, 1 => any::<u8>()],
        rest in prop::collection::vec(any::<u8>(), 30..100),
        (udp, unfragmented, port) in any::<(bool, bool, bool)>(),
    ) {
        let mut bytes = [&[0; 12][..], &[0x08, 0x00, first], &rest].concat();
        let header_length = usize::from(first & 0xf) * 4;
        let udp_offset = 14 + header_length;
        if udp {
            bytes[14 + 9] = 17;
        }
        if unfragmented {
            bytes[14 + 6] &= 0xc0;
            bytes[14 + 7] = 0;
        }
        if port && let Some(field) = bytes.get_mut(udp_offset + 2..udp_offset + 4) {
            field.copy_from_slice(&wire::PORT.to_be_bytes());
        }
        let expected = first >> 4 == 4
            && header_length >= 20
            && bytes.len() >= udp_offset + 6
            && bytes[14 + 9] == 17
            && bytes[udp_offset + 2..udp_offset + 4] == wire::PORT.to_be_bytes()
            && bytes[14 + 6] & 0x3f == 0
            && bytes[14 + 7] == 0;
        prop_assert_eq!(locate(&bytes[..]).is_some(), expected);
    }
}
