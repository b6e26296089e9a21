//! The kernel refuses, books and passes exactly what the same code does on the host.

use bytemuck::Zeroable as _;
use heartbeat_common::{
    decode::Heartbeat,
    notice::{NOTICE_FLAG_FIRST, NOTICE_OTHER_INCARNATION, NOTICE_RESTORED},
    records::LinkRecord,
    reject::Reject,
    specimen::{
        Frame, Message, Outcome, cases,
        world::{INCARNATION, IPV6, IPV6_TAGGED, PEER, PLAIN, ROUTED, ROUTED_START, TAGGED},
    },
    wire,
};
use heartbeat_tests::clock::monotonic_ns;

use crate::{
    random::Random,
    rig::{Action, Counts, FRAME_MIN, IFINDEX, Rig, sizes},
};

/// Frame by frame: action, counters, link records and notices.
fn compare(rig: &mut Rig, name: &str, bytes: &[u8]) -> Outcome {
    rig.forget();
    let expected = rig.world.outcome(IFINDEX, bytes);
    let (action, counted) = rig.observe(bytes);
    let notices = rig.notices();
    let told: Vec<u32> = notices.iter().map(|notice| notice.kind).collect();
    match &expected {
        Outcome::NotOurs => {
            assert_eq!((action, counted, told), (Action::Pass, Counts::default(), vec![]), "{name}");
            assert_no_record_changed(rig, name);
        }
        Outcome::Refused(reason) => {
            let notice = if *reason == Reject::WrongIncarnation { vec![NOTICE_OTHER_INCARNATION] } else { vec![] };
            assert_eq!((action, counted, told), (Action::Drop, Counts::refused(*reason), notice), "{name}");
            if matches!(reason, Reject::Duplicate | Reject::TooOld) {
                assert_nothing_received(rig, name);
            } else {
                assert_no_record_changed(rig, name);
            }
        }
        Outcome::Heartbeat(link, heartbeat) => {
            assert_eq!((action, counted, told), (Action::Drop, Counts::accepted(), vec![NOTICE_RESTORED]), "{name}");
            assert_eq!(notices[0].flags, NOTICE_FLAG_FIRST, "{name}");
            let record = rig.memory.links.read_locked(*link).unwrap();
            assert!(record.stamp_ns > 1, "{name}");
            let booked = rig.world.book(*link, heartbeat, record.stamp_ns).unwrap();
            let expected = LinkRecord { lock: record.lock, arrival_cursor: 1, ..booked };
            assert_eq!(record, expected, "{name}");
        }
        Outcome::Control(..) => {
            assert_eq!((action, counted, told), (Action::Pass, Counts::control(), vec![]), "{name}");
            assert_no_record_changed(rig, name);
        }
    }
    expected
}

fn assert_no_record_changed(rig: &Rig, name: &str) {
    for link in 0..sizes().links {
        assert_eq!(rig.memory.links.read(link), Some(LinkRecord::zeroed()), "{name}: link {link}");
    }
}

fn assert_nothing_received(rig: &Rig, name: &str) {
    for link in 0..sizes().links {
        let record = rig.memory.links.read(link).unwrap();
        assert_eq!((record.received, record.stamp_ns, record.echo_sent_ns), (0, 0, 0), "{name}: link {link}");
    }
}

#[test]
fn host_and_kernel_agree_on_every_case() {
    let mut rig = Rig::new();
    let mut compared = 0;
    let mut reasons = [0; Reject::COUNT];
    for case in cases().iter().filter(|case| case.bytes.len() >= FRAME_MIN) {
        let outcome = compare(&mut rig, &case.name, &case.bytes);
        compared += 1;
        if let Outcome::Refused(reason) = outcome {
            reasons[reason as usize] += 1;
        }
    }
    println!("{compared} frames; refused by reason: {reasons:?}");
    assert!(reasons.iter().all(|count| *count > 0), "every reason: {reasons:?}");
}

#[test]
fn host_and_kernel_agree_on_mutated_frames() {
    const FRAMES: usize = 20_000;
    let (mut random, seed) = Random::seeded();
    let mut rig = Rig::new();
    let (right, wrong): (Vec<_>, Vec<_>) =
        cases().into_iter().filter(|case| case.bytes.len() >= FRAME_MIN).partition(|case| {
            matches!(rig.world.outcome(IFINDEX, &case.bytes), Outcome::Heartbeat(..) | Outcome::Control(..))
        });
    let (mut ours, mut accepted) = (0, 0);
    for index in 0..FRAMES {
        let originals = if random.once_in(2) { &right } else { &wrong };
        let mut bytes = originals[random.below(originals.len())].bytes.clone();
        for _change in 0..random.below(4) {
            // Mostly headers, where decisions are made.
            let end = if random.once_in(4) { bytes.len() } else { bytes.len().min(70) };
            let offset = random.below(end);
            bytes[offset] =
                if random.once_in(2) { random.below(256) as u8 } else { bytes[offset] ^ (1 << random.below(8)) };
        }
        if random.once_in(8) {
            bytes.truncate(random.below(bytes.len()).max(FRAME_MIN));
        }
        match compare(&mut rig, &format!("frame {index} of seed {seed}: {bytes:02x?}"), &bytes) {
            Outcome::NotOurs => {}
            Outcome::Refused(_) => ours += 1,
            Outcome::Heartbeat(..) | Outcome::Control(..) => accepted += 1,
        }
    }
    println!("{ours} refused, {accepted} accepted");
    assert!(ours > FRAMES / 20 && accepted > FRAMES / 20, "{ours} refused, {accepted} accepted: the draw is too wild");
}

