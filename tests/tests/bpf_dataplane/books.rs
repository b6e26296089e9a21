//! What accepted heartbeats do to the records of their link.

use std::time::Duration;

use bytemuck::Zeroable as _;
use heartbeat_common::{
    account::{account, empty_link, interval_bucket, next_arrival},
    decode::Heartbeat,
    ids::link_index,
    records::{ARRIVALS, ArrivalRecord, IntervalRecord, LinkRecord, VerdictRecord},
    reject::Reject,
    specimen::{
        Content, Frame, Outcome,
        world::{IPV6, PEER, PLAIN, ROUTED, TAGGED},
    },
    wire,
};

use crate::{
    random::Random,
    rig::{Action, Counts, IFINDEX, Rig},
};

fn heartbeat(sequence: u64, sent_ns: u64) -> Frame {
    let mut frame = Frame::heartbeat(PLAIN, sequence);
    frame.message.header.sent_ns = sent_ns.to_be_bytes();
    frame
}

#[test]
fn received_lost_reordered_and_duplicate() {
    let mut rig = Rig::new();
    let deliver = |rig: &mut Rig, sequence: u64| {
        let (action, counts) = rig.observe(&heartbeat(sequence, sequence * 1_000).to_bytes());
        assert_eq!(action, Action::Drop);
        (counts, rig.link(PEER, PLAIN))
    };
    for sequence in 10..=12 {
        let (counts, link) = deliver(&mut rig, sequence);
        assert_eq!(counts, Counts::accepted());
        assert_eq!((link.received, link.lost), (sequence - 9, 0), "what was sent before the first is not lost");
    }
    let (_, link) = deliver(&mut rig, 15);
    assert_eq!((link.received, link.lost, link.reordered, link.duplicates), (4, 2, 0, 0));
    let newest = link;

    let (counts, link) = deliver(&mut rig, 14);
    assert_eq!(counts, Counts::accepted());
    assert_eq!((link.received, link.lost, link.reordered, link.duplicates), (5, 1, 1, 0));
    assert_eq!(
        (link.stamp_ns, link.sent_ns, link.previous_stamp_ns),
        (newest.stamp_ns, 15_000, newest.previous_stamp_ns)
    );

    for duplicate in [14, 15, 10] {
        let (counts, link) = deliver(&mut rig, duplicate);
        assert_eq!(counts, Counts::refused(Reject::Duplicate));
        assert_eq!((link.received, link.lost, link.reordered), (5, 1, 1));
        assert_eq!(link.stamp_ns, newest.stamp_ns);
    }
    assert_eq!(rig.link(PEER, PLAIN).duplicates, 3);

    let (_, link) = deliver(&mut rig, 100);
    assert_eq!((link.received, link.lost, link.unicast.newest), (6, 85, 100));
    let (counts, link) = deliver(&mut rig, 36);
    assert_eq!(counts, Counts::refused(Reject::TooOld), "64 behind the newest");
    assert_eq!((link.received, link.lost), (6, 85));
    let (counts, link) = deliver(&mut rig, 37);
    assert_eq!(counts, Counts::accepted(), "63 behind the newest");
    assert_eq!((link.received, link.lost, link.reordered), (7, 84, 2));
}

#[test]
fn other_links_are_untouched() {
    let mut rig = Rig::new();
    rig.deliver(&heartbeat(1, 1).to_bytes());
    rig.deliver(&Frame::heartbeat(IPV6, 7).to_bytes());
    let (plain, six) = (rig.link(PEER, PLAIN), rig.link(PEER, IPV6));
    assert_eq!((plain.received, plain.unicast.newest), (1, 1));
    assert_eq!((six.received, six.unicast.newest), (1, 7));
    for (index, record) in (0..).map_while(|index| Some((index, rig.memory.links.read(index)?))) {
        let used = index == link_index(PEER, PLAIN) || index == link_index(PEER, IPV6);
        assert_eq!(record != LinkRecord::zeroed(), used, "link {index}");
    }
}

