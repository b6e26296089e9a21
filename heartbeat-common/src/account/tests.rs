use proptest::prelude::*;

use super::*;
use crate::{records::STATE_UP, wire};

fn peer(epoch: u64, unicast_start: u64) -> PeerRecord {
    PeerRecord { incarnation: 7, epoch, address: [0; 16], unicast_start, multicast_start: 1, since_ns: 0, present: 1 }
}

fn heartbeat(sequence: u64) -> Heartbeat {
    Heartbeat {
        incarnation: 7,
        sequence,
        sent_ns: sequence * 100,
        view: 0,
        echo_sent_ns: 0,
        echo_hold_us: wire::HOLD_UNKNOWN,
        controller_age_ms: 0,
        controller_beat: 0,
        flags: 0,
    }
}

fn verdict(state: u32, episode: u64) -> VerdictRecord {
    VerdictRecord { epoch: 1, state, episode, ..VerdictRecord::zeroed() }
}

#[test]
fn first_heartbeat_of_an_epoch_restores_and_counts_nothing_as_lost() {
    let mut link = empty_link();
    let accounted = account(&mut link, &peer(1, 10), &verdict(0, 0), &heartbeat(14), || 1000).expect("accepted");
    assert_eq!(accounted.restored, Some(Restored { first: true, previous_stamp_ns: 0, previous_sent_ns: 0, lost: 0 }));
    assert_eq!((link.received, link.lost, link.stamp_ns, link.epoch), (1, 0, 1000, 1));

    let accounted = account(&mut link, &peer(1, 10), &verdict(0, 0), &heartbeat(17), || 2000).expect("accepted");
    assert_eq!(accounted, Accounted { stamp_ns: 2000, newest: true, gap_ns: 1000, restored: None });
    assert_eq!((link.received, link.lost), (2, 2));
}

#[test]
fn a_full_window_still_counts_losses() {
    let mut link = empty_link();
    for sequence in 1..=100 {
        account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(sequence), || sequence).expect("accepted");
    }
    account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(105), || 105).expect("accepted");
    assert_eq!((link.received, link.lost), (101, 4));
}

#[test]
fn reordered_does_not_move_the_stamp_and_is_no_longer_lost() {
    let mut link = empty_link();
    for sequence in [1, 3, 2] {
        account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(sequence), || sequence * 1000).expect("accepted");
    }
    assert_eq!((link.stamp_ns, link.lost, link.reordered, link.received), (3000, 0, 1, 3));
    assert_eq!(link.sent_ns, 300);
}

#[test]
fn duplicates_and_old_ones_change_nothing_but_their_count() {
    let mut link = empty_link();
    for sequence in 1..=200 {
        account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(sequence), || sequence).expect("accepted");
    }
    let before = link;
    let result = account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(150), || unreachable!());
    assert_eq!(result, Err(Reject::Duplicate));
    assert_eq!(LinkRecord { duplicates: 0, ..link }, before);
    let result = account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(100), || unreachable!());
    assert_eq!(result, Err(Reject::TooOld));
    assert_eq!(link.duplicates, 1);
}

#[test]
fn an_episode_of_lateness_ends_exactly_once() {
    let mut link = empty_link();
    account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(1), || 1).expect("accepted");
    let late = verdict(STATE_LATE, 1);
    let ended = account(&mut link, &peer(1, 1), &late, &heartbeat(2), || 50).expect("accepted");
    assert_eq!(ended.restored, Some(Restored { first: false, previous_stamp_ns: 1, previous_sent_ns: 100, lost: 0 }));
    // The judge has not run yet: its verdict still says late.
    let again = account(&mut link, &peer(1, 1), &late, &heartbeat(3), || 60).expect("accepted");
    assert_eq!(again.restored, None);
    let next = account(&mut link, &peer(1, 1), &verdict(STATE_LATE, 2), &heartbeat(4), || 90).expect("accepted");
    assert!(next.restored.is_some());
    let up = account(&mut link, &peer(1, 1), &verdict(STATE_UP, 2), &heartbeat(5), || 91).expect("accepted");
    assert_eq!(up.restored, None);
}

