use proptest::prelude::*;

use super::*;
use crate::specimen::{
    Content, Message,
    world::{CLUSTER_ID, INCARNATION, PEER, PLAIN},
};

/// The test vector of docs/protocol.md.
const VECTOR: &str = "\
    434c4842010100012a97516c354b6884000100020100006017979cfe362a0000000000000000002a00000000075bcd15\
    0000000000000007000000003ade68b1000000fa000000030000000000000063\
    14b00a01ce23ecd79d09cedb71502f1c";

fn decoded(bytes: &[u8]) -> Result<Decoded, Reject> {
    decode(bytes.words::<WORDS_MIN>().ok_or(Reject::Malformed)?, bytes.len() as u16)
}

#[test]
fn the_vector_is_what_the_builder_builds() {
    assert_eq!(hex::encode(Message::heartbeat(PLAIN, 42).to_bytes()), VECTOR);
}

#[test]
fn the_vector_is_read_field_by_field() {
    let bytes = hex::decode(VECTOR).expect("hexadecimal digits");
    let header = Decoded {
        kind: wire::KIND_HEARTBEAT,
        flags: 0,
        key_id: 1,
        cluster_id: u64::from_ne_bytes(CLUSTER_ID),
        source: PEER,
        destination: 2,
        network: 1,
    };
    assert_eq!(decoded(&bytes), Ok(header));
    let words = bytes.as_slice().words::<WORDS_MIN>().expect("96 bytes");
    let heartbeat = Heartbeat {
        incarnation: INCARNATION,
        sequence: 42,
        sent_ns: 123_456_789,
        view: 7,
        echo_sent_ns: 987_654_321,
        echo_hold_us: 250,
        controller_age_ms: 3,
        controller_beat: 99,
        flags: 0,
    };
    assert_eq!(Heartbeat::read(words, 0), heartbeat);
}

#[test]
fn numbers_keep_their_place_up_to_the_last_bit() {
    let mut message = Message::heartbeat(PLAIN, u64::MAX - 1);
    message.header.incarnation = (u64::MAX - 2).to_be_bytes();
    message.header.sent_ns = (1_u64 << 63).to_be_bytes();
    message.header.view = 0x0102_0304_0506_0708_u64.to_be_bytes();
    message.content = Content::Heartbeat {
        echo_sent_ns: u64::MAX,
        echo_hold_us: wire::HOLD_UNKNOWN,
        controller_age_ms: u32::MAX - 1,
        controller_beat: 1 << 40,
    };
    let bytes = message.to_bytes();
    let read = Heartbeat::read(bytes.as_slice().words::<WORDS_MIN>().expect("96 bytes"), wire::FLAG_MULTICAST);
    assert_eq!((read.sequence, read.incarnation, read.sent_ns), (u64::MAX - 1, u64::MAX - 2, 1 << 63));
    assert_eq!((read.view, read.echo_sent_ns), (0x0102_0304_0506_0708, u64::MAX));
    assert_eq!((read.echo_hold_us, read.controller_age_ms, read.controller_beat), (u32::MAX, u32::MAX - 1, 1 << 40));
    assert!(read.is_multicast());
}

#[test]
fn every_flag_and_kind_byte() {
    for byte in 0..=u8::MAX {
        let mut message = Message::heartbeat(PLAIN, 42);
        message.header.flags = byte;
        assert_eq!(decoded(&message.to_bytes()).is_ok(), byte & !wire::FLAGS_KNOWN == 0, "flags {byte}");
        let mut message = Message::heartbeat(PLAIN, 42);
        message.header.kind = byte;
        assert_eq!(decoded(&message.to_bytes()).is_ok(), byte == wire::KIND_HEARTBEAT, "heartbeat of kind {byte}");
        let message = Message::control(PLAIN, byte, vec![0; 8]);
        assert_eq!(decoded(&message.to_bytes()).is_ok(), byte >= wire::KIND_CONTROL_FIRST, "control of kind {byte}");
    }
}

#[test]
fn the_length_is_exactly_that_of_the_kind() {
    for body in [0, 1, 7, 8, 1_347, 1_348, 1_349] {
        let bytes = Message::control(PLAIN, wire::KIND_HELLO, vec![0; body]).to_bytes();
        let expected = bytes.len() <= wire::MESSAGE_LENGTH_MAX;
        assert_eq!(decoded(&bytes).is_ok(), expected, "control of {} bytes", bytes.len());
    }
    let longer = [Message::heartbeat(PLAIN, 42).to_bytes(), vec![0; 8]].concat();
    assert_eq!(decoded(&longer), Err(Reject::Malformed), "a length field that does not know of the last 8 bytes");
}

#[test]
fn a_slice_ends_where_it_ends() {
    let bytes: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 9];
    assert_eq!((bytes.byte(8), bytes.byte(9), bytes.byte(usize::MAX)), (Some(9), None, None));
    assert_eq!((bytes.u16_be(7), bytes.u16_be(8), bytes.u16_be(usize::MAX)), (Some(0x0809), None, None));
    assert_eq!((bytes.u32_raw(5).map(u32::from_be), bytes.u32_raw(6)), (Some(0x0607_0809), None));
    assert_eq!((bytes.skip(9), bytes.skip(10)), (&[][..], &[][..]));
    assert!(bytes.words::<1>().is_some() && bytes.words::<2>().is_none());
    assert_eq!(bytes.words::<1>().map(|words| (words.word(0).to_ne_bytes()[0], words.word(1))), Some((1, 0)));
}

proptest! {
    /// Whatever is decoded is within the bounds that the header promises.
    #[test]
    fn what_decodes_is_sane(mut bytes in prop::collection::vec(any::<u8>(), 96..128), magic: bool, version: bool, length: bool) {
        if magic {
            bytes[..4].copy_from_slice(&wire::MAGIC);
        }
        if version {
            bytes[4] = wire::VERSION;
        }
        if length {
            let length = bytes.len() as u16;
            bytes[22..24].copy_from_slice(&length.to_be_bytes());
        }
        if let Ok(decoded) = decoded(&bytes) {
            prop_assert!(magic && version && length);
            prop_assert_eq!(decoded.flags & !wire::FLAGS_KNOWN, 0);
            prop_assert!(decoded.is_control() || (decoded.kind == 1 && bytes.len() == 96));
        }
    }
}
