//! A controller that comes back: unnoticed where it may go on, as a new incarnation where it may not, and says which.

use std::{
    collections::BTreeSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use heartbeat_common::{
    ids::link_index,
    records::{NodeRecord, STATE_LATE, VerdictRecord},
};
use heartbeat_tests::{
    cluster::Cluster,
    events::{Event, LINK_LOST, LINK_RESTORED, LOCAL_STALL},
    topology::TopologySpec,
};
use nix::sys::signal::Signal;

use crate::{
    nodes::{
        CONTROLLER_STARTED, NODE_LEFT, PATIENCE, edit_config, incarnation, links_between, links_of, nanoseconds, spec,
        stalls_ns, three_up, up, wait_for_view,
    },
    pinned,
};

/// A node with another configuration is refused.
const CONFIG_DIFFERS: u64 = 9012;
/// Long enough for a controller to start within, on a loaded machine and without optimisation.
const UNNOTICED_INTERVAL: Duration = Duration::from_millis(1500);
const INTERVAL: Duration = Duration::from_millis(200);
/// Long enough for a controller that is missed to be back before its lease has ended.
const MISSED_INTERVAL: Duration = Duration::from_millis(600);

#[test]
fn killed_and_restarted_within_an_interval_is_not_noticed() {
    let mut cluster = three_up(UNNOTICED_INTERVAL);
    // Nodes that were up at once told of what came before the handshakes; that is over.
    std::thread::sleep(UNNOTICED_INTERVAL);
    let place = cluster.events().len();
    let before = incarnation(&cluster, 2);
    let observers = [1_u16, 3];
    let at = |cluster: &Cluster| observers.map(|node| [1_u8, 2].map(|network| pinned::link(cluster, node, 2, network)));
    let links_before = at(&cluster);

    let begin = Instant::now();
    cluster.node_mut(2).kill().unwrap();
    cluster.start_node(2, &[]).unwrap();
    let started = wait_for_start(&cluster, 2, place);
    let took = begin.elapsed();
    assert!(took < UNNOTICED_INTERVAL, "restarting took {took:?}: the machine is too slow for this test");
    assert_eq!(started.detail()["adopted"], true, "{}", started.value());
    assert_eq!(started.detail()["incarnation"].as_u64(), Some(before), "{}", started.value());

    // Three more on each link, of which one at most was sent before the kill.
    for (node, links) in observers.into_iter().zip(links_before) {
        for (network, link) in (1..).zip(links) {
            let limit = 5 * UNNOTICED_INTERVAL;
            let now = pinned::wait_for_heartbeats(&cluster, node, (2, network), &link, 3, limit);
            assert_eq!((now.lost, now.duplicates, now.reordered), (link.lost, link.duplicates, link.reordered));
            assert_eq!((now.incarnation, now.epoch), (link.incarnation, link.epoch));
            assert_eq!(now.unicast.newest - link.unicast.newest, now.received - link.received, "numbers go on");
        }
    }
    assert_eq!(incarnation(&cluster, 2), before);
    let events = cluster.events().since(place);
    let noticed: Vec<_> = events.iter().filter(|event| event.node() != 2 && event.id() != LOCAL_STALL).collect();
    assert!(noticed.is_empty(), "{noticed:#?}");
    let own: Vec<_> = events.iter().filter(|event| [LINK_LOST, LINK_RESTORED].contains(&event.id())).collect();
    assert!(own.is_empty(), "nor does the restarted node report a change: {own:#?}");
}

#[test]
fn restarted_too_late_it_was_missed_and_goes_on() {
    let mut cluster = three_up(MISSED_INTERVAL);
    let before = incarnation(&cluster, 2);
    let place = cluster.events().len();
    cluster.node_mut(2).kill().unwrap();
    let missed = links_from(&[1, 3], 2);
    let is_missed = |events: &[Event]| links_of(events, LINK_LOST) == missed;
    cluster.events().wait_until(place, PATIENCE, "1123 about the killed node", is_missed).unwrap();
    cluster.start_node(2, &[]).unwrap();
    let started = wait_for_start(&cluster, 2, place);
    assert_eq!(started.detail()["adopted"], true, "{}", started.value());
    let is_back = |events: &[Event]| links_of(events, LINK_RESTORED) == missed;
    let events = cluster.events().wait_until(place, PATIENCE, "1122 about it", is_back).unwrap();
    for event in events.iter().filter(|event| event.id() == LINK_RESTORED) {
        assert_eq!(event.detail()["first"], false, "{}", event.value());
        assert_eq!(event.detail()["lost"], 0, "no number was left out: {}", event.value());
        assert_eq!(event.detail()["cause"], "sent-late", "{}", event.value());
        assert_eq!(event.detail()["incarnation"].as_u64(), Some(before), "{}", event.value());
    }
    // Its kernel heard everybody meanwhile.
    std::thread::sleep(3 * MISSED_INTERVAL);
    let events = cluster.events().since(place);
    let own: Vec<_> = links_of(&events, LINK_LOST).into_iter().filter(|(node, _, _)| *node == 2).collect();
    assert!(own.is_empty(), "{own:?}");
}

#[test]
fn what_the_kernel_found_meanwhile_is_told_by_the_next_controller() {
    let mut cluster = three_up(MISSED_INTERVAL);
    cluster.node_mut(1).kill().unwrap();
    let place = cluster.events().len();
    cluster.topology().cut_one_way(1, 2, 1).unwrap();
    wait_for_verdict(&cluster, STATE_LATE);
    cluster.start_node(1, &[]).unwrap();
    assert_eq!(wait_for_start(&cluster, 1, place).detail()["adopted"], true);
    let is = |id| move |event: &Event| event.id() == id && is_from_2_to_1(event);
    cluster.events().wait_for(place, PATIENCE, "1123 of what came before the start", is(LINK_LOST)).unwrap();
    cluster.topology().heal_one_way(1, 2, 1).unwrap();
    cluster.events().wait_for(place, PATIENCE, "1122 after the healing", is(LINK_RESTORED)).unwrap();
    is_told_once(&cluster, place);
}

#[test]
fn a_link_that_was_late_before_is_not_told_of_again_until_it_is_back() {
    let mut cluster = three_up(MISSED_INTERVAL);
    let place = cluster.events().len();
    cluster.topology().cut_one_way(1, 2, 1).unwrap();
    let is = |id| move |event: &Event| event.id() == id && is_from_2_to_1(event);
    cluster.events().wait_for(place, PATIENCE, "1123 before the kill", is(LINK_LOST)).unwrap();
    cluster.node_mut(1).kill().unwrap();
    cluster.start_node(1, &[]).unwrap();
    assert_eq!(wait_for_start(&cluster, 1, place).detail()["adopted"], true);
    // Were it told again, it would be by now.
    std::thread::sleep(3 * MISSED_INTERVAL);
    cluster.topology().heal_one_way(1, 2, 1).unwrap();
    cluster.events().wait_for(place, PATIENCE, "1122 after the healing", is(LINK_RESTORED)).unwrap();
    is_told_once(&cluster, place);
}

#[test]
fn new_timeouts_judge_after_a_restart_of_all() {
    let mut cluster = three_up(INTERVAL);
    for node in [1, 2, 3] {
        cluster.node_mut(node).kill().unwrap();
        edit_config(&cluster, node, "interval = \"200ms\"", "interval = \"200ms\"\nlate_after = 4");
    }
    for node in [1, 2, 3] {
        cluster.start_node(node, &[]).unwrap();
    }
    wait_for_view(&cluster);
    let place = cluster.events().len();
    cluster.topology().cut(1, 1).unwrap();
    let lost = |events: &[Event]| links_of(events, LINK_LOST) == links_between(1, &[1, 2, 3], "private");
    let events = cluster.events().wait_until(place, PATIENCE, "1123 on the links that were cut", lost).unwrap();
    let stalled_ns = stalls_ns(&cluster.events().since(place));
    for event in events.iter().filter(|event| event.id() == LINK_LOST) {
        let field = |name: &str| event.detail()[name].as_u64().unwrap();
        let timeout_ns = nanoseconds(4 * INTERVAL + INTERVAL / 8);
        let waited_ns = field("deadline_ns") - field("stamp_ns");
        assert!((timeout_ns..=timeout_ns + stalled_ns).contains(&waited_ns), "{}", event.value());
    }
}

#[test]
fn after_an_orderly_leave_it_is_a_new_incarnation() {
    let mut cluster = three_up(INTERVAL);
    let before = incarnation(&cluster, 2);
    let place = cluster.events().len();
    let status = cluster.node_mut(2).terminate().unwrap();
    assert!(status.success(), "{status}");
    for peer in [1, 3] {
        let left = |event: &Event| event.id() == NODE_LEFT && event.node() == peer && event.peer() == Some(2);
        let left = cluster.events().wait_for(place, PATIENCE, "9006 at each peer", left).unwrap();
        assert_eq!(left.detail()["incarnation"].as_u64(), Some(before), "{}", left.value());
    }
    // Who has left is not missed: longer than it takes to be late.
    std::thread::sleep(4 * INTERVAL);
    let events = cluster.events().since(place);
    assert!(links_of(&events, LINK_LOST).is_empty(), "it left, it was not lost");
    assert_eq!(events.iter().filter(|event| event.id() == NODE_LEFT).count(), 2, "each peer says so once");
    is_gone(&cluster, 2);

    let place = cluster.events().len();
    cluster.start_node(2, &[]).unwrap();
    let started = wait_for_start(&cluster, 2, place);
    assert_eq!(started.detail()["adopted"], false, "{}", started.value());
    assert!(started.detail()["why_new"].is_null(), "nothing was left to keep: {}", started.value());
    wait_for_contact(&cluster, 2, place);
    assert!(incarnation(&cluster, 2) > before);
    let events = cluster.events().since(place);
    let lost = links_of(&events, LINK_LOST);
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn an_interrupt_leaves_too_and_a_hangup_does_not() {
    let mut cluster = three_up(INTERVAL);
    let place = cluster.events().len();
    cluster.node(3).signal(Signal::SIGHUP).unwrap();
    let before = pinned::link(&cluster, 1, 3, 1);
    pinned::wait_for_heartbeats(&cluster, 1, (3, 1), &before, 3, PATIENCE);
    cluster.node(3).signal(Signal::SIGINT).unwrap();
    let status = cluster.node_mut(3).wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
    for peer in [1, 2] {
        let left = |event: &Event| event.id() == NODE_LEFT && event.node() == peer && event.peer() == Some(3);
        cluster.events().wait_for(place, PATIENCE, "9006 at each peer", left).unwrap();
    }
    is_gone(&cluster, 3);
}

/// Nothing of a node is attached or pinned, and its control socket is removed.
fn is_gone(cluster: &Cluster, node: u16) {
    for interface in ["private", "public"] {
        let show = ["link", "show", interface];
        let shown = cluster.topology().node(node).command("ip").unwrap().args(show).output().unwrap();
        assert!(shown.status.success() && !String::from_utf8_lossy(&shown.stdout).contains("xdp"), "{shown:?}");
    }
    let files = cluster.node(node).files();
    assert!(!files.bpf_directory.exists(), "{}", files.bpf_directory.display());
    assert!(!files.socket().exists(), "{}", files.socket().display());
}

#[test]
fn another_configuration_is_a_new_incarnation_and_says_so() {
    let mut cluster = three_up(INTERVAL);
    let place = cluster.events().len();
    let started =
        starts_again(&mut cluster, |cluster| edit_config(cluster, 2, "interval = \"200ms\"", "interval = \"210ms\""));
    is_new(&started, "the configuration of the cluster has changed");
    for peer in [1, 3] {
        let refused = |event: &Event| event.id() == CONFIG_DIFFERS && event.node() == peer && event.peer() == Some(2);
        cluster.events().wait_for(place, PATIENCE, "9012 at each peer", refused).unwrap();
    }
    // With the configuration of the others it comes back.
    comes_back(&mut cluster, |cluster| edit_config(cluster, 2, "interval = \"210ms\"", "interval = \"200ms\""));
}

#[test]
fn another_abi_is_a_new_incarnation_and_says_so() {
    let mut cluster = three_up(INTERVAL);
    let started = comes_back(&mut cluster, |cluster| {
        let node = pinned::node(cluster, 2);
        let record = node.read(0).unwrap();
        node.write(0, &NodeRecord { abi: record.abi + 1, ..record });
    });
    is_new(&started, "ABI version");
}

#[test]
fn another_boot_is_a_new_incarnation_and_says_so() {
    let mut cluster = three_up(INTERVAL);
    let started = comes_back(&mut cluster, |cluster| {
        let node = pinned::node(cluster, 2);
        let offset = std::mem::offset_of!(NodeRecord, boot_id);
        node.word(0, offset).unwrap().fetch_xor(1, Ordering::Relaxed);
    });
    is_new(&started, "the machine has booted since");
}

#[test]
fn without_xdp_it_is_a_new_incarnation_and_hears_its_peers() {
    let mut cluster = three_up(INTERVAL);
    let started = comes_back(&mut cluster, |cluster| {
        edit_config(cluster, 2, "node = \"bravo\"", "node = \"bravo\"\ndataplane = \"socket\"");
    });
    is_new(&started, "its maps cannot be used without XDP");
    assert!(!pinned::path(&cluster, 2, "NODE").exists());
}

#[test]
fn another_network_namespace_is_a_new_incarnation_and_says_so() {
    let topology = TopologySpec::new(3, 2);
    let mut cluster = up(topology, &spec(INTERVAL));
    let before = incarnation(&cluster, 2);
    cluster.node_mut(2).kill().unwrap();
    cluster.node_mut(3).kill().unwrap();
    // Node 3's namespace gets node 2's pins: its configuration names node 2's `bpf_dir`.
    let (own, other) = (bpf_directory(&cluster, 3), bpf_directory(&cluster, 2));
    edit_config(&cluster, 3, &own, &other);
    let place = cluster.events().len();
    cluster.start_node(3, &[]).unwrap();
    let started = wait_for_start(&cluster, 3, place);
    is_new(&started, "they belong to another network namespace");
    assert!(started.detail()["incarnation"].as_u64().unwrap() > before);
}

/// Links from each of `nodes` to a peer, on both networks.
fn links_from(nodes: &[u64], peer: u64) -> BTreeSet<(u64, u64, String)> {
    let networks = ["private", "public"].map(str::to_owned);
    nodes.iter().flat_map(|node| networks.clone().map(|network| (*node, peer, network))).collect()
}

fn is_from_2_to_1(event: &Event) -> bool {
    (event.node(), event.peer(), event.network()) == (1, Some(2), Some("private"))
}

/// One 1123 and one 1122 of the link from node 2 to node 1, and of no other at either of them.
fn is_told_once(cluster: &Cluster, place: usize) {
    // What should not be there gets the time to come.
    std::thread::sleep(3 * MISSED_INTERVAL);
    let events = cluster.events().since(place);
    let of_node_1 = |id| events.iter().filter(|event| event.node() == 1 && event.id() == id).collect::<Vec<_>>();
    for id in [LINK_LOST, LINK_RESTORED] {
        let told = of_node_1(id);
        assert!(told.len() == 1 && is_from_2_to_1(told[0]), "{id}: {told:#?}");
    }
}

/// Waits until the kernel of node 1 has judged its link to node 2 on the first network.
fn wait_for_verdict(cluster: &Cluster, state: u32) {
    let verdicts = pinned::open::<VerdictRecord>(cluster, 1, "VERDICTS");
    let deadline = Instant::now() + PATIENCE;
    while verdicts.read(link_index(2, 1)).unwrap().state != state {
        assert!(Instant::now() < deadline, "no verdict {state}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn bpf_directory(cluster: &Cluster, node: u16) -> String {
    cluster.node(node).files().bpf_directory.display().to_string()
}

/// Kills node 2, changes something, and starts it again: what it says of its start, once its peers hear it.
fn comes_back(cluster: &mut Cluster, change: impl FnOnce(&Cluster)) -> Event {
    let place = cluster.events().len();
    let started = starts_again(cluster, change);
    wait_for_contact(cluster, 2, place);
    started
}

/// The same, whatever its peers think of it.
fn starts_again(cluster: &mut Cluster, change: impl FnOnce(&Cluster)) -> Event {
    let before = incarnation(cluster, 2);
    cluster.node_mut(2).kill().unwrap();
    change(cluster);
    let place = cluster.events().len();
    cluster.start_node(2, &[]).unwrap();
    let started = wait_for_start(cluster, 2, place);
    assert!(started.detail()["incarnation"].as_u64().unwrap() > before, "{}", started.value());
    started
}

fn is_new(started: &Event, why: &str) {
    assert_eq!(started.detail()["adopted"], false, "{}", started.value());
    assert!(started.text().contains(why), "{}", started.value());
    assert!(started.detail()["why_new"].as_str().unwrap().contains(why), "{}", started.value());
}

fn wait_for_start(cluster: &Cluster, node: u64, place: usize) -> Event {
    let is_start = |event: &Event| event.node() == node && event.id() == CONTROLLER_STARTED;
    cluster.events().wait_for(place, PATIENCE, "9011", is_start).unwrap()
}

/// Both sides of every link of a node report contact.
fn wait_for_contact(cluster: &Cluster, node: u64, place: usize) {
    let wanted: Vec<_> =
        ["private", "public"].into_iter().flat_map(|network| links_between(node, &[1, 2, 3], network)).collect();
    let made = |events: &[Event]| {
        let restored = links_of(events, LINK_RESTORED);
        wanted.iter().all(|link| restored.contains(link))
    };
    cluster.events().wait_until(place, PATIENCE, "1122 on both sides of every link", made).unwrap();
}
