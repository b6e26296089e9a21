//! Every view of a node shows the same numbers: the command line, the control socket and the pinned maps.

use std::{process::Output, time::Duration};

use heartbeat_tests::{cluster::Cluster, events::LINK_RESTORED, process::find_program};
use serde_json::Value;

use crate::{
    nodes::{PATIENCE, link, status, three_up},
    pinned::{self, bpftool},
};

const INTERVAL: Duration = Duration::from_millis(100);

/// The program's command line, as an operator of node 1 uses it.
fn heartbeat(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = cluster.topology().node(1).command(find_program().unwrap()).unwrap();
    command.arg("--socket").arg(cluster.node(1).files().socket()).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn the_command_line_and_the_maps_agree() {
    let cluster = three_up(INTERVAL);
    for (peer, network, name) in [(2, 1, "private"), (3, 2, "public")] {
        let young = pinned::link(&cluster, 1, peer, network);
        pinned::wait_for_heartbeats(&cluster, 1, (peer, network), &young, 3, PATIENCE);
        // Numbers move meanwhile: what is shown lies between two readings of the map.
        let before = pinned::link(&cluster, 1, peer, network);
        let shown = json(&heartbeat(&cluster, &["status", "--json"]));
        let links = json(&heartbeat(&cluster, &["links", "--json"]));
        let after = pinned::link(&cluster, 1, peer, network);
        let shown = link(&shown, peer, name);
        for shown in [
            &shown,
            links.as_array().unwrap().iter().find(|link| link["peer"] == peer && link["network"] == name).unwrap(),
        ] {
            let number = |field: &str| shown[field].as_u64().unwrap();
            assert!((before.received..=after.received).contains(&number("received")), "{before:?} {shown} {after:?}");
            assert!((before.lost..=after.lost).contains(&number("lost")), "{before:?} {shown} {after:?}");
            assert_eq!(shown["state"], "up");
            assert!(shown["rtt_us"].as_u64().unwrap() < 1_000_000, "{shown}");
        }
        let beats: u64 = links[0]["intervals"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
        assert!(beats > 0, "{links}");
    }
    let outside = heartbeat(&cluster, &["status", "--json"]);
    assert_eq!(outside.status.code(), Some(0), "in a quorate view: {outside:?}");
    let events = heartbeat(&cluster, &["events", "--json", "--id", "1122"]);
    let told = String::from_utf8(events.stdout).unwrap();
    let own = cluster.events().since(0).iter().filter(|event| event.node() == 1 && event.id() == LINK_RESTORED).count();
    assert_eq!(told.lines().count(), own, "{told}");
}

#[test]
fn bpftool_shows_names() {
    let cluster = three_up(INTERVAL);
    let dump = |map: &str| -> Value {
        let path = pinned::path(&cluster, 1, map);
        let text = bpftool(&["-j", "map", "dump", "pinned", path.to_str().unwrap()]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let index = heartbeat_common::ids::link_index(2, 1);
    let links = dump("LINKS");
    let record = links.as_array().unwrap().iter().find(|entry| entry["formatted"]["key"] == index).unwrap();
    let value = &record["formatted"]["value"];
    for field in ["stamp_ns", "received", "lost", "echo_sent_ns", "view", "controller_beat", "unicast"] {
        assert!(value.get(field).is_some(), "no {field}: {record}");
    }
    assert!(value["received"].as_u64().unwrap() > 0, "{record}");

    let shown = status(&cluster, 1);
    let rejects = dump("REJECTS");
    let cpus = rejects[0]["formatted"]["values"].as_array().unwrap();
    for (reason, count) in shown["rejects"].as_object().unwrap() {
        let of_cpu = |cpu: &Value| cpu["value"][reason].as_u64().unwrap_or_else(|| panic!("no {reason}: {cpu}"));
        assert_eq!(cpus.iter().map(of_cpu).sum::<u64>(), count.as_u64().unwrap(), "{reason}");
    }
    for (map, field) in
        [("PEERS", "incarnation"), ("VERDICTS", "state"), ("SEQ", "heartbeats"), ("NODE", "lease_end_ns")]
    {
        let dump = dump(map);
        assert!(dump[0]["formatted"]["value"].get(field).is_some(), "{map}: {}", dump[0]);
    }
}
