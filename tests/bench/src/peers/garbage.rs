//! Garbage at somebody else's door, with the address of its peer.

use heartbeat_common::wire;

use super::adapter::Door;
use crate::{
    flood::Garbage,
    frames::{self, PAYLOAD, PORT, PROTOCOL},
};

/// 224.0.0.18 (RFC 5798), and the Ethernet group that goes with it.
const VRRP_GROUP: [u8; 4] = [224, 0, 0, 18];
const VRRP_MAC: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
const VRRP_PROTOCOL: u8 = 112;
/// A source port that BFD accepts (RFC 5881, 4).
const SOURCE_PORT: u16 = 49_152;
/// Version 1, state Up, multiplier 3, 24 bytes; the discriminators that follow are of no session.
const BFD_HEAD: [u8; 4] = [0x20, 0xc0, 3, 24];
const BFD_PORT: u16 = 3784;

/// A frame from one node to another.
pub(super) fn frame(door: Door, from: u16, to: u16) -> Vec<u8> {
    // For our own port: right but for the tag, the dearest kind.
    let mut frame = Garbage::BadTag.made((from, to), 1);
    match door {
        Door::Port(wire::PORT) => return frame,
        Door::Port(port) => {
            frame[PORT - 2..PORT].copy_from_slice(&SOURCE_PORT.to_be_bytes());
            frame[PORT..PORT + 2].copy_from_slice(&port.to_be_bytes());
            if port == BFD_PORT {
                frame[PAYLOAD..PAYLOAD + 4].copy_from_slice(&BFD_HEAD);
            }
        }
        Door::Vrrp => {
            frame[..6].copy_from_slice(&VRRP_MAC);
            frame[PROTOCOL] = VRRP_PROTOCOL;
            frame[frames::DESTINATION_LAST - 3..=frames::DESTINATION_LAST].copy_from_slice(&VRRP_GROUP);
        }
    }
    if let Ok(fixed) = <&mut [u8; frames::LENGTH]>::try_from(frame.as_mut_slice()) {
        frames::sign_ipv4(fixed);
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_to_the_door_with_a_right_checksum() {
        for (door, protocol, last) in [(Door::Port(3784), 17, 1), (Door::Vrrp, 112, 18), (Door::Port(5405), 17, 1)] {
            let frame = frame(door, 2, 1);
            assert_eq!((frame[PROTOCOL], frame[frames::DESTINATION_LAST]), (protocol, last));
            let fixed: &[u8; frames::LENGTH] = frame.as_slice().try_into().expect("its length");
            assert_eq!(fixed[24..26], frames::ipv4_checksum(fixed));
            if let Door::Port(port) = door {
                assert_eq!(fixed[PORT..PORT + 2], port.to_be_bytes());
            }
        }
    }
}
