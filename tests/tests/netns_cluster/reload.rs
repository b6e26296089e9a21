//! The configuration, read again while nodes run: keys at once, what all must agree on once all have it, and nothing of a
//! file that is wrong.

use std::{
    fs,
    time::{Duration, Instant},
};

use aya::maps::{Array, Map, MapData};
use heartbeat_common::records::{KeyRecord, TimingRecord};
use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST},
    naming::node_name,
    topology::TopologySpec,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    metronome::{wait, wait_for_metronome},
    nodes::{
        DATAPLANE_DEGRADED, NODE_LEFT, PATIENCE, QUORUM_LOST, edit_config, incarnation, prepared, spec, start_all,
        status, three_up, up,
    },
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
/// A node was removed.
const NODE_REMOVED: u64 = 1135;
/// The core refused, staged or took back a configuration.
const CONFIG_STAGED: u64 = 9018;
/// All members have changed.
const CONFIG_INSTALLED: u64 = 9019;
const CONFIG_RELOADED: u64 = 9042;
const CONFIG_REFUSED: u64 = 9043;

/// SIGHUP to these nodes; what each says of it.
fn reload(cluster: &Cluster, nodes: &[u16]) -> Vec<Event> {
    nodes
        .iter()
        .map(|node| {
            let place = cluster.events().len();
            cluster.node(*node).signal(Signal::SIGHUP).unwrap();
            let answers = |event: &Event| {
                event.node() == u64::from(*node) && [CONFIG_RELOADED, CONFIG_REFUSED].contains(&event.id())
            };
            cluster.events().wait_for(place, PATIENCE, "an answer to SIGHUP", answers).unwrap()
        })
        .collect()
}

/// Nothing was lost since `place`, while heartbeats went on: three more on a link of each node.
fn nothing_was_lost(cluster: &Cluster, place: usize, nodes: &[u16]) {
    for node in nodes {
        let peer = *nodes.iter().find(|peer| *peer != node).unwrap();
        let before = pinned::link(cluster, *node, peer, 1);
        pinned::wait_for_heartbeats(cluster, *node, (peer, 1), &before, 3, PATIENCE);
    }
    let lost = |event: &Event| [LINK_LOST, NODE_REMOVED, QUORUM_LOST].contains(&event.id());
    let events = cluster.events().since(place);
    let losses: Vec<_> = events.iter().filter(|event| lost(event)).map(Event::value).collect();
    assert!(losses.is_empty(), "{losses:#?}");
}

fn refused(cluster: &Cluster, node: u16) -> [u64; 2] {
    let rejects = &status(cluster, node)["rejects"];
    ["unknown_key", "bad_tag"].map(|reason| rejects[reason].as_u64().unwrap())
}

/// One element of a map that is not shared through memory.
fn element<T: aya::Pod>(cluster: &Cluster, node: u16, map: &str, index: u32) -> T {
    let data = MapData::from_pin(pinned::path(cluster, node, map)).unwrap();
    Array::<_, T>::try_from(Map::Array(data)).unwrap().get(&index, 0).unwrap()
}

