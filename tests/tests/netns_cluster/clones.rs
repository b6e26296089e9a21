//! A machine that was cloned: two run as one node, with its addresses. Everybody is told, and the later one is refused.

use std::{fs, process::Command};

use heartbeat_tests::{
    cluster::Cluster,
    events::Event,
    naming::{network_name, node_name},
    topology::TopologySpec,
};
use serde_json::json;

use crate::{
    nodes::{PATIENCE, QUORUM_LOST, edit_config, incarnation, link, prepared, spec, status, wait_for_view_of},
    pinned,
};

const INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);
/// 9014: two machines run as one node.
const DUPLICATE_ID: u64 = 9014;
/// 1135: a node was removed.
const NODE_REMOVED: u64 = 1135;
/// The node that was cloned.
const ORIGINAL: u16 = 2;
/// The namespace of its clone.
const CLONE: u16 = 4;

#[test]
fn a_clone_is_refused_and_both_machines_are_told() {
    let mut cluster = prepared(TopologySpec::new(4, 2), &spec(INTERVAL));
    make_a_clone(&cluster);
    // The clone's machine answers for the shared addresses already, though nothing runs there yet.
    for (node, network) in [(1, 1), (1, 2), (3, 1), (3, 2)] {
        always_reach(&cluster, node, ORIGINAL, network);
    }
    for node in [1, 2, 3] {
        cluster.start_node(node, &[]).unwrap();
    }
    wait_for_view_of(&cluster, &[1, 2, 3]);
    let original = incarnation(&cluster, ORIGINAL);
    let place = cluster.events().len();
    let before = pinned::link(&cluster, 1, ORIGINAL, 1);
    let refused_before = wrong_incarnations(&cluster, 1);

    // Which of two machines with one address is reached is chance in an Ethernet. Here: each on one network.
    for node in [1, 3] {
        always_reach(&cluster, node, CLONE, 2);
    }
    cluster.start_node(CLONE, &[]).unwrap();
    let told = |on: u16, about: u16, what: &'static str| {
        let is_it = move |event: &Event| {
            event.id() == DUPLICATE_ID
                && event.node() == u64::from(on)
                && event.peer() == Some(u64::from(about))
                && event.text().contains(what)
        };
        cluster.events().wait_for(place, PATIENCE, "9014", is_it).unwrap()
    };
    let clone = told(1, ORIGINAL, "Two machines run as node bravo").detail()["refused"].as_u64().unwrap();
    assert_eq!(clone, incarnation(&cluster, CLONE));
    assert!(clone > original, "the clone started later");
    for (on, what, running, refused) in [
        (3, "Two machines run as node bravo", original, clone),
        (ORIGINAL, "another machine runs as this node", original, 0),
        (ORIGINAL, "this machine is the later of two", original, clone),
    ] {
        let about = if on == ORIGINAL { 1 } else { ORIGINAL };
        let event = told(on, about, what);
        assert_eq!(event.detail()["running"], running, "{}", event.value());
        assert_eq!(event.detail()["refused"], refused, "{}", event.value());
    }

    // Both go on beating, and the cluster with the one that it knows.
    pinned::wait_for_heartbeats(&cluster, 1, (ORIGINAL, 1), &before, 30, PATIENCE);
    assert!(wrong_incarnations(&cluster, 1) > refused_before + 10, "the clone's heartbeats do arrive, and are refused");
    for node in [1, 2, 3] {
        let shown = status(&cluster, node);
        assert_eq!(shown["view"]["members"], json!([1, 2, 3]), "{}", shown["view"]);
        assert_eq!(shown["view"]["quorate"], true, "{}", shown["view"]);
    }
    assert_eq!(link(&status(&cluster, 1), ORIGINAL, "private")["state"], "up");
    assert_eq!(incarnation(&cluster, ORIGINAL), original);
    let shown = status(&cluster, CLONE);
    assert_eq!(shown["view"]["members"], json!([]), "{}", shown["view"]);
    assert_eq!(shown["view"]["quorate"], false, "{}", shown["view"]);

    let events = cluster.events().since(place);
    let nobody = events.iter().find(|event| [NODE_REMOVED, QUORUM_LOST].contains(&event.id()));
    assert!(nobody.is_none(), "{nobody:?}");
    for on in [1, 3] {
        let count = events.iter().filter(|event| event.id() == DUPLICATE_ID && event.node() == on).count();
        assert_eq!(count, 1, "told of once a minute at most, on node {on}");
    }
}

/// Three nodes stay in the configuration; the fourth namespace gets addresses and configuration of the second.
fn make_a_clone(cluster: &Cluster) {
    let topology = cluster.topology();
    let address = |node: u16, network: u8| topology.address(node, network);
    let entry = format!(
        "\n[[node]]\nid = {CLONE}\nname = \"{}\"\naddresses = {{ {} = \"{}\", {} = \"{}\" }}\n",
        node_name(CLONE),
        network_name(1),
        address(CLONE, 1),
        network_name(2),
        address(CLONE, 2),
    );
    for node in [1, 2, 3] {
        edit_config(cluster, node, &entry, "");
    }
    let text = fs::read_to_string(cluster.node(ORIGINAL).files().config()).unwrap();
    // The clone runs on the same machine here, so its folders must be others.
    let folders = |node: u16| {
        let files = cluster.node(node).files();
        [&files.directory, &files.bpf_directory].map(|it| it.to_str().unwrap().to_owned())
    };
    let moved = folders(ORIGINAL).iter().zip(folders(CLONE)).fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text.replace(from, &to)
    });
    fs::write(cluster.node(CLONE).files().config(), moved).unwrap();
    for network in [1, 2] {
        let interface = network_name(network);
        ip(cluster, CLONE, &["address", "flush", "dev", &interface]);
        ip(cluster, CLONE, &["address", "add", &format!("{}/24", address(ORIGINAL, network)), "dev", &interface]);
    }
}

/// From now on what `node` sends to the address of the two machines on this network arrives at `machine`.
fn always_reach(cluster: &Cluster, node: u16, machine: u16, network: u8) {
    let interface = network_name(network);
    let shown = ip(cluster, machine, &["-brief", "link", "show", "dev", &interface]);
    let hardware = shown.split_whitespace().nth(2).unwrap();
    let address = cluster.topology().address(ORIGINAL, network).to_string();
    ip(cluster, node, &["neighbour", "replace", &address, "lladdr", hardware, "nud", "permanent", "dev", &interface]);
}

fn ip(cluster: &Cluster, node: u16, arguments: &[&str]) -> String {
    let namespace = cluster.topology().node(node).name();
    let output = Command::new("ip").args(["-n", namespace]).args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Heartbeats that a node has dropped because they were of another incarnation than the one that it knows.
fn wrong_incarnations(cluster: &Cluster, node: u16) -> u64 {
    status(cluster, node)["rejects"]["wrong_incarnation"].as_u64().unwrap()
}
