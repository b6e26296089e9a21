//! What the event logs of all nodes together cannot say, whatever happens to the nodes.

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_tests::events::Event;

const NODE_REMOVED: u64 = 1135;
const VIEW_INSTALLED: u64 = 9007;
const REMOVAL_SAFE: u64 = 9008;

/// Two sets of members for one number of a view, a node in a view without itself, and a removal that is called safe by
/// nobody who removed.
#[must_use]
pub fn contradictions(events: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    let mut views: BTreeMap<u64, (u64, BTreeSet<u64>)> = BTreeMap::new();
    let mut removed = BTreeSet::new();
    for event in events {
        match event.id() {
            VIEW_INSTALLED => {
                let Some(number) = event.value()["view"].as_u64() else { continue };
                let members = event.detail()["members"].as_array().into_iter().flatten();
                let members: BTreeSet<u64> = members.filter_map(serde_json::Value::as_u64).collect();
                if !members.contains(&event.node()) {
                    found.push(format!("node {} installed view {number} of {members:?}", event.node()));
                }
                let (first, known) = views.entry(number).or_insert_with(|| (event.node(), members.clone()));
                if *known != members {
                    found.push(format!(
                        "view {number} has members {known:?} by node {first} and {members:?} by node {}",
                        event.node()
                    ));
                }
            }
            NODE_REMOVED => {
                removed.insert((event.node(), event.peer()));
            }
            REMOVAL_SAFE if !removed.contains(&(event.node(), event.peer())) => {
                found.push(format!("node {} calls node {:?} safe, and never removed it", event.node(), event.peer()));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(id: u64, node: u64, more: Value) -> Event {
        let mut line = json!({"id": id, "node": node, "mono_ns": 1});
        for (name, value) in more.as_object().into_iter().flatten() {
            line[name] = value.clone();
        }
        Event::from_value(line).expect("an event")
    }

    fn view(node: u64, number: u64, members: &[u64]) -> Event {
        event(VIEW_INSTALLED, node, json!({"view": number, "detail": {"members": members}}))
    }

    #[test]
    fn what_cannot_be_is_found_and_what_can_is_not() {
        let peer = |id, node, peer| event(id, node, json!({"peer": peer}));
        let good = [view(1, 4, &[1, 2]), view(2, 4, &[1, 2]), peer(NODE_REMOVED, 1, 3), peer(REMOVAL_SAFE, 1, 3)];
        assert_eq!(contradictions(&good), Vec::<String>::new());
        for (bad, words) in [
            ([view(1, 4, &[1, 2]), view(3, 4, &[3])], "view 4 has members"),
            ([view(1, 4, &[2, 3]), view(2, 4, &[2, 3])], "node 1 installed view 4"),
            ([peer(NODE_REMOVED, 2, 3), peer(REMOVAL_SAFE, 1, 3)], "never removed it"),
        ] {
            let found = contradictions(&bad);
            assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
        }
    }
}
