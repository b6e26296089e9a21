//! A controller that stands still blames itself, and nobody else.

use std::{collections::BTreeSet, time::Duration};

use heartbeat_tests::events::{Event, LINK_LOST, LINK_RESTORED, LOCAL_STALL};
use nix::sys::signal::Signal;

use crate::nodes::{PATIENCE, length_ns, links_between, links_of, nanoseconds, stalls_ns, three_up};

const INTERVAL: Duration = Duration::from_millis(100);
const STALL: Duration = Duration::from_secs(2);

#[test]
fn a_controller_that_was_stopped_reports_its_own_stall() {
    let cluster = three_up(INTERVAL);
    let place = cluster.events().len();
    cluster.node(1).signal(Signal::SIGSTOP).unwrap();
    // The fault itself lasts this long.
    std::thread::sleep(STALL);
    cluster.node(1).signal(Signal::SIGCONT).unwrap();

    let is_own_stall = |event: &Event| event.node() == 1 && event.id() == LOCAL_STALL;
    let own = |event: &Event| is_own_stall(event) && event.detail()["source"] == "controller";
    let stall = cluster.events().wait_for(place, PATIENCE, "9001 of the stopped controller", own).unwrap();
    let length_ns = length_ns(&stall).unwrap();
    let expected_ns = nanoseconds(STALL - INTERVAL)..=nanoseconds(STALL + 3 * INTERVAL);
    assert!(expected_ns.contains(&length_ns), "{}", stall.value());

    // The sender stood still as well: its peers do miss it, on every link, and hear it again.
    let by_network = ["private", "public"].map(|network| links_between(1, &[1, 2, 3], network));
    let missed: BTreeSet<_> = by_network.into_iter().flatten().filter(|(node, _, _)| *node != 1).collect();
    for (id, what) in [(LINK_LOST, "1123 about the stopped node"), (LINK_RESTORED, "1122 about it")] {
        let reported = |events: &[Event]| links_of(events, id) == missed;
        cluster.events().wait_until(place, PATIENCE, what, reported).unwrap();
    }
    // A wrong verdict gets the time to come.
    std::thread::sleep(6 * INTERVAL);
    let events = cluster.events().since(place);
    for id in [LINK_LOST, LINK_RESTORED] {
        assert_eq!(links_of(&events, id), missed, "{id}: nobody else is blamed");
    }
    let restored = events.iter().filter(|event| event.id() == LINK_RESTORED);
    for event in restored {
        assert_eq!(event.detail()["cause"], "sent-late", "{}", event.value());
    }
    println!("all stalls: {} ms", stalls_ns(&events) / 1_000_000);
}
