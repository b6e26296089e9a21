//! An interface whose own machine knows that it is broken: the fault is that one's, and not the network's.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use heartbeat_tests::{cluster::Cluster, events::Event, namespace::Namespace, topology::TopologySpec};
use serde_json::Value;

use crate::nodes::{PATIENCE, spec, status, up};

const INTERVAL: Duration = Duration::from_millis(100);
const INTERFACE_UP: u64 = 1125;
const INTERFACE_UNREACHABLE: u64 = 1126;
const INTERFACE_FAILED: u64 = 1127;

/// Sets the interface that a node has on a network up or down, as an administrator of that machine would.
fn set(cluster: &Cluster, node: u16, network: &str, state: &str) {
    let now = status(cluster, node);
    let attached = now["dataplane"]["interfaces"].as_array().unwrap();
    let interface = attached.iter().find(|interface| interface["network"] == network).unwrap();
    let name = interface["name"].as_str().unwrap().to_owned();
    let ended = cluster.topology().node(node).command("ip").unwrap().args(["link", "set", &name, state]).status();
    assert!(ended.unwrap().success());
}

fn interface(status: &Value, node: u16, network: &str) -> String {
    let interfaces = status["interfaces"].as_array().unwrap();
    let found = interfaces.iter().find(|interface| interface["node"] == node && interface["network"] == network);
    found.unwrap()["state"].as_str().unwrap().to_owned()
}

fn ip(namespace: &Namespace, arguments: &[&str]) {
    let output = namespace.command("ip").unwrap().args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Both have their interfaces up and carrier; only one of them reaches the gateway.
#[test]
fn of_two_nodes_the_one_that_does_not_reach_the_gateway_is_at_fault() {
    let cluster = up(TopologySpec::new(2, 2), &spec(INTERVAL));
    let topology = cluster.topology();
    let mut gateway = topology.address(1, 2).octets();
    gateway[3] = 254;
    let gateway = Ipv4Addr::from(gateway).to_string();
    ip(topology.network(2), &["address", "add", &format!("{gateway}/24"), "dev", "bridge"]);
    for node in [1, 2] {
        ip(topology.node(node), &["route", "add", "default", "via", &gateway]);
    }
    let place = cluster.events().len();
    // A port of the switch that forwards no more, and keeps its carrier.
    ip(topology.network(2), &["link", "set", "dev", "bravo", "nomaster"]);
    let of = |id: u64, node: u64| {
        move |event: &Event| event.id() == id && event.peer() == Some(node) && event.network() == Some("public")
    };
    cluster.events().wait_for(place, PATIENCE, "1127 about bravo's interface", of(INTERFACE_FAILED, 2)).unwrap();
    let now = status(&cluster, 1);
    assert_eq!((interface(&now, 2, "public"), interface(&now, 1, "public")), ("failed".to_owned(), "up".to_owned()));
    let place = cluster.events().len();
    ip(topology.network(2), &["link", "set", "dev", "bravo", "master", "bridge"]);
    cluster.events().wait_for(place, PATIENCE, "1125 when the port forwards again", of(INTERFACE_UP, 2)).unwrap();
    let failed = |event: &&Event| event.id() == INTERFACE_FAILED && event.peer() == Some(1);
    assert_eq!(cluster.events().since(0).iter().filter(failed).count(), 0, "alpha's reached the gateway all the time");
}

/// Of two nodes that do not hear each other on a network, neither can tell whose fault it is, unless its machine can.
#[test]
fn of_two_nodes_the_one_without_carrier_is_at_fault() {
    // `ip` is part of the namespaces' making, too: without it nothing below would mean anything.
    assert!(Command::new("ip").arg("-V").status().unwrap().success());
    let cluster = up(TopologySpec::new(2, 2), &spec(INTERVAL));
    let place = cluster.events().len();
    set(&cluster, 2, "private", "down");
    let of = |id: u64, node: u64| {
        move |event: &Event| event.id() == id && event.peer() == Some(node) && event.network() == Some("private")
    };
    // The leader judges, and both announce what it found.
    for teller in [1, 2] {
        let failed = |event: &Event| of(INTERFACE_FAILED, 2)(event) && event.node() == teller;
        cluster.events().wait_for(place, PATIENCE, "1127 about bravo's interface", failed).unwrap();
    }
    let now = status(&cluster, 1);
    assert_eq!(interface(&now, 2, "private"), "failed", "{}", now["interfaces"]);
    assert_eq!(now["networks"][0]["judged_by"], 1, "{}", now["networks"]);
    assert_eq!((&now["view"]["members"], &now["view"]["quorate"]), (&serde_json::json!([1, 2]), &Value::Bool(true)));

    let place = cluster.events().len();
    set(&cluster, 2, "private", "up");
    cluster.events().wait_for(place, PATIENCE, "1125 once it has carrier again", of(INTERFACE_UP, 2)).unwrap();
    let accused =
        |event: &&Event| event.peer() == Some(1) && [INTERFACE_FAILED, INTERFACE_UNREACHABLE].contains(&event.id());
    let events = cluster.events().since(0);
    let accused: Vec<&Event> = events.iter().filter(accused).collect();
    assert!(accused.is_empty(), "nothing was wrong with alpha's: {accused:#?}");
}
