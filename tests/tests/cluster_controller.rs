//! What peers see of a controller that stops, dies or comes back.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::{Duration, Instant};

use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{LINK_LOST, LOCAL_STALL},
    topology::TopologySpec,
};
use nix::sys::signal::Signal;
use serde_json::json;

const INTERVAL: Duration = Duration::from_millis(100);

fn up() -> Cluster {
    let mut cluster = Cluster::start(TopologySpec::new(3, 2), &ClusterSpec::new("100ms")).unwrap();
    cluster.wait_until_up(Duration::from_secs(10)).unwrap();
    cluster
}

#[test]
fn a_controller_that_was_stopped_blames_nobody_and_reports_its_own_stall() {
    let cluster = up();
    let place = cluster.events().len();
    cluster.node(1).signal(Signal::SIGSTOP).unwrap();
    // The fault itself: so long it stands still.
    std::thread::sleep(Duration::from_secs(2));
    cluster.node(1).signal(Signal::SIGCONT).unwrap();
    let limit = Duration::from_secs(5);
    let is_own_stall = |event: &heartbeat_tests::events::Event| event.node() == 1 && event.id() == LOCAL_STALL;
    cluster.events().wait_for(place, limit, "its own stall", is_own_stall).unwrap();
    // A wrong verdict gets the time to come.
    std::thread::sleep(6 * INTERVAL);
    let blame: Vec<_> = cluster.events().since(place);
    let blame: Vec<_> = blame.iter().filter(|event| event.node() == 1 && event.id() == LINK_LOST).collect();
    assert!(blame.is_empty(), "{blame:?}");
}

#[test]
fn a_controller_that_is_killed_and_restarted_within_an_interval_is_not_noticed() {
    let mut cluster = up();
    let place = cluster.events().len();
    let incarnation = |cluster: &Cluster| {
        let status = cluster.node(2).request(&json!({"request": "status"})).unwrap();
        status["node"]["incarnation"].as_u64().unwrap()
    };
    let before = incarnation(&cluster);
    let begin = Instant::now();
    cluster.node_mut(2).kill().unwrap();
    cluster.start_node(2, &[]).unwrap();
    let limit = Duration::from_secs(5);
    // Its first event: it is there again, and was started within the interval.
    cluster.events().wait_for(place, limit, "an event of the restarted node", |event| event.node() == 2).unwrap();
    println!("restarted after {:?}", begin.elapsed());
    std::thread::sleep(6 * INTERVAL);
    assert_eq!(incarnation(&cluster), before, "the incarnation goes on");
    let noticed: Vec<_> = cluster
        .events()
        .since(place)
        .into_iter()
        .filter(|event| event.node() != 2 && event.id() != LOCAL_STALL)
        .collect();
    assert!(noticed.is_empty(), "{noticed:?}");
}

#[test]
fn an_orderly_leave_ends_with_success_and_leaves_nothing_pinned() {
    let mut cluster = up();
    let status = cluster.node_mut(3).terminate().unwrap();
    assert!(status.success(), "{status}\n{}", cluster.node(3).log_tail(20));
    let link = cluster.topology().node(3).command("ip").unwrap().args(["link", "show", "private"]).output().unwrap();
    let link = String::from_utf8_lossy(&link.stdout).into_owned();
    assert!(!link.contains("xdp"), "{link}");
}
