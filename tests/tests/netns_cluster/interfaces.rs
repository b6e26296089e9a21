//! Interfaces whose program, address or whole being somebody takes away and gives back: nodes find out, say so, and go on
//! without a restart.

use std::{
    fs,
    time::{Duration, Instant},
};

use heartbeat_tests::{cluster::Cluster, events::Event, namespace::Namespace, naming::node_name};
use nix::net::if_::if_nametoindex;
use serde_json::Value;

use crate::{
    dataplanes::Foreign,
    nodes::{DATAPLANE_DEGRADED, PATIENCE, QUORUM_LOST, status, three_up},
    pinned::{self, bpftool},
};

/// Attachments are looked at four times within the six intervals after which a silent peer is missed.
const INTERVAL: Duration = Duration::from_millis(100);
const NODE_REMOVED: u64 = 1135;
const INTERFACE_UP: u64 = 1125;
const INTERFACE_FAILED: u64 = 1127;

fn ip(namespace: &Namespace, arguments: &str) -> String {
    let output = namespace.command("ip").unwrap().args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a node tells about its own interface.
fn told(cluster: &Cluster, place: usize, node: u16, network: &str) -> Event {
    let fits = |event: &Event| {
        event.id() == DATAPLANE_DEGRADED && event.node() == u64::from(node) && event.network() == Some(network)
    };
    cluster.events().wait_for(place, PATIENCE, "9003 about the interface", fits).unwrap()
}

fn index(cluster: &Cluster, node: u16, interface: &str) -> u32 {
    cluster.topology().node(node).run(|| if_nametoindex(interface)).unwrap().unwrap()
}

/// The pin of the attachment of a node to its interface.
pub(crate) fn attachment(cluster: &Cluster, node: u16, interface: &str) -> std::path::PathBuf {
    let pins = cluster.node(node).files().bpf_directory.join("links");
    pins.join(format!("{}-native", index(cluster, node, interface)))
}

/// Heartbeats of node 1 arrive at node 2 on the first network, and back.
fn both_hear_each_other(cluster: &Cluster) {
    for (node, peer) in [(2, 1), (1, 2)] {
        let before = pinned::link(cluster, node, peer, 1);
        pinned::wait_for_heartbeats(cluster, node, (peer, 1), &before, 5, PATIENCE);
    }
}

#[track_caller]
fn nobody_left_the_view(cluster: &Cluster, place: usize, view: &Value) {
    let gone = |event: &&Event| [NODE_REMOVED, QUORUM_LOST].contains(&event.id());
    let events = cluster.events().since(place);
    assert_eq!(events.iter().filter(gone).map(Event::value).collect::<Vec<_>>(), Vec::<&Value>::new());
    assert_eq!(status(cluster, 2)["view"]["number"], view["number"]);
}

#[test]
fn a_program_that_somebody_removes_is_attached_again_and_told() {
    let cluster = three_up(INTERVAL);
    let (place, view) = (cluster.events().len(), status(&cluster, 2)["view"].clone());
    for by_force in [true, false] {
        let place = cluster.events().len();
        let pin = attachment(&cluster, 2, "private");
        if by_force {
            bpftool(&["link", "detach", "pinned", pin.to_str().unwrap()]);
        } else {
            // The pin alone keeps it.
            fs::remove_file(&pin).unwrap();
        }
        let event = told(&cluster, place, 2, "private");
        assert!(
            event.text().contains("removed by somebody else") && event.text().contains("served again"),
            "{event:?}"
        );
        assert!(event.detail()["failure"].is_null(), "{event:?}");
        both_hear_each_other(&cluster);
        assert!(pin.exists(), "it is pinned again, so that it outlives the controller");
    }
    let now = status(&cluster, 2);
    assert!(now["dataplane"]["degraded"].is_null() && now["dataplane"]["mode"] == "native", "{}", now["dataplane"]);
    nobody_left_the_view(&cluster, place, &view);
}

#[test]
fn another_program_in_its_place_is_told_until_it_goes() {
    let cluster = three_up(INTERVAL);
    let (began, view) = (cluster.events().len(), status(&cluster, 2)["view"].clone());
    let pin = attachment(&cluster, 1, "private");
    let mut foreign = Err(Foreign::load());
    let deadline = Instant::now() + PATIENCE;
    while let Err(ready) = foreign {
        assert!(Instant::now() < deadline, "the node was faster all the time");
        bpftool(&["link", "detach", "pinned", pin.to_str().unwrap()]);
        foreign = ready.try_attach(&cluster, "private");
    }
    let foreign = foreign.ok().unwrap();
    let failed = |event: &Event| event.id() == DATAPLANE_DEGRADED && event.detail()["failure"].is_string();
    let event = cluster.events().wait_for(began, PATIENCE, "9003 that says who is there", failed).unwrap();
    assert!(event.text().contains(&format!("id {}", foreign.id)), "{event:?}");
    let now = status(&cluster, 1);
    assert!(now["dataplane"]["degraded"].as_str().unwrap().contains("private is not served"), "{}", now["dataplane"]);

    let place = cluster.events().len();
    drop(foreign);
    let event = told(&cluster, place, 1, "private");
    assert!(event.detail()["failure"].is_null(), "{event:?}");
    both_hear_each_other(&cluster);
    assert!(status(&cluster, 1)["dataplane"]["degraded"].is_null());
    nobody_left_the_view(&cluster, began, &view);
}

#[test]
fn an_interface_that_is_made_anew_serves_again() {
    let cluster = three_up(INTERVAL);
    let (place, view) = (cluster.events().len(), status(&cluster, 2)["view"].clone());
    let topology = cluster.topology();
    let (node, bridge) = (topology.node(2), topology.network(1));
    let former = index(&cluster, 2, "private");
    // As a VLAN or a bond that is made anew, it keeps its hardware address.
    let address = ip(node, "-brief link show dev private");
    let address = address.split_whitespace().nth(2).unwrap().to_owned();
    ip(node, "link delete dev private");
    let failed = |event: &Event| event.id() == INTERFACE_FAILED && event.peer() == Some(2);
    cluster.events().wait_for(place, PATIENCE, "1127 while it is gone", failed).unwrap();

    let port = node_name(2);
    let home = node.name();
    ip(bridge, &format!("link add name {port} type veth peer name private address {address} netns {home}"));
    ip(bridge, &format!("link set dev {port} master bridge up"));
    ip(node, &format!("address add {}/24 dev private", topology.address(2, 1)));
    ip(node, "link set dev private up");
    let event = told(&cluster, place, 2, "private");
    assert!(event.text().contains("made anew") && event.detail()["failure"].is_null(), "{event:?}");
    assert_ne!(index(&cluster, 2, "private"), former, "another interface of the same name");
    both_hear_each_other(&cluster);
    // Control messages too: the socket is bound to it.
    let back = |event: &Event| event.id() == INTERFACE_UP && event.peer() == Some(2);
    cluster.events().wait_for(place, PATIENCE, "1125", back).unwrap();
    assert!(attachment(&cluster, 2, "private").exists());
    nobody_left_the_view(&cluster, place, &view);
}

#[test]
fn an_address_that_is_taken_away_and_given_back_serves_again() {
    let cluster = three_up(INTERVAL);
    let (place, view) = (cluster.events().len(), status(&cluster, 2)["view"].clone());
    let (node, address) = (cluster.topology().node(2), cluster.topology().address(2, 1));
    ip(node, &format!("address delete {address}/24 dev private"));
    let failed = |event: &Event| event.id() == INTERFACE_FAILED && event.peer() == Some(2);
    cluster.events().wait_for(place, PATIENCE, "1127 while it is gone", failed).unwrap();
    ip(node, &format!("address add {address}/24 dev private"));
    let back = |event: &Event| event.id() == INTERFACE_UP && event.peer() == Some(2);
    cluster.events().wait_for(place, PATIENCE, "1125", back).unwrap();
    both_hear_each_other(&cluster);
    nobody_left_the_view(&cluster, place, &view);
}