#[test]
fn what_the_peer_says_last_stands_in_the_record() {
    let mut rig = Rig::new();
    let mut first = heartbeat(1, 1_000);
    first.message.content =
        Content::Heartbeat { echo_sent_ns: 500, echo_hold_us: 9, controller_age_ms: 4, controller_beat: 70 };
    rig.deliver(&first.to_bytes());
    let link = rig.link(PEER, PLAIN);
    assert_eq!((link.echo_sent_ns, link.echo_hold_us, link.echo_stamp_ns), (500, 9, link.stamp_ns));
    assert_eq!((link.controller_age_ms, link.controller_beat, link.view, link.flags), (4, 70, 7, 0));

    let mut second = heartbeat(2, 2_000);
    second.message.header.view = 8_u64.to_be_bytes();
    second.message.header.flags = wire::FLAG_LEASE_LAPSED | wire::FLAG_METRONOME;
    second.message.content =
        Content::Heartbeat { echo_sent_ns: 500, echo_hold_us: 900, controller_age_ms: u32::MAX, controller_beat: 70 };
    rig.deliver(&second.to_bytes());
    let newer = rig.link(PEER, PLAIN);
    assert_eq!((newer.echo_hold_us, newer.echo_stamp_ns), (9, link.stamp_ns), "the same echo again is no news");
    assert_eq!((newer.controller_age_ms, newer.controller_beat, newer.view, newer.flags), (u32::MAX, 70, 8, 5));
    assert_eq!((newer.sent_ns, newer.previous_stamp_ns), (2_000, link.stamp_ns));
    assert!(newer.stamp_ns > link.stamp_ns);
    assert_eq!(newer.longest_gap_ns, newer.stamp_ns - link.stamp_ns);
}

#[test]
fn the_last_64_arrivals_are_kept() {
    let mut rig = Rig::new();
    let mut stamps = Vec::new();
    for sequence in 1..=ARRIVALS as u64 + 6 {
        rig.deliver(&heartbeat(sequence, sequence * 10).to_bytes());
        stamps.push(rig.link(PEER, PLAIN).stamp_ns);
    }
    let (arrivals, cursor) = (rig.arrivals(PEER, PLAIN).arrivals, rig.link(PEER, PLAIN).arrival_cursor);
    assert_eq!(cursor, 6);
    for (slot, arrival) in arrivals.iter().enumerate() {
        let sequence = if slot < 6 { ARRIVALS + slot + 1 } else { slot + 1 } as u64;
        assert_eq!((arrival.sequence, arrival.sent_ns), (sequence, sequence * 10), "slot {slot}");
        assert_eq!(arrival.stamp_ns, stamps[sequence as usize - 1], "slot {slot}");
    }
}

#[test]
fn gaps_are_counted_by_their_logarithm() {
    let mut rig = Rig::new();
    let mut expected = IntervalRecord::zeroed();
    for sequence in 1..=40_u64 {
        if sequence.is_multiple_of(13) {
            // Any gap will do, as long as it falls into another bucket than back-to-back calls.
            std::thread::sleep(Duration::from_millis(3));
        }
        rig.deliver(&heartbeat(sequence, sequence).to_bytes());
        let link = rig.link(PEER, PLAIN);
        if sequence > 1 {
            expected.buckets[interval_bucket(link.stamp_ns - link.previous_stamp_ns)] += 1;
        }
    }
    // A late one behind the newest is no gap.
    let skipped = heartbeat(100, 100);
    rig.deliver(&skipped.to_bytes());
    let link = rig.link(PEER, PLAIN);
    expected.buckets[interval_bucket(link.stamp_ns - link.previous_stamp_ns)] += 1;
    rig.deliver(&heartbeat(99, 99).to_bytes());
    assert_eq!(rig.intervals(PEER, PLAIN), expected);
    assert_eq!(expected.buckets.iter().sum::<u64>(), 40);
    assert!(expected.buckets.iter().filter(|count| **count > 0).count() > 1);
}

