//! A judge that was killed behind the controller's back is noticed, and judges again.

use std::time::Duration;

use heartbeat_common::records::JudgeRecord;
use heartbeat_tests::events::{Event, LOCAL_STALL};

use crate::{
    cuts::node_1_is_cut_off,
    nodes::{JUDGE_RESTARTED, PATIENCE, nanoseconds, stalls_ns, three_up},
    pinned::{self, bpftool},
};

const INTERVAL: Duration = Duration::from_millis(200);

#[test]
fn a_killed_judge_is_started_again_within_two_intervals() {
    let cluster = three_up(INTERVAL);
    let place = cluster.events().len();
    let path = pinned::path(&cluster, 1, "JUDGE");
    let path = path.to_str().unwrap();
    let map: serde_json::Value = serde_json::from_str(&bpftool(&["-j", "map", "show", "pinned", path])).unwrap();
    let zeros = usize::try_from(map["bytes_value"].as_u64().unwrap()).unwrap();
    // Writing the element that holds a timer cancels it without a word.
    let mut arguments = vec!["map", "update", "pinned", path, "key", "0", "0", "0", "0", "value"];
    arguments.extend(std::iter::repeat_n("0", zeros));
    bpftool(&arguments);
    let killed_ns = heartbeat_tests::clock::monotonic_ns();

    let restarted = |event: &Event| event.id() == JUDGE_RESTARTED;
    let event = cluster.events().wait_for(place, PATIENCE, "9010", restarted).unwrap();
    assert_eq!(event.node(), 1, "{}", event.value());
    assert!(event.detail()["failure"].is_null(), "{}", event.value());
    let field = |name: &str| event.detail()[name].as_u64().unwrap();
    let (last_run_ns, found_ns) = (field("last_run_ns"), field("found_ns"));
    assert!(last_run_ns <= killed_ns, "it was alive until it was killed");
    let stalled_ns = stalls_ns(&cluster.events().since(place));
    let unnoticed_ns = found_ns - last_run_ns;
    assert!(unnoticed_ns <= nanoseconds(2 * INTERVAL) + stalled_ns, "stalls {stalled_ns}: {}", event.value());

    let state = pinned::open::<JudgeRecord>(&cluster, 1, "JUDGE_STATE");
    let scans = || state.read(0).unwrap().scans;
    let before = scans();
    // The standstill is credited to what was heard before it.
    let link = pinned::link(&cluster, 1, 2, 1);
    pinned::wait_for_heartbeats(&cluster, 1, (2, 1), &link, 2, PATIENCE);
    node_1_is_cut_off(&cluster, INTERVAL);
    assert!(scans() > before, "it scans");
    // Only the judge had stood still, which 9010 says; its first run, as late as it is, accuses nobody else.
    let accuses = |event: &Event| {
        let field = |name: &str| event.detail()[name].as_u64().unwrap_or(0);
        let began_ns = field("at_ns") - field("length_ns");
        let machine = event.id() == LOCAL_STALL && event.node() == 1 && event.detail()["source"] == "machine";
        machine && began_ns < found_ns && found_ns <= field("at_ns")
    };
    let accused: Vec<Event> = cluster.events().since(place).into_iter().filter(accuses).collect();
    assert!(accused.is_empty(), "{accused:#?}");
}
