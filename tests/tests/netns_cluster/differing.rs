//! A node whose configuration is not that of the others: it is kept out, and both digests are named.

use std::time::Duration;

use heartbeat_tests::{cluster::Cluster, events::Event};

use crate::{
    nodes::{PATIENCE, edit_config, status, three_up},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
/// 9012: a node runs another configuration.
const CONFIG_DIFFERS: u64 = 9012;

#[test]
fn another_configuration_is_refused_with_both_digests() {
    let mut cluster = three_up(INTERVAL);
    let digest = |cluster: &Cluster, node| status(cluster, node)["node"]["config_digest"].clone();
    let ours = digest(&cluster, 1);
    assert!(cluster.node_mut(3).terminate().unwrap().success());
    edit_config(&cluster, 3, "interval = \"100ms\"", "interval = \"100ms\"\nlate_after = 3");
    let place = cluster.events().len();
    let incarnations = [1, 2].map(|node| status(&cluster, node)["node"]["incarnation"].clone());
    cluster.start_node(3, &[]).unwrap();
    let differs = |on: u64, about: u64| {
        move |event: &Event| event.id() == CONFIG_DIFFERS && event.node() == on && event.peer() == Some(about)
    };
    let told = [(1, 3), (2, 3), (3, 1), (3, 2)].map(|(on, about)| {
        cluster.events().wait_for(place, PATIENCE, "9012 on both sides", differs(on, about)).unwrap()
    });
    let theirs = digest(&cluster, 3);
    assert_ne!(ours, theirs);
    for event in &told {
        let detail = event.detail();
        let expected = if event.node() == 3 { (&theirs, &ours) } else { (&ours, &theirs) };
        assert_eq!((&detail["ours"], &detail["theirs"]), expected, "{}", event.value());
        let both = [&ours, &theirs].map(|digest| digest.as_str().unwrap());
        assert!(both.iter().all(|digest| event.text().contains(digest)), "{}", event.value());
    }

    // It asks again and again, and is told of once a minute at most.
    let link = pinned::link(&cluster, 1, 2, 1);
    pinned::wait_for_heartbeats(&cluster, 1, (2, 1), &link, 20, PATIENCE);
    let events = cluster.events().since(place);
    for (on, about) in [(1, 3), (2, 3)] {
        let count = events.iter().filter(|event| differs(on, about)(event)).count();
        assert_eq!(count, 1, "on node {on}");
    }
    for node in [1, 2] {
        let shown = status(&cluster, node);
        assert_eq!(shown["view"]["members"], serde_json::json!([1, 2]), "{}", shown["view"]);
        assert_eq!(shown["view"]["quorate"], true, "{}", shown["view"]);
        assert_eq!(shown["node"]["incarnation"], incarnations[usize::from(node) - 1]);
        let other = shown["nodes"].as_array().unwrap().iter().find(|other| other["id"] == 3).unwrap();
        assert_eq!(other["config_differs"], true, "{other}");
    }
    assert_eq!(status(&cluster, 3)["view"]["members"], serde_json::json!([]), "it is in no view");
}