#[test]
fn unicast_and_multicast_have_a_window_each() {
    let mut rig = Rig::new();
    for frame in [Frame::heartbeat(TAGGED, 5), Frame::group_heartbeat(TAGGED, 5)] {
        assert_eq!(rig.observe(&frame.to_bytes()).1, Counts::accepted());
        assert_eq!(rig.observe(&frame.to_bytes()).1, Counts::refused(Reject::Duplicate));
    }
    let link = rig.link(PEER, TAGGED);
    assert_eq!((link.received, link.lost, link.unicast.newest, link.multicast.newest), (2, 0, 5, 5));
    rig.deliver(&Frame::group_heartbeat(TAGGED, 9).to_bytes());
    let link = rig.link(PEER, TAGGED);
    assert_eq!((link.lost, link.unicast.newest, link.multicast.newest), (3, 5, 9));
    assert_eq!(link.flags, u32::from(wire::FLAG_MULTICAST));
}

#[test]
fn a_newly_accepted_incarnation_begins_with_empty_stamps_echo_and_windows() {
    let mut rig = Rig::new();
    for sequence in 1..=5 {
        rig.deliver(&heartbeat(sequence, sequence * 100).to_bytes());
    }
    let before = rig.link(PEER, PLAIN);
    assert_eq!(before.echo_sent_ns, 987_654_321);

    let next = before.incarnation + 1;
    let start = heartbeat_user::dataplane::peers::Start { network: PLAIN, unicast: 3, multicast: 1 };
    heartbeat_user::dataplane::peers::accept(&rig.memory, PEER, next, &[start], 1);
    assert_eq!(rig.peer(PEER, PLAIN).epoch, before.epoch + 1);
    assert_eq!(rig.observe(&heartbeat(6, 600).to_bytes()).1, Counts::refused(Reject::WrongIncarnation));
    assert_eq!(rig.link(PEER, PLAIN), before, "the old incarnation changes nothing");

    let mut frame = heartbeat(2, 50);
    frame.message.header.incarnation = next.to_be_bytes();
    assert_eq!(rig.observe(&frame.to_bytes()).1, Counts::refused(Reject::Duplicate), "before the agreed start");
    let mut frame = heartbeat(3, 60);
    frame.message.header.incarnation = next.to_be_bytes();
    frame.message.content = Content::Heartbeat {
        echo_sent_ns: 0,
        echo_hold_us: wire::HOLD_UNKNOWN,
        controller_age_ms: 0,
        controller_beat: 1,
    };
    assert_eq!(rig.observe(&frame.to_bytes()).1, Counts::accepted());
    let link = rig.link(PEER, PLAIN);
    assert_eq!((link.epoch, link.incarnation, link.unicast.newest), (before.epoch + 1, next, 3));
    assert_eq!((link.previous_stamp_ns, link.echo_sent_ns, link.echo_stamp_ns), (0, 0, 0));
    assert_eq!((link.sent_ns, link.controller_beat), (60, 1), "an earlier clock of a peer that booted");
    assert_eq!((link.received, link.lost), (before.received + 1, before.lost), "totals go on");
}

