//! Links of a real cluster: they come up, and a cut is reported by exactly those whom it concerns, in time.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeSet, time::Duration};

use heartbeat_tests::{
    clock::Moment,
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST, LINK_RESTORED, LOCAL_STALL},
    topology::TopologySpec,
};

/// Defaults of the program: a link is late after two intervals and the slack.
const LATE_AFTER: u32 = 2;

/// Who lost or found whom.
type Direction = (u64, u64);

#[test]
fn every_link_of_three_nodes_comes_up_on_both_networks() {
    let mut cluster = Cluster::start(TopologySpec::new(3, 2), &ClusterSpec::new("100ms")).unwrap();
    cluster.wait_until_up(Duration::from_secs(10)).unwrap();
    cluster.leave().unwrap();
}

#[test]
fn ipv6_links_come_up_too() {
    let topology = TopologySpec { ipv6: true, ..TopologySpec::new(3, 1) };
    let mut cluster = Cluster::start(topology, &ClusterSpec { ipv6: true, ..ClusterSpec::new("100ms") }).unwrap();
    cluster.wait_until_up(Duration::from_secs(15)).unwrap();
}

#[test]
fn a_cut_at_100_ms_is_seen_by_those_it_concerns_and_by_nobody_else() {
    cut_for_three_intervals(Duration::from_millis(100));
}

#[test]
fn a_cut_at_1200_ms_is_seen_by_those_it_concerns_and_by_nobody_else() {
    cut_for_three_intervals(Duration::from_millis(1200));
}

/// Node 1 loses network 1 for three intervals, without losing its carrier.
fn cut_for_three_intervals(interval: Duration) {
    let spec = ClusterSpec::new(&format!("{}ms", interval.as_millis()));
    let mut cluster = Cluster::start(TopologySpec::new(3, 2), &spec).unwrap();
    cluster.wait_until_up(10 * interval + Duration::from_secs(10)).unwrap();
    let place = cluster.events().len();
    let concerned: BTreeSet<Direction> = [(1, 2), (1, 3), (2, 1), (3, 1)].into();
    let reported = |events: &[Event], id| directions(events, id) == concerned;

    let cut = cluster.topology().cut(1, 1).unwrap();
    // Not an event to wait for: the cut is meant to last this long.
    std::thread::sleep(3 * interval);
    let healed = cluster.topology().heal(1, 1).unwrap();
    let limit = 3 * interval + Duration::from_secs(2);
    let events = cluster.events();
    events.wait_until(place, limit, "1123 for the cut links", |events| reported(events, LINK_LOST)).unwrap();
    events.wait_until(place, limit, "1122 for the cut links", |events| reported(events, LINK_RESTORED)).unwrap();
    // What should not be there gets the time to come.
    std::thread::sleep(2 * interval);

    let stalls_ns = stalls_ns(&events.since(place));
    for event in events.since(place) {
        if event.id() == LOCAL_STALL {
            continue;
        }
        assert_eq!(event.network(), Some("private"), "{}", event.value());
        let (moment, expected) = if event.id() == LINK_LOST {
            (cut, late_ns(interval))
        } else {
            assert_eq!(event.id(), LINK_RESTORED, "{}", event.value());
            (healed, 0)
        };
        assert_within_one_interval(&event, moment, expected, interval, stalls_ns);
    }
    let counted = |id| events.since(place).iter().filter(|event| event.id() == id).count();
    assert_eq!((counted(LINK_LOST), counted(LINK_RESTORED)), (4, 4), "each once");
}

/// When it should be: the last heartbeat passed up to an interval before the cut, the next one up to an interval after
/// healing; and a machine that stood still credits its peers for that long.
fn assert_within_one_interval(event: &Event, change: Moment, expected_ns: u64, interval: Duration, stalls_ns: u64) {
    let interval_ns = u64::try_from(interval.as_nanos()).unwrap();
    let earliest = (change.before_ns + expected_ns).saturating_sub(interval_ns);
    let latest = change.after_ns + expected_ns + interval_ns + stalls_ns;
    let at = event.mono_ns();
    assert!(
        (earliest..=latest).contains(&at),
        "{} ms after the change, expected {} to {}: {}",
        (i128::from(at) - i128::from(change.before_ns)) / 1_000_000,
        (i128::from(earliest) - i128::from(change.before_ns)) / 1_000_000,
        (latest - change.before_ns) / 1_000_000,
        event.value()
    );
}

/// From the last heartbeat until a link is late.
fn late_ns(interval: Duration) -> u64 {
    let slack = (interval / 8).max(Duration::from_millis(1));
    u64::try_from((LATE_AFTER * interval + slack).as_nanos()).unwrap()
}

fn directions(events: &[Event], id: u64) -> BTreeSet<Direction> {
    events.iter().filter(|event| event.id() == id).filter_map(|event| Some((event.node(), event.peer()?))).collect()
}

/// How long nodes stood still by their own account: this machine's processors do stop now and then.
fn stalls_ns(events: &[Event]) -> u64 {
    let lengths = events.iter().filter(|event| event.id() == LOCAL_STALL);
    lengths.filter_map(|event| event.detail().get("stall_ns")?.as_u64()).sum()
}
