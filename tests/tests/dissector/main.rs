//! The Wireshark dissector: every field of what is on the wire, by name and as it was sent, and no error on what is broken.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bodies;
mod live;
mod tshark;

use std::{collections::BTreeMap, fs};

use heartbeat_common::specimen::{Content, Frame, Message, cases, world};
use heartbeat_common::wire;

use crate::tshark::{Capture, script};

const PROTOCOL: &str = include_str!("../../../docs/protocol.md");

/// Offset, size and name of the fields in the table under a heading of docs/protocol.md.
fn layout(heading: &str) -> Vec<(usize, usize, String)> {
    let (_, section) = PROTOCOL.split_once(&format!("\n{heading}\n")).unwrap();
    let cells = section.split("\n#").next().unwrap().lines().filter(|line| line.starts_with("| ")).skip(1);
    let fields = cells.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    fields.map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap(), row[2].to_owned())).collect()
}

/// A field as tshark prints it, as a number where it is one.
fn number(value: &str) -> Option<u64> {
    match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

/// The documented fields of a message, against its bytes.
fn assert_documented_fields(payload: &[u8], shown: &BTreeMap<String, Vec<String>>, layout: &[Field]) {
    for (offset, size, name) in layout {
        let bytes = &payload[*offset..offset + size];
        let [value] = shown[name].as_slice() else { panic!("{name}: {:?}", shown[name]) };
        match name.as_str() {
            "clhb.magic" => assert_eq!(value.as_bytes(), bytes),
            "clhb.cluster_id" | "clhb.tag" => assert_eq!(value.replace(':', ""), hex::encode(bytes), "{name}"),
            _ => {
                let sent = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
                assert_eq!(number(value), Some(sent), "{name}: {value}");
            }
        }
    }
}

type Field = (usize, usize, String);

fn documented() -> Vec<Field> {
    let mut fields = layout("## Common header, 56 bytes");
    fields.extend(layout("## Heartbeat (1), 96 bytes").into_iter().filter(|(_, _, name)| name != "header"));
    fields.into_iter().map(|(offset, size, name)| (offset, size, format!("clhb.{name}"))).collect()
}

#[test]
fn every_field_of_a_heartbeat_is_named_and_as_it_was_sent() {
    let mut lapsed = Message::heartbeat(world::PLAIN, u64::MAX);
    lapsed.header.flags = wire::FLAG_LEASE_LAPSED | wire::FLAG_METRONOME;
    lapsed.header.key_id = 4;
    lapsed.header.view = (7_u64 << 32 | 9).to_be_bytes();
    lapsed.content = Content::Heartbeat {
        echo_sent_ns: u64::MAX,
        echo_hold_us: wire::HOLD_UNKNOWN,
        controller_age_ms: u32::MAX,
        controller_beat: u64::MAX,
    };
    let frames = [
        Frame::heartbeat(world::PLAIN, 42),
        Frame::heartbeat(world::IPV6, 43),
        Frame::heartbeat(world::TAGGED, 44),
        Frame::heartbeat(world::IPV6_TAGGED, 45),
        Frame::group_heartbeat(world::TAGGED, 46),
        Frame::unicast(world::PLAIN, lapsed),
    ];
    let capture = Capture::in_order(frames.iter().map(Frame::to_bytes));
    let layout = documented();
    assert_eq!(layout.len(), 15 + 5, "fields of header and heartbeat");
    let flags = ["lease_lapsed", "multicast", "metronome"].map(|name| format!("clhb.flags.{name}"));
    let mut names: Vec<&str> = layout.iter().map(|(_, _, name)| name.as_str()).collect();
    names.extend(flags.iter().map(String::as_str));
    names.extend(["clhb.view.epoch", "clhb.view.counter", "clhb.refused", "clhb.ends_early", "clhb.incarnation.time"]);
    for (frame, shown) in frames.iter().zip(capture.fields(&names)) {
        assert_documented_fields(&frame.message.to_bytes(), &shown, &layout);
        for (bit, name) in flags.iter().enumerate() {
            let is_set = frame.message.header.flags & 1 << bit != 0;
            let [value] = shown[name].as_slice() else { panic!("{name}") };
            assert_eq!(matches!(value.as_str(), "1" | "True"), is_set, "{name}: {value}");
        }
        let view = u64::from_be_bytes(frame.message.header.view);
        assert_eq!(number(&shown["clhb.view.epoch"][0]), Some(view >> 32));
        assert_eq!(number(&shown["clhb.view.counter"][0]), Some(view & 0xffff_ffff));
        assert!(shown["clhb.incarnation.time"][0].contains("2023"), "{shown:?}");
        assert!(shown["clhb.refused"].is_empty() && shown["clhb.ends_early"].is_empty(), "{shown:?}");
    }
}

#[test]
fn an_echo_leads_to_its_heartbeat_and_gives_the_round_trip() {
    let there = Message::heartbeat(world::PLAIN, 1);
    let mut back = Message::heartbeat(world::PLAIN, 1);
    (back.header.source, back.header.destination) = (there.header.destination, there.header.source);
    back.header.sent_ns = 55_u64.to_be_bytes();
    back.content = Content::Heartbeat {
        echo_sent_ns: u64::from_be_bytes(there.header.sent_ns),
        echo_hold_us: 250,
        controller_age_ms: 0,
        controller_beat: 1,
    };
    let unheard = Message::heartbeat(world::PLAIN, 2);
    let group = Message::heartbeat(world::PLAIN, 9).to_group();
    let frame = |message: &Message| Frame::unicast(world::PLAIN, message.clone()).to_bytes();
    let capture = Capture::of(&[
        (5_000_000_000, frame(&there)),
        (5_000_331_000, frame(&back)),
        (5_000_400_000, frame(&unheard)),
        // What went to the group is echoed to its sender alone. It was sent at the same time as the first one.
        (5_000_500_000, frame(&group)),
        (5_000_800_000, frame(&back)),
    ]);
    let shown = capture.fields(&["clhb.echo_of", "clhb.round_trip_us"]);
    let echo = |index: usize| shown[index]["clhb.echo_of"].first().map(String::as_str);
    assert_eq!([0, 1, 2, 3].map(echo), [None, Some("1"), None, None]);
    let trip: f64 = shown[1]["clhb.round_trip_us"][0].parse().unwrap();
    assert!((trip - 81.0).abs() < 0.5, "331 us less 250 us held: {trip}");
    assert_eq!(echo(4), Some("3"), "of heartbeats with one send time the newest one");
}

/// Every specimen, whole and cut off behind every byte; shorter datagrams, not shorter captures.
fn broken() -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = cases().into_iter().map(|case| case.bytes).collect();
    for message in bodies::messages() {
        for length in 0..=message.len() {
            frames.push(bodies::frame(&message[..length]));
        }
        // Damage in the body: counts, lengths and masks that lie.
        for offset in (wire::CONTROL_BODY_OFFSET..message.len()).step_by(3) {
            let mut damaged = message.clone();
            damaged[offset] = 0xff;
            frames.push(bodies::frame(&damaged));
        }
    }
    frames
}

