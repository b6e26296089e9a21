//! Nodes whose heartbeats the kernel paces and sends: what peers hear of them when their controller stands still, dies,
//! comes back, or leaves, and when the packet is lost.

use std::time::{Duration, Instant};

use heartbeat_common::{
    metronome::{MetronomeBooks, TargetRecord},
    records::LinkRecord,
    wire::FLAG_METRONOME,
};
use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST, LINK_RESTORED, LOCAL_STALL},
    topology::TopologySpec,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    interfaces::attachment,
    nodes::{
        CONTROLLER_STARTED, DATAPLANE_DEGRADED, PATIENCE, QUORUM_LOST, edit_config, incarnation, link, prepared, spec,
        start_all, status, up, wait_for_view,
    },
    pinned::{self, bpftool},
};

const INTERVAL: Duration = Duration::from_millis(50);
/// 1135: a node was removed.
const NODE_REMOVED: u64 = 1135;
/// 9002: a peer's kernel beats, its controller does not.
const CONTROLLER_HUNG: u64 = 9002;
/// 9009: the lease has ended.
const SUSPENDED: u64 = 9009;

fn metronome() -> ClusterSpec {
    ClusterSpec { sender: Some("metronome".to_owned()), hang_timeout: Some("2s".to_owned()), ..spec(INTERVAL) }
}

/// Two nodes, both heard, and both served by their metronome alone.
fn beating(spec: &ClusterSpec, topology: TopologySpec) -> Cluster {
    let cluster = up(topology, spec);
    for node in cluster.topology().node_ids() {
        wait_for_metronome(&cluster, node);
    }
    cluster
}

fn pair() -> Cluster {
    beating(&metronome(), TopologySpec::new(2, 1))
}

/// Waits until the metronome beats, and knows where every peer is.
pub(crate) fn wait_for_metronome(cluster: &Cluster, node: u16) {
    let targets = pinned::open::<TargetRecord>(cluster, node, "TARGETS");
    let peers = cluster.topology().node_ids().count() - 1;
    wait(cluster, node, "its metronome beats", |status| {
        let known = (0..).map_while(|position| targets.read(position)).filter(|target| target.ifindex != 0).count();
        status["sender"]["engine"] == "metronome" && known >= peers * cluster.topology().network_ids().count()
    });
}

