//! Clients that crowd, clients that do not read, hooks that hang: of a node whose cluster must not notice.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use heartbeat_tests::{
    cluster::Cluster,
    events::{Event, LINK_LOST, LINK_RESTORED},
    topology::TopologySpec,
};

use crate::{
    nodes::{PATIENCE, edit_config, links_of, prepared, spec, start_all, status, three_up},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
const CLIENTS: usize = 1_000;
const STORAGE_FAILING: u64 = 9031;
const STORAGE_RESTORED: u64 = 9032;

fn metric(cluster: &Cluster, node: u16, line: &str) -> f64 {
    let answer = cluster.node(node).request(&serde_json::json!({"request": "metrics"})).unwrap();
    let text = answer.as_str().unwrap_or_else(|| panic!("no metrics in {answer}"));
    let found = text.lines().find_map(|shown| shown.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{line} is not in\n{text}")).parse().unwrap()
}

/// Nothing was lost since `place`, while heartbeats went on.
fn nothing_was_lost(cluster: &Cluster, place: usize) {
    let before = pinned::link(cluster, 2, 1, 1);
    pinned::wait_for_heartbeats(cluster, 2, (1, 1), &before, 5, PATIENCE);
    let lost = links_of(&cluster.events().since(place), LINK_LOST);
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn a_thousand_clients_and_some_that_never_read_disturb_nobody() {
    let cluster = three_up(INTERVAL);
    let place = cluster.events().len();
    let socket = cluster.node(1).files().socket();
    let mut held = Vec::new();
    let mut turned_away = 0;
    for _ in 0..CLIENTS {
        // A full queue of the socket refuses as well.
        let Ok(mut client) = UnixStream::connect(&socket) else {
            turned_away += 1;
            continue;
        };
        // They ask for much, and read none of it.
        let _closed = client.write_all(b"{\"v\":1,\"request\":\"metrics\"}\n".repeat(200).as_slice());
        held.push(client);
    }
    let deadline = Instant::now() + PATIENCE;
    // Who does not read is cut off after 5 s; then there is room again.
    let answer = loop {
        match cluster.node(1).request(&serde_json::json!({"request": "status"})) {
            Ok(answer) if answer["view"]["quorate"] == true => break answer,
            Ok(_) | Err(_) => assert!(Instant::now() < deadline, "no room for one client within {PATIENCE:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(answer["node"]["id"], 1);
    let refused = metric(&cluster, 1, "heartbeat_api_clients_total{result=\"refused\"}");
    let slow = metric(&cluster, 1, "heartbeat_api_clients_total{result=\"slow\"}");
    println!("{refused} refused, {slow} cut off for not reading, {turned_away} not connected");
    assert!(refused >= 100.0 && slow >= 1.0, "{refused} {slow}");
    drop(held);
    nothing_was_lost(&cluster, place);
}

#[test]
fn a_hook_that_hangs_is_ended_and_holds_up_nobody() {
    let mut cluster = prepared(TopologySpec::new(3, 2), &spec(INTERVAL));
    let marks = cluster.node(1).files().directory.join("marks");
    let hook = cluster.node(1).files().directory.join("hook");
    fs::write(&hook, format!("#!/bin/sh\necho begun >> {}\nexec sleep 600\n", marks.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o700)).unwrap();
    edit_config(&cluster, 1, "[local]\n", &format!("[local]\nhooks = {{ on_view = \"{}\" }}\n", hook.display()));
    start_all(&mut cluster);
    let begun = || fs::read_to_string(&marks).unwrap_or_default().lines().count();
    let deadline = Instant::now() + PATIENCE;
    while begun() == 0 {
        assert!(Instant::now() < deadline, "no hook has begun");
        std::thread::sleep(Duration::from_millis(20));
    }
    // While it hangs, events and orders go on.
    let place = cluster.events().len();
    cluster.topology().cut(3, 2).unwrap();
    let by_1 = |id: u64| move |event: &Event| event.id() == id && event.node() == 1 && event.peer() == Some(3);
    cluster.events().wait_for(place, PATIENCE, "1123 while a hook hangs", by_1(LINK_LOST)).unwrap();
    cluster.topology().heal(3, 2).unwrap();
    cluster.events().wait_for(place, PATIENCE, "1122 while a hook hangs", by_1(LINK_RESTORED)).unwrap();
    assert_eq!(status(&cluster, 1)["view"]["quorate"], true);
    // It is ended after 10 s, and the next has its turn.
    assert!(cluster.node_mut(3).terminate().unwrap().success(), "another view");
    let deadline = Instant::now() + Duration::from_secs(30);
    while begun() < 2 {
        assert!(Instant::now() < deadline, "the next hook has not begun");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(metric(&cluster, 1, "heartbeat_hooks_total{hook=\"on_view\",result=\"failed\"}") >= 1.0);
}

#[test]
fn a_state_directory_that_is_removed_is_told_and_made_anew() {
    let cluster = three_up(INTERVAL);
    let began = cluster.events().len();
    let state: PathBuf = cluster.node(1).files().state_directory();
    fs::remove_dir_all(&state).unwrap();
    let is = |id: u64| move |event: &Event| event.id() == id && event.node() == 1;
    let limit = Duration::from_secs(30);
    let failing = cluster.events().wait_for(began, limit, "9031", is(STORAGE_FAILING)).unwrap();
    assert!(failing.text().contains("removed"), "{failing:?}");
    cluster.events().wait_for(began, limit, "9032", is(STORAGE_RESTORED)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = fs::read_to_string(state.join("events.jsonl")).unwrap_or_default();
        if log.contains("storage_restored") {
            break;
        }
        assert!(Instant::now() < deadline, "the event log is not written again: {log}");
        std::thread::sleep(Duration::from_millis(20));
    }
    nothing_was_lost(&cluster, began);
}
