//! What the program tells userspace of its own accord: links that are heard, and other incarnations.

use std::time::Duration;

use bytemuck::Zeroable as _;
use heartbeat_common::{
    ids::link_index,
    notice::{NOTICE_FLAG_FIRST, NOTICE_OTHER_INCARNATION, NOTICE_RESTORED, Notice},
    records::{STATE_LATE, TimingRecord, VerdictRecord},
    reject::Reject,
    specimen::{
        Frame,
        world::{EPOCH, INCARNATION, IPV6, PEER, PLAIN},
    },
};
use heartbeat_tests::clock::monotonic_ns;

use crate::rig::{Counts, Rig, timing};

fn heartbeat(sequence: u64) -> Vec<u8> {
    let mut frame = Frame::heartbeat(PLAIN, sequence);
    frame.message.header.sent_ns = (sequence * 1_000).to_be_bytes();
    frame.to_bytes()
}

#[test]
fn the_first_heartbeat_is_told_once() {
    let mut rig = Rig::new();
    rig.accept(PEER, &[PLAIN]);
    rig.deliver(&heartbeat(3));
    let link = rig.link(PEER, PLAIN);
    let expected = Notice {
        kind: NOTICE_RESTORED,
        node: PEER,
        network: PLAIN,
        flags: NOTICE_FLAG_FIRST,
        stamp_ns: link.stamp_ns,
        judged_ns: link.stamp_ns,
        incarnation: INCARNATION,
        length_ns: link.stamp_ns - rig.peer(PEER, PLAIN).since_ns,
        sent_ns: 3_000,
        ..Notice::zeroed()
    };
    assert_eq!(rig.notices(), [expected]);
    rig.deliver(&heartbeat(4));
    rig.deliver(&heartbeat(4));
    rig.deliver(&heartbeat(2));
    assert_eq!(rig.notices(), []);
}

#[test]
fn the_end_of_an_episode_of_lateness_is_told_once_with_its_evidence() {
    let mut rig = Rig::new();
    rig.deliver(&heartbeat(1));
    let before = rig.link(PEER, PLAIN);
    rig.notices();
    let late = VerdictRecord { epoch: EPOCH, state: STATE_LATE, episode: 3, ..VerdictRecord::zeroed() };
    rig.memory.verdicts.write(link_index(PEER, PLAIN), &late);

    rig.deliver(&heartbeat(5));
    let link = rig.link(PEER, PLAIN);
    assert_eq!(link.acknowledged_episode, 3);
    let expected = Notice {
        kind: NOTICE_RESTORED,
        node: PEER,
        network: PLAIN,
        stamp_ns: link.stamp_ns,
        previous_stamp_ns: before.stamp_ns,
        judged_ns: link.stamp_ns,
        incarnation: INCARNATION,
        length_ns: link.stamp_ns - rig.peer(PEER, PLAIN).since_ns,
        episode: 3,
        sent_ns: 5_000,
        previous_sent_ns: 1_000,
        lost: 3,
        ..Notice::zeroed()
    };
    assert_eq!(rig.notices(), [expected]);
    rig.deliver(&heartbeat(6));
    assert_eq!(rig.notices(), [], "the judge has not run since: it is the same episode");
}

#[test]
fn another_incarnation_is_told_once_per_interval() {
    let interval = Duration::from_millis(100);
    let mut rig = Rig::new();
    rig.kernel.set_judging(&TimingRecord { ..timing(interval) }, &[]).unwrap();
    let mut frame = Frame::heartbeat(PLAIN, 1);
    frame.message.header.incarnation = (INCARNATION + 5).to_be_bytes();
    let bytes = frame.to_bytes();

    let begin_ns = monotonic_ns();
    let mut notices = Vec::new();
    let mut delivered = 0;
    while monotonic_ns() < begin_ns + 10 * interval.as_nanos() as u64 {
        assert_eq!(rig.observe(&bytes).1, Counts::refused(Reject::WrongIncarnation));
        delivered += 1;
        notices.extend(rig.notices());
    }
    let end_ns = monotonic_ns();
    assert!(delivered > 1_000);
    for notice in &notices {
        assert_eq!((notice.kind, notice.node, notice.network), (NOTICE_OTHER_INCARNATION, PEER, PLAIN));
        assert_eq!((notice.incarnation, notice.sent_ns), (INCARNATION + 5, 123_456_789));
        assert!((begin_ns..=end_ns).contains(&notice.stamp_ns));
    }
    for pair in notices.windows(2) {
        assert!(pair[1].stamp_ns - pair[0].stamp_ns >= interval.as_nanos() as u64, "{pair:?}");
    }
    // As many as fit, but for what this machine's processors may have stood still.
    assert!((5..=11).contains(&notices.len()), "{} notices", notices.len());
    assert_eq!(rig.link(PEER, PLAIN).received, 0);
}

#[test]
fn the_limit_is_one_per_link() {
    let mut rig = Rig::new();
    rig.kernel.set_judging(&timing(Duration::from_secs(60)), &[]).unwrap();
    for network in [PLAIN, IPV6] {
        let mut frame = Frame::heartbeat(network, 1);
        frame.message.header.incarnation = [0, 0, 0, 0, 0, 0, 0, 9];
        for _ in 0..10 {
            rig.deliver(&frame.to_bytes());
        }
        let networks: Vec<u8> = rig.notices().iter().map(|notice| notice.network).collect();
        assert_eq!(networks, [network]);
    }
}

/// Before its tag has verified, a datagram is worth nothing: it does not even start a handshake.
#[test]
fn a_forged_incarnation_is_not_told() {
    let mut rig = Rig::new();
    let mut frame = Frame::heartbeat(PLAIN, 1);
    frame.message.header.incarnation = (INCARNATION + 5).to_be_bytes();
    frame.message.tag_flip = Some(0);
    assert_eq!(rig.observe(&frame.to_bytes()).1, Counts::refused(Reject::BadTag));
    assert_eq!(rig.notices(), []);
}