/// Waits until these nodes, and no others, are members of one view at each of them.
fn wait_for_members(cluster: &Cluster, members: &[u16]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        // A node that is just being started does not answer yet.
        let status = |node: &u16| cluster.node(*node).request(&json!({"request": "status"})).unwrap_or_default();
        let views: Vec<Value> = members.iter().map(|node| status(node)["view"].clone()).collect();
        let is_it = |view: &Value| {
            view["members"] == serde_json::json!(members)
                && view["quorate"] == true
                && view["number"] == views[0]["number"]
        };
        if views.iter().all(is_it) {
            return;
        }
        assert!(Instant::now() < deadline, "no view of {members:?}: {views:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_for_installed(cluster: &Cluster, place: usize, nodes: &[u16]) {
    for node in nodes {
        let installed = |event: &Event| event.node() == u64::from(*node) && event.id() == CONFIG_INSTALLED;
        cluster.events().wait_for(place, Duration::from_secs(20), "9019 at each member", installed).unwrap();
    }
}

#[test]
fn keys_are_rotated_in_three_passes_without_a_loss() {
    let mut cluster = three_up(INTERVAL);
    let nodes = [1, 2, 3];
    let directory = cluster.node(1).files().directory.parent().unwrap().to_owned();
    let second = directory.join("second.key");
    heartbeat_user::keys::Secret::generate().unwrap().write_new(&second).unwrap();
    let first = format!("[[cluster.key]]\nid = 1\nfile = \"{}\"\n", directory.join("secret.key").display());
    let both = format!("{first}[[cluster.key]]\nid = 2\nfile = \"{}\"\n", second.display());
    let only = format!("[[cluster.key]]\nid = 2\nfile = \"{}\"\n", second.display());
    let place = cluster.events().len();
    let incarnations = nodes.map(|node| incarnation(&cluster, node));
    let before = nodes.map(|node| refused(&cluster, node));
    for (from, to, words) in [
        (first.as_str(), both.as_str(), "key 2 is accepted"),
        ("send_key = 1", "send_key = 2", "key 2 is sent with"),
        (&both, &only, "key 1 is not accepted any more"),
    ] {
        for node in nodes {
            edit_config(&cluster, node, from, to);
        }
        for answer in reload(&cluster, &nodes) {
            assert_eq!(answer.id(), CONFIG_RELOADED, "{}", answer.value());
            assert_eq!(answer.detail()["changes"], serde_json::json!([words]), "{}", answer.value());
        }
        nothing_was_lost(&cluster, place, &nodes);
    }
    assert_eq!(nodes.map(|node| refused(&cluster, node)), before, "no datagram was refused for its key");
    assert_eq!(nodes.map(|node| incarnation(&cluster, node)), incarnations);
    for node in nodes {
        let present = [1, 2].map(|slot| element::<KeyRecord>(&cluster, node, "KEYS", slot).present);
        assert_eq!(present, [0, 1], "node {node}");
    }
    // Control messages go with the new key as well: a leave is told, not found out.
    let place = cluster.events().len();
    assert!(cluster.node_mut(3).terminate().unwrap().success());
    for peer in [1, 2] {
        let left = |event: &Event| event.id() == NODE_LEFT && event.node() == peer && event.peer() == Some(3);
        cluster.events().wait_for(place, PATIENCE, "9006 at each peer", left).unwrap();
    }
}

#[test]
fn a_file_that_is_wrong_changes_nothing_and_says_why() {
    let cluster = three_up(INTERVAL);
    let place = cluster.events().len();
    let path = cluster.node(2).files().config();
    let good = fs::read_to_string(&path).unwrap();
    let before = (incarnation(&cluster, 2), status(&cluster, 2)["node"]["config_digest"].clone());
    for (from, to, words) in [
        ("[timing]", "[timing", "heartbeat.toml:"),
        ("interval = \"100ms\"", "interval = \"100 parsecs\"", "[timing] interval"),
        ("name = \"demo\"", "name = \"other\"", "[cluster] name"),
        ("node = \"bravo\"", "node = \"bravo\"\nrt_priority = 61", "[local] rt_priority"),
        ("secret.key", "absent.key", "absent.key"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(&path, good.replace(from, to)).unwrap();
        let answer = &reload(&cluster, &[2])[0];
        assert_eq!(answer.id(), CONFIG_REFUSED, "{to}: {}", answer.value());
        assert!(answer.text().contains(words), "{words}: {}", answer.value());
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(reload(&cluster, &[2])[0].id(), CONFIG_REFUSED);
    fs::write(&path, &good).unwrap();
    let answer = &reload(&cluster, &[2])[0];
    assert!(answer.text().contains("it says what it said before"), "{}", answer.value());
    nothing_was_lost(&cluster, place, &[1, 2, 3]);
    assert_eq!((incarnation(&cluster, 2), status(&cluster, 2)["node"]["config_digest"].clone()), before);
}

/// The table of a node in a configuration, as it is written by the tests.
fn table_of(text: &str, node: u16) -> String {
    let begin = text.find(&format!("[[node]]\nid = {node}\n")).unwrap();
    let end = text[begin..].find("\n\n").unwrap() + begin + 2;
    text[begin..end].to_owned()
}

/// Every node's configuration, with and without the fourth node.
fn with_and_without_the_fourth(cluster: &Cluster) -> Vec<(String, String)> {
    [1, 2, 3, 4]
        .map(|node| {
            let with = fs::read_to_string(cluster.node(node).files().config()).unwrap();
            let without = with.replace(&table_of(&with, 4), "");
            assert!(!without.contains(&node_name(4)) || node == 4, "{without}");
            (with, without)
        })
        .into()
}

#[test]
fn a_node_is_added_and_removed_without_a_loss() {
    let mut cluster = prepared(TopologySpec::new(4, 2), &spec(INTERVAL));
    let texts = with_and_without_the_fourth(&cluster);
    let old = [1, 2, 3];
    let write = |cluster: &Cluster, node: u16, fourth: bool| {
        let (with, without) = &texts[usize::from(node) - 1];
        fs::write(cluster.node(node).files().config(), if fourth { with } else { without }).unwrap();
    };
    for node in old {
        write(&cluster, node, false);
        cluster.start_node(node, &[]).unwrap();
    }
    wait_for_members(&cluster, &old);
    // What came before the first view is over.
    nothing_was_lost(&cluster, cluster.events().len(), &old);

    let place = cluster.events().len();
    for node in old {
        write(&cluster, node, true);
    }
    for answer in reload(&cluster, &old) {
        assert!(answer.detail()["staged"].is_string(), "{}", answer.value());
    }
    wait_for_installed(&cluster, place, &old);
    cluster.start_node(4, &[]).unwrap();
    wait_for_members(&cluster, &[1, 2, 3, 4]);
    nothing_was_lost(&cluster, place, &[1, 2, 3, 4]);
    let digests: Vec<Value> =
        [1, 2, 3, 4].into_iter().map(|node| status(&cluster, node)["node"]["config_digest"].clone()).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");

    let place = cluster.events().len();
    assert!(cluster.node_mut(4).terminate().unwrap().success());
    wait_for_members(&cluster, &old);
    for node in old {
        write(&cluster, node, false);
    }
    reload(&cluster, &old);
    wait_for_installed(&cluster, place, &old);
    nothing_was_lost(&cluster, place, &old);
    for node in old {
        assert_eq!(status(&cluster, node)["nodes"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn new_times_hold_once_all_have_them_and_not_before() {
    let cluster = three_up(INTERVAL);
    let place = cluster.events().len();
    let view = status(&cluster, 1)["view"]["number"].clone();
    for node in [1, 2, 3] {
        edit_config(&cluster, node, "interval = \"100ms\"", "interval = \"150ms\"\nlost_after = 8");
    }
    for answer in reload(&cluster, &[1, 2]) {
        assert!(answer.text().contains("waits until all members have it"), "{}", answer.value());
    }
    let staged = |event: &Event| event.id() == CONFIG_STAGED && event.node() == 2;
    cluster.events().wait_for(place, PATIENCE, "9018", staged).unwrap();
    // Half of the nodes have it, for many times as long as a regroup takes.
    std::thread::sleep(20 * INTERVAL);
    nothing_was_lost(&cluster, place, &[1, 2, 3]);
    assert_eq!(status(&cluster, 1)["view"]["number"], view);
    let early = cluster.events().since(place).iter().filter(|event| event.id() == CONFIG_INSTALLED).count();
    assert_eq!(early, 0);

    reload(&cluster, &[3]);
    wait_for_installed(&cluster, place, &[1, 2, 3]);
    nothing_was_lost(&cluster, place, &[1, 2, 3]);
    // Longer than the times of both take to be over.
    std::thread::sleep(20 * INTERVAL);
    nothing_was_lost(&cluster, place, &[1, 2, 3]);
    let timing = element::<TimingRecord>(&cluster, 2, "TIMING", 0);
    assert_eq!((timing.interval_ns, timing.silent_ns), (150_000_000, 8 * 150_000_000 + 18_750_000));
    let before = pinned::link(&cluster, 1, 2, 1);
    let begin = Instant::now();
    pinned::wait_for_heartbeats(&cluster, 1, (2, 1), &before, 10, PATIENCE);
    assert!(begin.elapsed() >= Duration::from_millis(1_200), "ten heartbeats took {:?}", begin.elapsed());
}

/// The metronome keeps the pace that it was made for: it stops, is told to have stopped, and the thread sends.
#[test]
fn new_times_stop_the_metronome_and_the_thread_takes_over() {
    let cluster = up(TopologySpec::new(2, 1), &ClusterSpec { sender: Some("metronome".to_owned()), ..spec(INTERVAL) });
    for node in [1, 2] {
        wait_for_metronome(&cluster, node);
        edit_config(&cluster, node, "interval = \"100ms\"", "interval = \"150ms\"\nlost_after = 8");
    }
    let place = cluster.events().len();
    reload(&cluster, &[1, 2]);
    wait_for_installed(&cluster, place, &[1, 2]);
    for node in [1, 2] {
        let told = |event: &Event| {
            event.node() == u64::from(node) && event.id() == DATAPLANE_DEGRADED && event.text().contains("has changed")
        };
        cluster.events().wait_for(place, PATIENCE, "9003 of the metronome", told).unwrap();
        wait(&cluster, node, "the thread sends", |status| {
            let sender = &status["sender"];
            sender["engine"] == "realtime" && sender["why"].as_str().is_some_and(|why| why.contains("has changed"))
        });
    }
    nothing_was_lost(&cluster, place, &[1, 2]);
}

#[test]
fn what_was_staged_can_be_taken_back() {
    let mut cluster = prepared(TopologySpec::new(3, 1), &spec(INTERVAL));
    start_all(&mut cluster);
    let place = cluster.events().len();
    edit_config(&cluster, 1, "interval = \"100ms\"", "interval = \"200ms\"");
    reload(&cluster, &[1]);
    edit_config(&cluster, 1, "interval = \"200ms\"", "interval = \"100ms\"");
    let answer = &reload(&cluster, &[1])[0];
    assert!(answer.text().contains("taken back") && answer.detail()["staged"].is_null(), "{}", answer.value());
    nothing_was_lost(&cluster, place, &[1, 2, 3]);
}
