//! A witness in a shared directory: in a split one side goes on, and what happens to the directory costs its vote alone.

use std::{
    fs,
    time::{Duration, Instant},
};

use heartbeat_tests::{
    cluster::Cluster,
    config::{ClusterSpec, witness_directory},
    events::Event,
    topology::TopologySpec,
};
use serde_json::{Value, json};

use crate::{
    nodes::{PATIENCE, QUORUM_LOST, spec, status, up},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
/// The record holds for 5 s, the least that is possible; who waits for it waits a little longer.
const TAKEOVER: Duration = Duration::from_secs(20);
const NODE_REMOVED: u64 = 1135;
const WITNESS_TAKEN: u64 = 9020;
const WITNESS_FAILED: u64 = 9040;
const WITNESS_RESTORED: u64 = 9041;

fn four_up() -> Cluster {
    let cluster = up(TopologySpec::new(4, 2), &ClusterSpec { witness: true, ..spec(INTERVAL) });
    let taken = |event: &Event| event.id() == WITNESS_TAKEN && event.node() == 1;
    cluster.events().wait_for(0, PATIENCE, "9020 at the leader", taken).unwrap();
    cluster
}

fn view(cluster: &Cluster, node: u16) -> Value {
    // A node that is just being started does not answer yet.
    let status = cluster.node(node).request(&json!({"request": "status"})).unwrap_or_default();
    status["view"].clone()
}

fn acts(cluster: &Cluster, node: u16) -> bool {
    view(cluster, node)["quorate"] == true
}

/// Waits until all of `side` act in a view of their own; at no time do both sides act.
fn wait_for_side(cluster: &Cluster, side: &[u16], other: &[u16], limit: Duration) {
    let deadline = Instant::now() + limit;
    loop {
        // Of one moment each; a lease that ends between two looks is no second side, so each is asked again.
        let both = side.iter().any(|node| alone(cluster, *node, side) && acts(cluster, *node))
            && other.iter().any(|node| alone(cluster, *node, other) && acts(cluster, *node));
        assert!(!both, "both sides act");
        if side.iter().all(|node| alone(cluster, *node, side) && acts(cluster, *node)) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{side:?} do not act: {:#?}",
            side.iter().map(|node| view(cluster, *node)).collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn alone(cluster: &Cluster, node: u16, side: &[u16]) -> bool {
    view(cluster, node)["members"] == json!(side)
}

fn split(cluster: &Cluster, side: &[u16]) {
    for network in [1, 2] {
        cluster.topology().partition(network, side).unwrap();
    }
}

fn heal(cluster: &Cluster) {
    for network in [1, 2] {
        cluster.topology().heal_all(network).unwrap();
    }
}

fn wait_for_all(cluster: &Cluster) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while ![1, 2, 3, 4].iter().all(|node| alone(cluster, *node, &[1, 2, 3, 4]) && acts(cluster, *node)) {
        assert!(Instant::now() < deadline, "{:#?}", [1, 2, 3, 4].map(|node| view(cluster, node)));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_and_two_leaves_the_side_of_the_record_and_a_dead_holder_is_followed() {
    let mut cluster = four_up();
    let place = cluster.events().len();
    split(&cluster, &[1, 2]);
    wait_for_side(&cluster, &[1, 2], &[3, 4], TAKEOVER);
    for node in [3, 4] {
        let lost = |event: &Event| event.id() == QUORUM_LOST && event.node() == node;
        cluster.events().wait_for(place, TAKEOVER, "1177 on the other side", lost).unwrap();
    }
    let removed = |node: u64| {
        let events = cluster.events().since(place);
        events.iter().filter(|event| event.id() == NODE_REMOVED && event.node() == node).count()
    };
    assert_eq!([1, 2, 3, 4].map(removed), [2, 2, 0, 0]);
    heal(&cluster);
    wait_for_all(&cluster);

    // Its holder dies with half of the votes: the other half waits for the record, and goes on.
    for node in [1, 2] {
        cluster.node_mut(node).kill().unwrap();
    }
    wait_for_side(&cluster, &[3, 4], &[], Duration::from_secs(40));
    let epochs = fs::read_dir(witness_directory(cluster.topology())).unwrap().count();
    assert!((2..300).contains(&epochs), "{epochs} files");
}

#[test]
fn a_witness_that_is_gone_is_told_and_holds_up_nobody() {
    let cluster = four_up();
    let marker = witness_directory(cluster.topology()).join("heartbeat-witness");
    let hidden = marker.with_extension("hidden");
    let place = cluster.events().len();
    fs::rename(&marker, &hidden).unwrap();
    let failed = |event: &Event| event.id() == WITNESS_FAILED && event.node() == 1;
    let told = cluster.events().wait_for(place, PATIENCE, "9040 at the leader", failed).unwrap();
    assert!(told.text().contains("mounted"), "{}", told.value());
    let before = pinned::link(&cluster, 1, 2, 1);
    pinned::wait_for_heartbeats(&cluster, 1, (2, 1), &before, 20, PATIENCE);
    assert_eq!(status(&cluster, 1)["view"]["members"], json!([1, 2, 3, 4]));
    fs::rename(&hidden, &marker).unwrap();
    let restored = |event: &Event| event.id() == WITNESS_RESTORED && event.node() == 1;
    cluster.events().wait_for(place, PATIENCE, "9041 at the leader", restored).unwrap();
    let noticed = |event: &Event| [NODE_REMOVED, QUORUM_LOST, heartbeat_tests::events::LINK_LOST].contains(&event.id());
    let events = cluster.events().since(place);
    assert!(!events.iter().any(noticed), "{events:#?}");
}
