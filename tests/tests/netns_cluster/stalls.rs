//! A controller that stands still blames itself, and nobody else.

use std::{collections::BTreeSet, time::Duration};

use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST, LINK_RESTORED, LOCAL_STALL},
    topology::TopologySpec,
};
use nix::sys::signal::Signal;

use crate::nodes::{PATIENCE, length_ns, links_between, links_of, nanoseconds, spec, three_up, up, wait_for_view};

const INTERVAL: Duration = Duration::from_millis(100);
const STALL: Duration = Duration::from_secs(2);

#[test]
fn a_stop_that_membership_bears_is_missed_and_its_own_stall() {
    // Silent only after four seconds: nobody is removed.
    let cluster = up(TopologySpec::new(3, 2), &ClusterSpec { lost_after: Some(40), ..spec(INTERVAL) });
    let place = stop_for_a_while(&cluster);
    reports_its_own_stall(&cluster, place);
    // The sender stood still as well: its peers do miss it, on every link, and hear it again.
    for (id, what) in [(LINK_LOST, "1123 about the stopped node"), (LINK_RESTORED, "1122 about it")] {
        let reported = |events: &[Event]| links_of(events, id) == links_to_node_1();
        cluster.events().wait_until(place, PATIENCE, what, reported).unwrap();
    }
    // A wrong verdict gets the time to come.
    std::thread::sleep(6 * INTERVAL);
    let events = cluster.events().since(place);
    for id in [LINK_LOST, LINK_RESTORED] {
        assert_eq!(links_of(&events, id), links_to_node_1(), "{id}: nobody else is blamed");
    }
    for event in events.iter().filter(|event| event.id() == LINK_RESTORED) {
        assert_eq!(event.detail()["cause"], "sent-late", "{}", event.value());
    }
}

#[test]
fn a_stop_that_costs_it_its_place_is_its_own_stall_too() {
    let cluster = three_up(INTERVAL);
    let place = stop_for_a_while(&cluster);
    reports_its_own_stall(&cluster, place);
    // Silent for longer than membership bears: it was removed, and is back as a new incarnation.
    wait_for_view(&cluster);
    let lost = links_of(&cluster.events().since(place), LINK_LOST);
    assert_eq!(lost, links_to_node_1(), "nobody else is blamed");
}

/// Stops the controller of node 1 for two seconds; returns the place in the log before that.
fn stop_for_a_while(cluster: &Cluster) -> usize {
    let place = cluster.events().len();
    cluster.node(1).signal(Signal::SIGSTOP).unwrap();
    // The fault itself lasts this long.
    std::thread::sleep(STALL);
    cluster.node(1).signal(Signal::SIGCONT).unwrap();
    place
}

fn reports_its_own_stall(cluster: &Cluster, place: usize) {
    let own =
        |event: &Event| event.node() == 1 && event.id() == LOCAL_STALL && event.detail()["source"] == "controller";
    let stall = cluster.events().wait_for(place, PATIENCE, "9001 of the stopped controller", own).unwrap();
    let expected_ns = nanoseconds(STALL - INTERVAL)..=nanoseconds(STALL + 3 * INTERVAL);
    assert!(expected_ns.contains(&length_ns(&stall).unwrap()), "{}", stall.value());
}

/// From the others to the stopped node.
fn links_to_node_1() -> BTreeSet<(u64, u64, String)> {
    let by_network = ["private", "public"].map(|network| links_between(1, &[1, 2, 3], network));
    by_network.into_iter().flatten().filter(|(node, _, _)| *node != 1).collect()
}
