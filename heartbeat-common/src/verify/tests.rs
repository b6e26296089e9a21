use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    frame::locate,
    specimen::{
        Frame, Outcome, World, cases,
        cases::Expected,
        world::{IPV6, IPV6_TAGGED, PEER, PLAIN, ROUTED, ROUTED_START, TAGGED},
    },
};

const IFINDEX: u32 = 4;

fn summary(outcome: &Outcome) -> Expected {
    match outcome {
        Outcome::NotOurs => Expected::NotOurs,
        Outcome::Refused(reason) => Expected::Refused(*reason),
        Outcome::Heartbeat(link, _) => Expected::Heartbeat(*link),
        Outcome::Control(link, kind) => Expected::Control(*link, *kind),
    }
}

#[test]
fn every_case_is_what_it_should_be() {
    let world = World::new(IFINDEX);
    let mut seen = BTreeSet::new();
    for case in cases() {
        let outcome = world.outcome(IFINDEX, &case.bytes);
        assert_eq!(summary(&outcome), case.expected, "{}", case.name);
        if let Outcome::Refused(reason) = outcome {
            seen.insert(reason);
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), Reject::ALL, "every reason has a case");
}

#[test]
fn the_interface_decides_what_is_ours() {
    let world = World::new(IFINDEX);
    for case in cases() {
        let outcome = world.outcome(IFINDEX + 1, &case.bytes);
        assert_eq!(outcome, Outcome::NotOurs, "{} on another interface", case.name);
    }
}