pub(crate) fn wait(cluster: &Cluster, node: u16, what: &str, fits: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(cluster, node);
        if fits(&status) {
            return;
        }
        assert!(Instant::now() < deadline, "node {node}: {what}: {:#} {:#}", status["sender"], status["counters"]);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn books(cluster: &Cluster, node: u16) -> MetronomeBooks {
    pinned::open::<MetronomeBooks>(cluster, node, "METRONOME_BOOKS").read(0).unwrap()
}

fn counter(cluster: &Cluster, node: u16, name: &str) -> u64 {
    status(cluster, node)["counters"][name].as_u64().unwrap()
}

/// `ip` in the namespace of node 1.
fn ip(cluster: &Cluster, arguments: &str) -> String {
    let mut command = cluster.topology().node(1).command("ip").unwrap();
    let output = command.args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Names of the metronome's devices at node 1, without what they are tied to.
fn devices(cluster: &Cluster) -> Vec<String> {
    let listing = ip(cluster, "-o link show");
    let names = listing.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next());
    names.filter(|name| name.starts_with("hbm")).map(ToOwned::to_owned).collect()
}

fn upper(cluster: &Cluster) -> String {
    devices(cluster).into_iter().find(|name| name.ends_with('u')).unwrap()
}

/// Events of these numbers that node 2 reports about node 1.
fn about_node_1(events: &[Event], ids: &[u64]) -> Vec<Value> {
    let about = |event: &&Event| event.node() == 2 && event.peer() == Some(1) && ids.contains(&event.id());
    events.iter().filter(about).map(|event| event.value().clone()).collect()
}

/// How long this machine itself stood still: a virtual processor that is taken away stops the metronome as well.
fn machine_stood_still(events: &[Event]) -> bool {
    events.iter().any(|event| event.id() == LOCAL_STALL && event.detail()["source"] != "controller")
}

/// Nobody missed node 1, unless the machine stood still, which is told.
fn assert_not_missed(events: &[Event]) {
    let missed = about_node_1(events, &[LINK_LOST, NODE_REMOVED]);
    assert!(missed.is_empty() || machine_stood_still(events), "{missed:#?}");
}

/// Heartbeats went on from one record to the other, without a gap in their numbers.
fn assert_gapless(before: &LinkRecord, after: &LinkRecord, least: u64) {
    assert_eq!((after.incarnation, after.epoch), (before.incarnation, before.epoch));
    assert_eq!(after.unicast.newest - before.unicast.newest, after.received - before.received, "numbers go on");
    assert_eq!((after.lost, after.duplicates), (before.lost, before.duplicates));
    assert!(after.received - before.received >= least, "{before:?} {after:?}");
}

#[test]
fn a_controller_that_is_stopped_for_a_second_is_not_missed() {
    let cluster = pair();
    wait(&cluster, 2, "round trip", |status| link(status, 1, "private")["rtt_us"].is_u64());
    let (place, before) = (cluster.events().len(), pinned::link(&cluster, 2, 1, 1));
    assert_eq!(before.flags & u32::from(FLAG_METRONOME), u32::from(FLAG_METRONOME));
    cluster.node(1).signal(Signal::SIGSTOP).unwrap();
    // The fault itself lasts this long.
    std::thread::sleep(Duration::from_secs(1));
    let after = pinned::link(&cluster, 2, 1, 1);
    cluster.node(1).signal(Signal::SIGCONT).unwrap();
    // The witness: it stood still, and its kernel said so.
    assert!(after.controller_age_ms >= 900, "{after:?}");
    assert_gapless(&before, &after, 15);
    let stalled = |event: &Event| event.node() == 1 && event.id() == LOCAL_STALL;
    cluster.events().wait_for(place, PATIENCE, "9001 of the stopped controller", stalled).unwrap();
    wait(&cluster, 2, "it lives again", |status| {
        link(status, 1, "private")["controller_age_ms"].as_u64().is_some_and(|age_ms| age_ms < 500)
    });
    assert_not_missed(&cluster.events().since(place));
}

/// Its lease ended and the grace after it too, a second ago: it may not believe that before it has read what its kernel
/// booked meanwhile.
#[test]
fn a_controller_that_needs_the_other_to_act_is_not_stopped_by_a_stop() {
    let cluster = beating(&ClusterSpec { tie_breaker: Some(2), ..metronome() }, TopologySpec::new(2, 1));
    let known_as = incarnation(&cluster, 1);
    for _round in 0..3 {
        let place = cluster.events().len();
        cluster.node(1).signal(Signal::SIGSTOP).unwrap();
        // The fault itself lasts this long: lease and grace are 9 intervals together.
        std::thread::sleep(Duration::from_secs(1));
        cluster.node(1).signal(Signal::SIGCONT).unwrap();
        let stalled = |event: &Event| event.node() == 1 && event.id() == LOCAL_STALL;
        let stall = cluster.events().wait_for(place, PATIENCE, "9001 of the stopped controller", stalled).unwrap();
        assert!(stall.detail()["length_ns"].as_u64().unwrap() > 900_000_000, "{}", stall.value());
        wait(&cluster, 2, "it lives again", |status| {
            link(status, 1, "private")["controller_age_ms"].as_u64().is_some_and(|age_ms| age_ms < 500)
        });
        let events = cluster.events().since(place);
        let ended = events.iter().find(|event| [SUSPENDED, QUORUM_LOST].contains(&event.id()));
        assert!(ended.is_none() || machine_stood_still(&events), "{ended:?}");
        assert_not_missed(&events);
    }
    assert_eq!(incarnation(&cluster, 1), known_as);
}

/// Short stops in quick succession, so that some come in the middle of a pass, between the reading of what the kernel has
/// booked and the test of the lease.
#[test]
fn a_stop_at_any_moment_of_a_pass_ends_no_lease() {
    // Lease and grace are 8 intervals together, a pass comes twice in an interval.
    let spec = ClusterSpec { lost_after: Some(3), ..metronome() };
    let cluster = beating(&ClusterSpec { interval: "20ms".to_owned(), ..spec }, TopologySpec::new(2, 1));
    let known_as = incarnation(&cluster, 1);
    let place = cluster.events().len();
    for round in 0..60 {
        cluster.node(1).signal(Signal::SIGSTOP).unwrap();
        // The fault itself lasts this long.
        std::thread::sleep(Duration::from_millis(250));
        cluster.node(1).signal(Signal::SIGCONT).unwrap();
        // And begins each time at another place of the controller's period.
        std::thread::sleep(Duration::from_micros(60_000 + 167 * round));
    }
    wait(&cluster, 2, "it lives again", |status| {
        link(status, 1, "private")["controller_age_ms"].as_u64().is_some_and(|age_ms| age_ms < 200)
    });
    // The witness: it stood still, and knew. One event may tell of several.
    let stalled = |event: &&Event| event.node() == 1 && event.id() == LOCAL_STALL;
    let stalls = |event: &Event| event.detail()["stalls"].as_u64().unwrap_or(1);
    let often = |events: &[Event]| events.iter().filter(stalled).map(stalls).sum::<u64>() >= 50;
    let events = cluster.events().wait_until(place, PATIENCE, "9001 of most stops", often).unwrap();
    let ended = events.iter().find(|event| event.node() == 1 && [SUSPENDED, QUORUM_LOST].contains(&event.id()));
    assert!(ended.is_none() || machine_stood_still(&events), "{ended:?}");
    assert_not_missed(&events);
    assert_eq!(incarnation(&cluster, 1), known_as);
}

#[test]
fn a_killed_controller_is_hung_and_then_removed_or_comes_back_unnoticed() {
    // Node 2 may go on without the one that is killed.
    let mut cluster = beating(&ClusterSpec { tie_breaker: Some(2), ..metronome() }, TopologySpec::new(2, 1));
    let (place, before) = (cluster.events().len(), pinned::link(&cluster, 2, 1, 1));
    let known_as = incarnation(&cluster, 1);
    // Back within its lease: the metronome beats on meanwhile, and is taken over.
    cluster.node_mut(1).kill().unwrap();
    cluster.start_node(1, &[]).unwrap();
    let started = |event: &Event| event.node() == 1 && event.id() == CONTROLLER_STARTED;
    let event = cluster.events().wait_for(place, PATIENCE, "9011", started).unwrap();
    if event.detail()["adopted"] == true {
        assert_eq!(event.detail()["sender"], "metronome", "{}", event.value());
        wait_for_metronome(&cluster, 1);
        assert_gapless(&before, &pinned::link(&cluster, 2, 1, 1), 1);
        assert_eq!(incarnation(&cluster, 1), known_as);
        assert_not_missed(&cluster.events().since(place));
    } else {
        // A loaded machine may take longer than the lease for a start.
        assert!(event.detail()["why_new"].as_str().unwrap().contains("lease"), "{}", event.value());
        wait_for_view(&cluster);
        wait_for_metronome(&cluster, 1);
    }
    // Not restarted: its kernel beats on, and peers tell that from silence.
    let place = cluster.events().len();
    let laps = books(&cluster, 1).laps;
    cluster.node_mut(1).kill().unwrap();
    let hung = |event: &Event| event.node() == 2 && event.id() == CONTROLLER_HUNG && event.peer() == Some(1);
    cluster.events().wait_for(place, PATIENCE, "9002 about the killed controller", hung).unwrap();
    let events = cluster.events().since(place);
    let late = about_node_1(&events, &[LINK_LOST]);
    assert!(late.is_empty() || machine_stood_still(&events), "hung is not late: {late:#?}");
    let removed = |event: &Event| event.node() == 2 && event.id() == NODE_REMOVED;
    cluster.events().wait_for(place, PATIENCE, "1135 about the killed controller", removed).unwrap();
    assert!(books(&cluster, 1).laps > laps + 10, "its metronome beats on: {:?}", books(&cluster, 1));
    // It comes back as somebody else, with a metronome of its own.
    cluster.start_node(1, &[]).unwrap();
    wait_for_view(&cluster);
    wait_for_metronome(&cluster, 1);
    assert_eq!(devices(&cluster).len(), 3, "{:?}", devices(&cluster));
}

#[test]
fn an_orderly_end_stops_it_at_once_and_leaves_nothing() {
    let mut cluster = pair();
    assert_eq!(devices(&cluster).len(), 3);
    let folder = cluster.node(1).files().bpf_directory.clone();
    assert!(folder.join("metronome/tick").exists());
    let books = pinned::open::<MetronomeBooks>(&cluster, 1, "METRONOME_BOOKS");
    assert!(cluster.node_mut(1).terminate().unwrap().success());
    let laps = books.read(0).unwrap().laps;
    assert_eq!(devices(&cluster), Vec::<String>::new());
    assert!(!folder.exists(), "{}", folder.display());
    // A lap would have come by now.
    std::thread::sleep(3 * INTERVAL);
    assert_eq!(books.read(0).unwrap().laps, laps);
    assert!(laps > 0);
}

#[test]
fn whatever_loses_the_packet_is_noticed_and_it_is_started_again() {
    let cluster = pair();
    let (place, before) = (cluster.events().len(), pinned::link(&cluster, 2, 1, 1));
    // Down and up: the queueing discipline throws the packet away.
    let upper_name = upper(&cluster);
    let seeds = counter(&cluster, 1, "metronome_seeds");
    ip(&cluster, &format!("link set {upper_name} down"));
    ip(&cluster, &format!("link set {upper_name} up"));
    wait(&cluster, 1, "it was seeded again", |status| status["counters"]["metronome_seeds"].as_u64() > Some(seeds));
    wait_for_metronome(&cluster, 1);
    assert!(counter(&cluster, 1, "metronome_takeovers") > 0, "the thread sent meanwhile");
    // Its devices are removed altogether.
    ip(&cluster, &format!("link delete {upper_name}"));
    let told =
        |event: &Event| event.node() == 1 && event.id() == DATAPLANE_DEGRADED && event.text().contains("made again");
    cluster.events().wait_for(place, PATIENCE, "9003 about its devices", told).unwrap();
    wait_for_metronome(&cluster, 1);
    let laps = books(&cluster, 1).laps;
    wait(&cluster, 1, "it beats", |status| status["counters"]["metronome_laps"].as_u64() > Some(laps + 3));
    assert_gapless(&before, &pinned::link(&cluster, 2, 1, 1), 10);
    assert_not_missed(&cluster.events().since(place));
}

#[test]
fn a_hardware_address_that_is_forgotten_is_found_again_and_strangers_take_no_turn() {
    let cluster = pair();
    let (place, before) = (cluster.events().len(), pinned::link(&cluster, 2, 1, 1));
    let told = books(&cluster, 1);
    ip(&cluster, "neigh flush all");
    wait_for_metronome(&cluster, 1);
    // Somebody else's frame on the metronome's device, every few milliseconds: each would cost a turn.
    let name = upper(&cluster);
    ip(&cluster, &format!("address add 192.0.2.1/24 dev {name}"));
    let mut ping = cluster.topology().node(1).command("ping").unwrap();
    let arguments = ["-q", "-c", "20", "-i", "0.02", "-W", "1", "-b", "192.0.2.255"];
    // Nobody answers.
    let _failure = ping.args(arguments).output().unwrap();
    let after = books(&cluster, 1);
    assert!(after.foreign > told.foreign, "the witness: {after:?}");
    assert_gapless(&before, &pinned::link(&cluster, 2, 1, 1), 5);
    assert_not_missed(&cluster.events().since(place));
}

/// Nobody asks about an address that an operator has set: the kernel would forget that it is set for good.
#[test]
fn a_hardware_address_that_is_set_for_good_stays_so() {
    let mut cluster = prepared(TopologySpec::new(2, 1), &metronome());
    let mut command = cluster.topology().node(2).command("ip").unwrap();
    let listing = command.args(["-o", "link", "show", "dev", "private"]).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    let hardware = listing.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let address = cluster.topology().address(2, 1);
    let set = format!("neigh replace {address} lladdr {hardware} nud permanent dev private");
    ip(&cluster, &set);
    start_all(&mut cluster);
    wait_for_metronome(&cluster, 1);
    let (before, laps) = (pinned::link(&cluster, 2, 1, 1), books(&cluster, 1).laps);
    pinned::wait_for_heartbeats(&cluster, 2, (1, 1), &before, 20, PATIENCE);
    assert!(books(&cluster, 1).laps > laps + 10, "the witness: {:?}", books(&cluster, 1));
    let known = ip(&cluster, &format!("neigh show to {address} dev private"));
    assert!(known.contains("PERMANENT"), "{known}");
}

#[test]
fn ipv6_is_sent_by_the_kernel_too() {
    let topology = TopologySpec { ipv6: true, ..TopologySpec::new(2, 1) };
    let cluster = beating(&ClusterSpec { ipv6: true, ..metronome() }, topology);
    let place = cluster.events().len();
    let before = pinned::link(&cluster, 2, 1, 1);
    let sent = books(&cluster, 1).sent;
    wait(&cluster, 1, "it sends", |status| status["counters"]["metronome_sent"].as_u64() > Some(sent + 10));
    wait(&cluster, 2, "round trip", |status| link(status, 1, "private")["rtt_us"].is_u64());
    let after = pinned::link(&cluster, 2, 1, 1);
    assert_gapless(&before, &after, 5);
    assert_ne!(after.flags & u32::from(FLAG_METRONOME), 0);
    let changed = about_node_1(&cluster.events().since(place), &[LINK_LOST, LINK_RESTORED]);
    assert!(changed.is_empty() || machine_stood_still(&cluster.events().since(place)), "{changed:#?}");
}

/// The group gets a heartbeat in each interval, each peer one of its own in every other, as with the thread.
#[test]
fn groups_are_sent_to_by_the_kernel_too() {
    let mut cluster = prepared(TopologySpec::new(3, 1), &metronome());
    for node in cluster.topology().node_ids() {
        edit_config(&cluster, node, "name = \"private\"\n", "name = \"private\"\nmulticast = \"239.192.0.1\"\n");
    }
    start_all(&mut cluster);
    for node in cluster.topology().node_ids() {
        wait_for_metronome(&cluster, node);
    }
    let place = cluster.events().len();
    for (node, peer) in [(1, 2), (2, 1), (3, 1), (1, 3)] {
        let (before, sent) = (pinned::link(&cluster, node, peer, 1), books(&cluster, peer).sent);
        let after = pinned::wait_for_heartbeats(&cluster, node, (peer, 1), &before, 30, PATIENCE);
        let to_all = after.multicast.newest - before.multicast.newest;
        let to_each = after.unicast.newest - before.unicast.newest;
        assert!(to_all >= 15 && to_each >= 5 && to_each <= to_all / 2 + 2, "{before:?} {after:?}");
        assert_eq!((after.lost, after.duplicates), (before.lost, before.duplicates), "{before:?} {after:?}");
        assert_ne!(after.flags & u32::from(FLAG_METRONOME), 0);
        // The witness: not the thread. Two peers and the group; the books may lag by a lap.
        let by_kernel = books(&cluster, peer).sent - sent;
        assert!(by_kernel + 3 >= to_all + to_each, "the kernel sent {by_kernel} of {to_all} + {to_each}");
    }
    assert_not_missed(&cluster.events().since(place));
}

/// A node that somebody takes the receiving program from: it is attached again, and what it sends is not touched.
#[test]
fn a_receiving_program_that_is_removed_is_attached_again_while_it_beats() {
    let spec = ClusterSpec {
        sender: Some("metronome".to_owned()),
        // Nobody is removed until it is attached again, on a loaded machine too.
        lost_after: Some(50),
        ..ClusterSpec::new("10ms")
    };
    let cluster = beating(&spec, TopologySpec::new(2, 2));
    for _round in 0..3 {
        let (place, before) = (cluster.events().len(), pinned::link(&cluster, 2, 1, 1));
        let pin = attachment(&cluster, 1, "private");
        bpftool(&["link", "detach", "pinned", pin.to_str().unwrap()]);
        let told = |event: &Event| {
            event.id() == DATAPLANE_DEGRADED && event.node() == 1 && event.text().contains("served again")
        };
        cluster.events().wait_for(place, PATIENCE, "9003 about the interface", told).unwrap();
        let heard = pinned::link(&cluster, 1, 2, 1);
        pinned::wait_for_heartbeats(&cluster, 1, (2, 1), &heard, 5, PATIENCE);
        let after = pinned::wait_for_heartbeats(&cluster, 2, (1, 1), &before, 20, PATIENCE);
        assert_gapless(&before, &after, 20);
        assert_ne!(after.flags & u32::from(FLAG_METRONOME), 0);
        assert_not_missed(&cluster.events().since(place));
        let removed = |event: &&Event| event.id() == NODE_REMOVED;
        assert_eq!(cluster.events().since(place).iter().filter(removed).count(), 0);
    }
}

#[test]
fn auto_chooses_it_where_it_is_better_and_says_why() {
    let cluster = up(TopologySpec::new(2, 1), &ClusterSpec { sender: Some("auto".to_owned()), ..spec(INTERVAL) });
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let (major, minor) = release.split_once('.').unwrap();
    let minor: u32 = minor.split(|character: char| !character.is_ascii_digit()).next().unwrap().parse().unwrap();
    let realtime = std::fs::read_to_string("/sys/kernel/realtime").is_ok_and(|text| text.trim() == "1");
    let better = (major.parse::<u32>().unwrap(), minor) >= (6, 12) && !realtime;
    let expected = if better { "metronome" } else { "realtime" };
    wait(&cluster, 1, "the expected sender", |status| status["sender"]["engine"] == expected);
    assert!(!status(&cluster, 1)["sender"]["why"].as_str().unwrap().is_empty());
    let started = |event: &Event| event.node() == 1 && event.id() == CONTROLLER_STARTED;
    let event = cluster.events().wait_for(0, PATIENCE, "9011", started).unwrap();
    assert_eq!(event.detail()["sender"], expected);
    // Below what was measured to be better, the thread.
    let spec = ClusterSpec { sender: Some("auto".to_owned()), ..ClusterSpec::new("5ms") };
    drop(cluster);
    let cluster = up(TopologySpec::new(2, 1), &spec);
    let sender = &status(&cluster, 1)["sender"];
    assert_eq!(sender["engine"], "realtime");
    assert!(sender["why"].as_str().unwrap().contains("10 ms"), "{sender}");
}