/// Whatever arrives in whatever order, the kernel's books are those of the same code on the host.
#[test]
fn the_books_agree_with_the_host_s_over_long_random_sequences() {
    const HEARTBEATS: usize = 20_000;
    let (mut random, seed) = Random::seeded();
    let mut rig = Rig::new();
    let index = link_index(PEER, TAGGED);
    let peer = rig.peer(PEER, TAGGED);
    let mut model =
        Model { link: empty_link(), arrivals: ArrivalRecord::zeroed(), intervals: IntervalRecord::zeroed() };
    let mut newest = 100_usize;
    for step in 0..HEARTBEATS {
        let sequence = match random.below(20) {
            0..10 => newest + 1,
            10..13 => newest + 1 + random.below(5),
            13..19 => newest.saturating_sub(random.below(80)),
            _ => newest + random.below(200),
        };
        newest = newest.max(sequence);
        let multicast = random.once_in(4);
        let make = if multicast { Frame::group_heartbeat } else { Frame::heartbeat };
        let mut frame = make(TAGGED, sequence as u64);
        frame.message.header.sent_ns = (1 + random.below(5_000) as u64).to_be_bytes();
        frame.message.header.view = (random.below(9) as u64).to_be_bytes();
        frame.message.content = Content::Heartbeat {
            echo_sent_ns: random.below(3_000) as u64,
            echo_hold_us: random.below(50) as u32,
            controller_age_ms: random.below(50) as u32,
            controller_beat: random.below(50) as u64,
        };
        let bytes = frame.to_bytes();
        let Outcome::Heartbeat(_, heartbeat) = rig.world.outcome(IFINDEX, &bytes) else {
            panic!("a right heartbeat is refused on the host: seed {seed}, step {step}");
        };
        let slot = model.link.arrival_cursor as usize;
        let (_, counted) = rig.observe(&bytes);
        let link = rig.link(PEER, TAGGED);
        let stamp_ns = rig.arrivals(PEER, TAGGED).arrivals[slot].stamp_ns;
        let expected = match model.book(&peer, &heartbeat, stamp_ns) {
            Ok(()) => Counts::accepted(),
            Err(reason) => Counts::refused(reason),
        };
        assert_eq!(counted, expected, "seed {seed}, step {step}");
        assert_eq!(link, LinkRecord { lock: link.lock, ..model.link }, "seed {seed}, step {step}");
    }
    assert_eq!(rig.memory.arrivals.read(index), Some(model.arrivals), "seed {seed}");
    assert_eq!(rig.memory.intervals.read(index), Some(model.intervals), "seed {seed}");
    let link = model.link;
    println!(
        "received {}, lost {}, reordered {}, duplicates {}",
        link.received, link.lost, link.reordered, link.duplicates
    );
    assert!(link.reordered > 100 && link.duplicates > 100 && link.lost > 100);
}

/// The books of one link on the host.
struct Model {
    link: LinkRecord,
    arrivals: ArrivalRecord,
    intervals: IntervalRecord,
}

impl Model {
    fn book(
        &mut self,
        peer: &heartbeat_common::records::PeerRecord,
        heartbeat: &Heartbeat,
        stamp_ns: u64,
    ) -> Result<(), Reject> {
        let accounted = account(&mut self.link, peer, &VerdictRecord::zeroed(), heartbeat, || stamp_ns)?;
        let (slot, arrival) = next_arrival(&mut self.link, heartbeat, accounted.stamp_ns);
        self.arrivals.arrivals[slot] = arrival;
        if accounted.gap_ns != 0 {
            self.intervals.buckets[interval_bucket(accounted.gap_ns)] += 1;
        }
        Ok(())
    }
}

/// A routed link counts like any other.
#[test]
fn a_window_begins_where_userspace_says() {
    let mut rig = Rig::new();
    let start = rig.peer(PEER, ROUTED).unicast_start;
    assert_eq!(rig.observe(&Frame::heartbeat(ROUTED, start - 1).to_bytes()).1, Counts::refused(Reject::Duplicate));
    assert_eq!(rig.observe(&Frame::heartbeat(ROUTED, start + 2).to_bytes()).1, Counts::accepted());
    assert_eq!(rig.observe(&Frame::heartbeat(ROUTED, start).to_bytes()).1, Counts::accepted());
    let link = rig.link(PEER, ROUTED);
    assert_eq!((link.received, link.lost, link.reordered), (2, 0, 1));
}