/// Flipping any bit of a valid frame: the kernel does not accept what the host does not.
#[test]
fn host_and_kernel_agree_on_every_flipped_bit() {
    let mut rig = Rig::new();
    let frames = [
        Frame::heartbeat(PLAIN, 42),
        Frame::heartbeat(IPV6, 42),
        Frame::heartbeat(TAGGED, 42),
        Frame::heartbeat(ROUTED, ROUTED_START),
        Frame::group_heartbeat(TAGGED, 42),
        Frame::group_heartbeat(IPV6, 42),
        Frame::heartbeat(IPV6_TAGGED, 42),
    ];
    for (index, frame) in frames.iter().enumerate() {
        let original = frame.to_bytes();
        for bit in 0..original.len() * 8 {
            let mut bytes = original.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            compare(&mut rig, &format!("bit {bit} of frame {index}"), &bytes);
        }
    }
}

/// Frames of several pages: the program sees the first, and the kernel loads it for jumbo frames only if it says so.
#[test]
fn jumbo_frames_are_refused_or_passed_like_others() {
    let mut rig = Rig::new();
    for network in [PLAIN, IPV6, TAGGED] {
        let message = Message::control(network, wire::KIND_HELLO, vec![1; 8_000]);
        let ours = Frame::unicast(network, message);
        let outcome = compare(&mut rig, &format!("jumbo on {network}"), &ours.to_bytes());
        assert_eq!(outcome, Outcome::Refused(Reject::Malformed));
        let other = Frame { destination_port: 4_000, ..ours.clone() };
        let outcome = compare(&mut rig, &format!("jumbo to another port on {network}"), &other.to_bytes());
        assert_eq!(outcome, Outcome::NotOurs);
        let padded = Frame { padding: 8_000, ..Frame::heartbeat(network, 42) };
        let outcome = compare(&mut rig, &format!("padded to a jumbo on {network}"), &padded.to_bytes());
        assert!(matches!(outcome, Outcome::Heartbeat(..)), "{outcome:?}");
    }
}

/// docs/protocol.md, Test vector.
#[test]
fn the_test_vector_is_booked_with_exactly_its_fields() {
    const VECTOR: &str = "\
        434c4842010100012a97516c354b6884000100020100006017979cfe362a0000000000000000002a00000000075bcd15\
        0000000000000007000000003ade68b1000000fa000000030000000000000063\
        14b00a01ce23ecd79d09cedb71502f1c";
    let mut rig = Rig::new();
    let frame = Frame::heartbeat(PLAIN, 42);
    let headers = &frame.to_bytes()[..frame.udp_offset() + 8];
    let bytes = [headers, &hex::decode(VECTOR).unwrap()].concat();
    let before_ns = monotonic_ns();
    assert_eq!(rig.observe(&bytes), (Action::Drop, Counts::accepted()));
    let after_ns = monotonic_ns();

    let link = rig.link(PEER, PLAIN);
    assert!((before_ns..=after_ns).contains(&link.stamp_ns));
    assert_eq!((link.incarnation, link.sent_ns, link.view), (INCARNATION, 123_456_789, 7));
    assert_eq!((link.echo_sent_ns, link.echo_stamp_ns, link.echo_hold_us), (987_654_321, link.stamp_ns, 250));
    assert_eq!((link.controller_age_ms, link.controller_beat, link.flags), (3, 99, 0));
    assert_eq!((link.received, link.lost, link.duplicates, link.reordered), (1, 0, 0, 0));
    assert_eq!((link.unicast.newest, link.multicast.newest), (42, 0));
    let arrival = rig.arrivals(PEER, PLAIN).arrivals[0];
    assert_eq!((arrival.stamp_ns, arrival.sent_ns, arrival.sequence), (link.stamp_ns, 123_456_789, 42));

    let expected = Heartbeat {
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
    let link = heartbeat_common::ids::link_index(PEER, PLAIN);
    assert_eq!(rig.world.outcome(IFINDEX, &bytes), Outcome::Heartbeat(link, expected));
}
