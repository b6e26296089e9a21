//! Others on the same network who speak the protocol: they are refused, told of, and change nothing.

use std::{fs, time::Duration};

use heartbeat_tests::{
    cluster::Cluster,
    events::{Event, LINK_LOST, LINK_RESTORED},
    topology::TopologySpec,
};

use crate::nodes::{PATIENCE, REJECT_BURST, edit_config, links_between, links_of, prepared, spec, status};

const INTERVAL: Duration = Duration::from_millis(100);

/// Node 3 of three is a stranger to the others, for `reason`.
fn is_refused(cluster: &mut Cluster, reason: &str) {
    for node in [1, 2, 3] {
        cluster.start_node(node, &[]).unwrap();
    }
    let friends = ["private", "public"].into_iter().flat_map(|network| links_between(1, &[1, 2], network));
    let friends: Vec<_> = friends.collect();
    let up = |events: &[Event]| friends.iter().all(|link| links_of(events, LINK_RESTORED).contains(link));
    cluster.events().wait_until(0, PATIENCE, "1122 among the two", up).unwrap();
    for node in [1, 2] {
        let told =
            |event: &Event| event.id() == REJECT_BURST && event.node() == node && event.detail()["reason"] == reason;
        cluster.events().wait_for(0, PATIENCE, "9004 at each of the two", told).unwrap();
    }
    let events = cluster.events().since(0);
    let about_links: Vec<_> = events.iter().filter(|event| [LINK_RESTORED, LINK_LOST].contains(&event.id())).collect();
    assert_eq!(about_links.len(), friends.len(), "{about_links:#?}");
    let shown = status(cluster, 1);
    let strangers = shown["links"].as_array().unwrap().iter().filter(|link| link["peer"] == 3);
    for link in strangers {
        assert_eq!((&link["state"], &link["received"]), (&"init".into(), &0.into()), "{link}");
    }
    for (name, count) in shown["rejects"].as_object().unwrap() {
        let count = count.as_u64().unwrap();
        assert!(if name == reason { count > 0 } else { count == 0 || name == "wrong_incarnation" }, "{shown}");
    }
}

#[test]
fn a_node_with_another_secret() {
    let mut cluster = prepared(TopologySpec::new(3, 2), &spec(INTERVAL));
    let key = cluster.topology().prefix().directory().join("secret.key");
    let other = key.with_file_name("other.key");
    fs::copy(&key, &other).unwrap();
    let secret = fs::read_to_string(&key).unwrap();
    let flipped: String = secret.trim().chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    fs::write(&other, flipped).unwrap();
    edit_config(&cluster, 3, &key.display().to_string(), &other.display().to_string());
    is_refused(&mut cluster, "bad_tag");
}

#[test]
fn a_node_of_another_cluster() {
    let mut cluster = prepared(TopologySpec::new(3, 2), &spec(INTERVAL));
    edit_config(&cluster, 3, "name = \"demo\"", "name = \"other\"");
    is_refused(&mut cluster, "cluster");
}