#[test]
fn an_address_of_the_other_family_is_not_ours() {
    let mut world = World::new(IFINDEX);
    let mut frame = Frame::heartbeat(IPV6, 42);
    // Both addresses have the same 16 bytes in the table.
    frame.destination = std::net::IpAddr::from([0x0a00, u16::from(PLAIN) << 8 | 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(world.outcome(IFINDEX, &frame.to_bytes()), Outcome::NotOurs);
    world.networks.networks[usize::from(PLAIN - 1)].flags |= NETWORK_IPV6;
    assert_ne!(world.outcome(IFINDEX, &frame.to_bytes()), Outcome::NotOurs);
}

#[test]
fn an_empty_slot_has_no_address() {
    let world = World::new(IFINDEX);
    let mut frame = Frame::heartbeat(PLAIN, 42);
    frame.destination = std::net::IpAddr::from([0, 0, 0, 0]);
    assert_eq!(world.outcome(IFINDEX, &frame.to_bytes()), Outcome::NotOurs);
    assert_eq!(world.outcome(0, &frame.to_bytes()), Outcome::NotOurs);
}

#[test]
fn a_removed_key_is_no_key() {
    let mut world = World::new(IFINDEX);
    let bytes = Frame::heartbeat(PLAIN, 42).to_bytes();
    world.keys[1].present = 0;
    assert_eq!(world.outcome(IFINDEX, &bytes), Outcome::Refused(Reject::UnknownKey));
}

#[test]
fn a_peer_that_is_not_present_is_unknown_whatever_its_record_says() {
    let mut world = World::new(IFINDEX);
    world.peers[ids::link_index(PEER, PLAIN) as usize].present = 0;
    let bytes = Frame::heartbeat(PLAIN, 42).to_bytes();
    assert_eq!(world.outcome(IFINDEX, &bytes), Outcome::Refused(Reject::UnknownPeer));
}

#[test]
fn no_incarnation_accepts_none_not_even_0() {
    let mut world = World::new(IFINDEX);
    world.peers[ids::link_index(PEER, PLAIN) as usize].incarnation = 0;
    let mut frame = Frame::heartbeat(PLAIN, 42);
    assert_eq!(world.outcome(IFINDEX, &frame.to_bytes()), Outcome::Refused(Reject::WrongIncarnation));
    frame.message.header.incarnation = [0; 8];
    assert_eq!(world.outcome(IFINDEX, &frame.to_bytes()), Outcome::Refused(Reject::WrongIncarnation));
}

/// Offsets of bytes that may be anything: nobody relies on them. Of some bytes, only these bits.
fn uncovered_bits(frame: &Frame, offset: usize) -> u8 {
    let (network, udp) = (frame.network_offset(), frame.udp_offset());
    let in_network = offset.wrapping_sub(network);
    let in_udp = offset.wrapping_sub(udp);
    match offset {
        // Ethernet addresses.
        0..12 => 0xff,
        // Priority and DEI of the tag.
        14 if !frame.tags.is_empty() => 0xf0,
        _ if offset < network => 0,
        _ if offset < udp && frame.source.is_ipv6() => match in_network {
            // Traffic class and flow label.
            0 => 0x0f,
            1..4 => 0xff,
            7 if frame.message.header.network == IPV6_TAGGED => 0xff,
            _ => 0,
        },
        _ if offset < udp => match in_network {
            // Traffic class, identification, reserved bit and DF, checksum, options.
            1 | 4 | 5 | 10 | 11 | 20.. => 0xff,
            6 => 0xc0,
            8 if frame.message.header.network == ROUTED => 0xff,
            _ => 0,
        },
        // UDP source port and checksum.
        _ if matches!(in_udp, 0 | 1 | 6 | 7) => 0xff,
        _ => 0,
    }
}

fn accepted_frames() -> Vec<Frame> {
    vec![
        Frame::heartbeat(PLAIN, 42),
        Frame { options: vec![1; 8], ..Frame::heartbeat(PLAIN, 42) },
        Frame::heartbeat(IPV6, 42),
        Frame::heartbeat(TAGGED, 42),
        Frame::heartbeat(ROUTED, ROUTED_START),
        Frame::heartbeat(IPV6_TAGGED, 42),
        Frame::group_heartbeat(IPV6, 42),
        Frame::group_heartbeat(TAGGED, 42),
    ]
}

/// Every value of every byte: exhaustive, so that no lucky draw is needed to find a hole.
#[test]
fn no_changed_byte_is_accepted_where_it_matters() {
    let world = World::new(IFINDEX);
    for frame in accepted_frames() {
        let original = frame.to_bytes();
        let accepted = world.outcome(IFINDEX, &original);
        assert!(matches!(accepted, Outcome::Heartbeat(..)), "{accepted:?}");
        for offset in 0..original.len() {
            let uncovered = uncovered_bits(&frame, offset);
            for change in 1..=u8::MAX {
                let mut bytes = original.clone();
                bytes[offset] ^= change;
                let outcome = world.outcome(IFINDEX, &bytes);
                if change & !uncovered == 0 {
                    assert_eq!(outcome, accepted, "byte {offset} changed by {change:#x}");
                } else {
                    let refused = matches!(outcome, Outcome::Refused(_) | Outcome::NotOurs);
                    assert!(refused, "byte {offset} changed by {change:#x}: {outcome:?}");
                }
            }
        }
    }
}

#[test]
fn a_control_header_cannot_be_changed_either() {
    let world = World::new(IFINDEX);
    let frame = Frame::unicast(PLAIN, crate::specimen::Message::control(PLAIN, wire::KIND_HELLO, vec![0; 40]));
    let original = frame.to_bytes();
    let payload = frame.udp_offset() + 8;
    for offset in payload..payload + wire::CONTROL_BODY_OFFSET {
        for bit in 0..8 {
            let mut bytes = original.clone();
            bytes[offset] ^= 1 << bit;
            let outcome = world.outcome(IFINDEX, &bytes);
            assert!(matches!(outcome, Outcome::Refused(_)), "byte {offset} bit {bit}: {outcome:?}");
        }
    }
    for offset in payload + wire::CONTROL_BODY_OFFSET..original.len() {
        let mut bytes = original.clone();
        bytes[offset] ^= 0x55;
        let outcome = world.outcome(IFINDEX, &bytes);
        assert!(matches!(outcome, Outcome::Control(_, wire::KIND_HELLO)), "the body is for userspace: {outcome:?}");
    }
}

proptest! {
    #[test]
    fn random_bytes_are_never_accepted(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let outcome = World::new(IFINDEX).outcome(IFINDEX, &bytes);
        prop_assert_eq!(outcome, Outcome::NotOurs);
    }

    /// Random payloads behind right headers, with as much of the message right as `kept` says.
    #[test]
    fn random_payloads_are_never_accepted(
        which in 0..8usize,
        kept in 0..80usize,
        rest in prop::collection::vec(any::<u8>(), 96),
    ) {
        let frame = &accepted_frames()[which];
        let mut bytes = frame.to_bytes();
        let payload = frame.udp_offset() + 8;
        prop_assume!(bytes[payload + kept..] != rest[kept..]);
        bytes[payload + kept..].copy_from_slice(&rest[kept..]);
        let outcome = World::new(IFINDEX).outcome(IFINDEX, &bytes);
        prop_assert!(matches!(outcome, Outcome::Refused(_)), "{:?}", outcome);
    }

    /// Several bytes changed at once, and cut off anywhere.
    #[test]
    fn mutated_frames_are_accepted_only_with_the_original_s_content(
        which in 0..8usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let world = World::new(IFINDEX);
        let frame = &accepted_frames()[which];
        let original = frame.to_bytes();
        let mut bytes = original.clone();
        for (index, value) in changes {
            let offset = index.index(bytes.len());
            bytes[offset] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(original.len()));
        }
        match world.outcome(IFINDEX, &bytes) {
            Outcome::Heartbeat(link, heartbeat) => {
                prop_assert_eq!(bytes.len(), original.len());
                prop_assert_eq!(Outcome::Heartbeat(link, heartbeat), world.outcome(IFINDEX, &original));
            }
            Outcome::Control(link, kind) => prop_assert!(false, "control {kind} on {link}"),
            Outcome::NotOurs | Outcome::Refused(_) => {}
        }
    }

    /// Without our address in NETWORKS nothing is ours.
    #[test]
    fn ingress_needs_its_network(slot in 0..8usize) {
        let mut world = World::new(IFINDEX);
        let network = slot as u8 + 1;
        let bytes = Frame::heartbeat(network, 42).to_bytes();
        let before = locate(&bytes[..]).and_then(|datagram| ingress(&world.networks, IFINDEX, &datagram));
        prop_assert_eq!(before.map(|found| found.network), matches!(network, 1..=4 | 6).then_some(network));
        world.networks.networks[slot].flags &= !NETWORK_PRESENT;
        let after = locate(&bytes[..]).and_then(|datagram| ingress(&world.networks, IFINDEX, &datagram));
        prop_assert_eq!(after, None);
    }
}
