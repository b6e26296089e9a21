//! A ring that nobody reads.

use heartbeat_common::{
    notice::{NOTICE_LATE, NOTICE_OTHER_INCARNATION, NOTICE_SILENT, RING_BYTES},
    records::{STATE_LATE, STATE_SILENT, STATE_UP, TimingRecord},
    specimen::{
        Frame,
        world::{OTHER_PEER, PEER, PLAIN},
    },
};

use crate::{
    peers::{INTERVAL, Peer, default_timing, take_priority, watch_alone},
    rig::{Rig, wait_for_scans},
};

/// A notice and the kernel's header of it.
const ENTRY_BYTES: usize = 88 + 8;

#[test]
fn a_full_ring_is_counted_and_loses_no_verdict() {
    take_priority();
    let mut rig = Rig::new();
    let mut peer = Peer::new(PEER);
    // With an interval of 0 every heartbeat of another incarnation is told.
    rig.kernel.set_judging(&TimingRecord { interval_ns: 0, ..default_timing() }, &[]).unwrap();
    rig.accept(PEER, &[PLAIN]);
    let mut foreign = Frame::heartbeat(PLAIN, 1);
    foreign.message.header.incarnation = [0, 0, 0, 0, 0, 0, 0, 9];
    rig.deliver_often(&foreign.to_bytes(), 5_000);
    let lost = rig.counts().counters.ring_full;
    let capacity = (RING_BYTES / ENTRY_BYTES) as u64;
    assert!((5_000 - capacity..5_000 - capacity + 8).contains(&lost), "{lost} lost, room for {capacity}");

    peer.beat(&mut rig, &[PLAIN]);
    let stamp_ns = rig.link(PEER, PLAIN).stamp_ns;
    assert_eq!(rig.counts().counters.ring_full, lost + 1, "that it is heard finds no room");
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN)]);
    while rig.peer_verdict(PEER).state != STATE_SILENT {
        wait_for_scans(&rig.memory, 1);
    }
    let (link, whole) = (rig.verdict(PEER, PLAIN), rig.peer_verdict(PEER));
    assert_eq!((link.state, link.episode, link.stamp_ns), (STATE_LATE, 1, stamp_ns));
    assert_eq!((whole.episode, whole.stamp_ns), (1, stamp_ns));
    assert!(link.judged_ns >= link.deadline_ns && link.deadline_ns >= stamp_ns + default_timing().late_ns);
    assert!(whole.judged_ns >= whole.deadline_ns && whole.deadline_ns >= stamp_ns + default_timing().silent_ns);
    assert!(rig.counts().counters.ring_full >= lost + 3, "neither verdict found room");

    let held = rig.notices();
    assert!(held.iter().all(|notice| notice.kind == NOTICE_OTHER_INCARNATION));
    assert_eq!(held.len() as u64, 5_000 - lost);

    // Once read, it works again.
    peer.beat(&mut rig, &[PLAIN]);
    wait_for_scans(&rig.memory, 2);
    assert_eq!(rig.verdict(PEER, PLAIN).episode, 1);
    let notices = rig.beat_until(INTERVAL, |_| {}, |notice| notice.kind == NOTICE_SILENT);
    assert!(notices.iter().any(|notice| notice.kind == NOTICE_LATE && notice.episode == 2), "{notices:#?}");
}

/// The ring's size is for the worst moment: this is what a second peer adds to it.
#[test]
fn a_change_is_one_notice() {
    take_priority();
    let mut rig = Rig::new();
    let mut peers = [Peer::new(PEER), Peer::new(OTHER_PEER)];
    for (node, peer) in [PEER, OTHER_PEER].into_iter().zip(&mut peers) {
        rig.accept(node, &[PLAIN]);
        peer.beat(&mut rig, &[PLAIN]);
    }
    assert_eq!(rig.notices().len(), 2);
    rig.start_judge(&default_timing(), &[watch_alone(PEER, PLAIN), watch_alone(OTHER_PEER, PLAIN)]);
    let mut notices = Vec::new();
    while [PEER, OTHER_PEER].iter().any(|node| rig.peer_verdict(*node).state != STATE_SILENT) {
        wait_for_scans(&rig.memory, 1);
        notices.extend(rig.notices());
    }
    notices.extend(rig.notices());
    for kind in [NOTICE_LATE, NOTICE_SILENT] {
        let mut nodes: Vec<u16> =
            notices.iter().filter(|notice| notice.kind == kind).map(|notice| notice.node).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, [PEER, OTHER_PEER]);
    }
    assert_ne!(rig.verdict(PEER, PLAIN).state, STATE_UP);
}
