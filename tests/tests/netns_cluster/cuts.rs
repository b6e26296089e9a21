//! A network that fails for a moment: those whom it concerns say so in time, and nobody else says anything.

use std::time::Duration;

use heartbeat_tests::{
    clock::Moment,
    cluster::Cluster,
    events::{Event, LINK_LOST, LINK_RESTORED, LOCAL_STALL},
};

use crate::nodes::{
    PATIENCE, REJECT_BURST, is_network_state, links_between, links_of, nanoseconds, stalls_ns, three_up,
};

/// 1135: a node was removed.
const NODE_REMOVED: u64 = 1135;
/// Default of the program.
const LATE_AFTER: u32 = 2;

#[test]
fn three_intervals_at_100_ms() {
    let interval = Duration::from_millis(100);
    node_1_is_cut_off(&three_up(interval), interval);
}

#[test]
fn three_intervals_at_1200_ms() {
    let interval = Duration::from_millis(1200);
    node_1_is_cut_off(&three_up(interval), interval);
}

#[test]
fn whoever_is_removed_is_told_of_with_the_last_heartbeats_of_each_network() {
    let cluster = three_up(Duration::from_millis(100));
    let place = cluster.events().len();
    let cuts = [1, 2].map(|network| cluster.topology().cut(3, network).unwrap());
    let removed = |event: &Event| event.id() == NODE_REMOVED && event.node() == 1;
    let event = cluster.events().wait_for(place, PATIENCE, "1135", removed).unwrap();
    let links = event.detail()["arrivals"].as_array().unwrap();
    let networks: Vec<_> = links.iter().map(|link| link["network"].as_str().unwrap()).collect();
    assert_eq!(networks, ["private", "public"], "{}", event.value());
    for (link, cut) in links.iter().zip(cuts) {
        let stamps: Vec<u64> =
            link["stamp_ns"].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).collect();
        assert!((2..=8).contains(&stamps.len()) && stamps.is_sorted(), "{}", event.value());
        assert!(stamps.last().is_some_and(|stamp| *stamp <= cut.after_ns), "{cut:?}: {}", event.value());
    }
}

/// Node 1 of three loses network 1 for three intervals, without losing its carrier.
pub(crate) fn node_1_is_cut_off(cluster: &Cluster, interval: Duration) {
    let (cut, healed, events) = cut_and_heal(cluster, interval);
    let stalled_ns = stalls_ns(&events);
    for event in &events {
        match event.id() {
            LINK_LOST => {
                is_lost_in_time(event, cut, interval, stalled_ns);
                has_its_last_arrivals(event, interval, stalled_ns);
            }
            LINK_RESTORED => is_restored_in_time(event, healed, interval, stalled_ns),
            // Told of the start of the cluster, up to a second later.
            REJECT_BURST => assert_eq!(event.detail()["reason"], "wrong_incarnation", "{}", event.value()),
            LOCAL_STALL => {}
            // The same, as it shows to the view as a whole.
            _ => assert!(is_network_state(event) && event.network() == Some("private"), "{}", event.value()),
        }
    }
    let count = |id| events.iter().filter(|event| event.id() == id).count();
    assert_eq!((count(LINK_LOST), count(LINK_RESTORED)), (4, 4), "each once");
}

/// Cuts, heals, and returns everything that was reported until two intervals after the last thing that should be.
pub(crate) fn cut_and_heal(cluster: &Cluster, interval: Duration) -> (Moment, Moment, Vec<Event>) {
    let place = cluster.events().len();
    let concerned = links_between(1, &[1, 2, 3], "private");
    let cut = cluster.topology().cut(1, 1).unwrap();
    // The fault itself lasts this long.
    std::thread::sleep(3 * interval);
    let healed = cluster.topology().heal(1, 1).unwrap();
    for (id, what) in [(LINK_LOST, "1123 on the links that were cut"), (LINK_RESTORED, "1122 on them")] {
        let reported = |events: &[Event]| links_of(events, id) == concerned;
        cluster.events().wait_until(place, PATIENCE, what, reported).unwrap();
    }
    // What should not be there gets the time to come.
    std::thread::sleep(2 * interval);
    (cut, healed, cluster.events().since(place))
}

/// The deadline counts from the newest stamp, which is of the last interval before the cut; the verdict falls at once.
fn is_lost_in_time(event: &Event, cut: Moment, interval: Duration, stalled_ns: u64) {
    let field = |name: &str| event.detail()[name].as_u64().unwrap();
    let interval_ns = nanoseconds(interval);
    let timeout_ns = nanoseconds(LATE_AFTER * interval + (interval / 8).max(Duration::from_millis(1)));
    let (stamp_ns, deadline_ns) = (field("stamp_ns"), field("deadline_ns"));
    // The sender's own lateness is its stall, if any.
    let earliest_ns = cut.before_ns.saturating_sub(interval_ns + interval_ns / 2 + stalled_ns);
    assert!((earliest_ns..=cut.after_ns).contains(&stamp_ns), "stamp, {cut:?}: {}", event.value());
    let waited_ns = deadline_ns - stamp_ns;
    assert!((timeout_ns..=timeout_ns + stalled_ns).contains(&waited_ns), "timeout: {}", event.value());
    let after_deadline = deadline_ns..=deadline_ns + interval_ns + stalled_ns;
    assert!(after_deadline.contains(&field("judged_ns")), "judged: {}", event.value());
    assert!(after_deadline.contains(&event.mono_ns()), "told: {}", event.value());
}

/// The heartbeats before the cut, up to the one that the verdict stands on, and none of after the healing.
fn has_its_last_arrivals(event: &Event, interval: Duration, stalled_ns: u64) {
    let links = event.detail()["arrivals"].as_array().unwrap();
    assert_eq!(links.len(), 1, "those of its link: {}", event.value());
    assert_eq!(links[0]["network"], "private", "{}", event.value());
    let list = |name: &str| links[0][name].as_array().unwrap().iter().map(|value| value.as_u64().unwrap());
    let stamps: Vec<u64> = list("stamp_ns").collect();
    assert_eq!(stamps.last().copied(), event.detail()["stamp_ns"].as_u64(), "{}", event.value());
    assert!((2..=8).contains(&stamps.len()), "{}", event.value());
    assert_eq!((list("sent_ns").len(), list("sequence").len()), (stamps.len(), stamps.len()), "{}", event.value());
    // Not by sequence: heartbeats to a group and to one node are counted apart.
    assert!(list("sent_ns").is_sorted() && stamps.is_sorted(), "{}", event.value());
    let longest_ns = nanoseconds(interval) * 3 / 2 + stalled_ns;
    for pair in stamps.windows(2) {
        assert!(pair[1] - pair[0] <= longest_ns, "a gap before the cut: {}", event.value());
    }
}

/// With the first heartbeat after the healing, which is at most an interval away.
fn is_restored_in_time(event: &Event, healed: Moment, interval: Duration, stalled_ns: u64) {
    let interval_ns = nanoseconds(interval);
    let stamp_ns = event.detail()["stamp_ns"].as_u64().unwrap();
    let until_ns = healed.after_ns + interval_ns + interval_ns / 4 + stalled_ns;
    assert!((healed.before_ns..=until_ns).contains(&stamp_ns), "heard, {healed:?}: {}", event.value());
    let told_until_ns = stamp_ns + interval_ns + stalled_ns;
    assert!((stamp_ns..=told_until_ns).contains(&event.mono_ns()), "told: {}", event.value());
    assert_eq!(event.detail()["cause"], "lost-on-the-way", "{}", event.value());
}