#[test]
fn nothing_broken_raises_an_error() {
    let frames = broken();
    assert!(frames.len() > 2_000, "{}", frames.len());
    let shown = Capture::in_order(frames).everything(&script());
    assert!(!shown.contains("Lua Error"), "{}", around(&shown, "Lua Error"));
    for word in ["Ends before its last field", "Refused by receivers", "A version that this dissector does not know"] {
        assert!(shown.contains(word), "{word}");
    }
}

/// The test above looks for the right words: an error in the script is shown with them.
#[test]
fn an_error_would_be_seen() {
    let capture = Capture::in_order([Frame::heartbeat(world::PLAIN, 1).to_bytes()]);
    let text = fs::read_to_string(script()).unwrap();
    let place = "local root = tree:add(clhb, tvb())";
    assert!(text.contains(place));
    let spoilt = capture.path().with_file_name("spoilt.lua");
    fs::write(&spoilt, text.replace(place, "local root = tree:add(nil, tvb(100000))")).unwrap();
    assert!(capture.everything(&spoilt).contains("Lua Error"));
}

fn around<'a>(text: &'a str, word: &str) -> &'a str {
    let place = text.find(word).unwrap_or_default();
    let line = |offset: usize| text[..offset].rmatch_indices('\n').nth(30).map_or(0, |(start, _)| start);
    text.get(line(place)..place + 300).unwrap_or(&text[place..])
}

#[test]
fn other_peoples_datagrams_look_as_they_did_without_it() {
    let other = |payload: &[u8]| bodies::frame(payload);
    // The head of an MSRCP request, something short, something of no protocol, a magic that is not quite ours.
    let payloads: [&[u8]; 4] =
        [&[0_u8; 40], b"abc", b"something else on port 3343, of nobody's protocol", b"CLHC....xx"];
    let capture = Capture::in_order(payloads.map(other));
    let without = capture.columns(None);
    assert_eq!(capture.columns(Some(&script())), without);
    assert_eq!(without.len(), payloads.len());
    let ours = Capture::in_order([Frame::heartbeat(world::PLAIN, 1).to_bytes()]).columns(Some(&script()));
    assert_eq!(ours, ["CLHB heartbeat 1 > 2, network 1, sequence 1, view 7"]);
}

#[test]
fn a_capture_that_cuts_frames_off_is_no_fault_of_the_sender() {
    let capture = Capture::in_order([Frame::heartbeat(world::PLAIN, 1).to_bytes()]);
    let mut bytes = fs::read(capture.path()).unwrap();
    let whole = bytes.len();
    bytes.truncate(whole - 20);
    // The captured length of the only frame; the other one, of the frame itself, stays.
    let captured = u32::from_le_bytes(*bytes[32..].first_chunk().unwrap()) - 20;
    bytes[32..36].copy_from_slice(&captured.to_le_bytes());
    fs::write(capture.path(), bytes).unwrap();
    let columns = capture.columns(Some(&script()));
    assert_eq!(columns, ["CLHB heartbeat 1 > 2, network 1, sequence 1, view 7 [cut by the capture]"]);
}