#[test]
fn a_new_epoch_empties_stamps_echo_and_windows() {
    let mut link = empty_link();
    let mut echoing = heartbeat(1);
    echoing.echo_sent_ns = 5_000;
    account(&mut link, &peer(1, 1), &verdict(0, 0), &echoing, || 1).expect("accepted");
    assert_eq!(link.echo_sent_ns, 5_000);
    let accounted = account(&mut link, &peer(2, 1), &verdict(0, 0), &heartbeat(1), || 900).expect("accepted");
    assert!(accounted.restored.is_some_and(|restored| restored.first));
    assert_eq!((link.echo_sent_ns, link.previous_stamp_ns, link.epoch, link.received), (0, 0, 2, 2));
}

#[test]
fn an_echo_of_what_was_never_sent_yet_does_not_hide_later_ones() {
    let mut link = empty_link();
    let mut stale = heartbeat(1);
    stale.echo_sent_ns = 90_000_000_000;
    account(&mut link, &peer(1, 1), &verdict(0, 0), &stale, || 5_000_000_000).expect("accepted");
    assert_eq!(link.echo_sent_ns, 0, "this machine has been up for five seconds, not for ninety");
    let mut fresh = heartbeat(2);
    fresh.echo_sent_ns = 5_000_000_001;
    account(&mut link, &peer(1, 1), &verdict(0, 0), &fresh, || 5_000_000_000).expect("accepted");
    assert_eq!(link.echo_sent_ns, 5_000_000_001, "stamps of sockets may lie a little early");
}

#[test]
fn a_replay_of_what_was_sent_before_the_handshake_is_refused() {
    for sequence in [1, 400, 499] {
        let mut link = empty_link();
        let result = account(&mut link, &peer(1, 500), &verdict(0, 0), &heartbeat(sequence), || unreachable!());
        assert!(matches!(result, Err(Reject::Duplicate | Reject::TooOld)));
        assert_eq!((link.stamp_ns, link.received), (0, 0));
    }
}

#[test]
fn unicast_and_multicast_have_their_own_window() {
    let mut link = empty_link();
    let mut group = heartbeat(5);
    group.flags = wire::FLAG_MULTICAST;
    account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(5), || 1).expect("accepted");
    account(&mut link, &peer(1, 1), &verdict(0, 0), &group, || 2).expect("accepted");
    assert_eq!(account(&mut link, &peer(1, 1), &verdict(0, 0), &group, || 3), Err(Reject::Duplicate));
    assert_eq!(link.received, 2);
}

#[test]
fn buckets_are_floor_log2() {
    for bit in 0..64 {
        let expected = bit.min(INTERVAL_BUCKETS - 1);
        assert_eq!(interval_bucket(1 << bit), expected);
        assert_eq!(interval_bucket((1 << bit) | ((1 << bit) - 1)), expected);
    }
    assert_eq!(interval_bucket(0), 0);
}

proptest! {
    /// Whatever arrives in whatever order: received + lost covers every number from the first to the newest, unless some
    /// fell out of the window, and the stamp never moves backwards.
    #[test]
    fn books_balance(jumps in prop::collection::vec(-20i64..30, 1..300)) {
        let mut link = empty_link();
        let mut newest = 100u64;
        let mut clock = 1_000;
        let mut stamp = 0;
        account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(newest), || clock).expect("accepted");
        for jump in jumps {
            clock += 10;
            let sequence = newest.saturating_add_signed(jump);
            let _ = account(&mut link, &peer(1, 1), &verdict(0, 0), &heartbeat(sequence), || clock);
            newest = newest.max(sequence);
            prop_assert!(link.stamp_ns >= stamp);
            stamp = link.stamp_ns;
            // Numbers below the first one are accepted as reordered without having been counted as lost.
            prop_assert!(link.received + link.lost > newest - 100);
        }
    }
}
