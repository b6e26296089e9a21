//! A receive buffer that has no room: the kernel drops, the node counts, and what it missed is said again.

use std::time::{Duration, Instant};

use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST},
    naming::network_name,
    topology::TopologySpec,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    frames::Datagram,
    nodes::{NODE_LEFT, PATIENCE, links_of, spec, status, up, wait_for_view_of},
    packets::{Packets, mac},
};

const INTERVAL: Duration = Duration::from_millis(100);
/// Silent only after four seconds, so that nobody is missed while a node stands still.
const LOST_AFTER: u32 = 40;
/// A datagram takes at least 768 bytes of a buffer, which is 4 MiB at the most: this is more than fits in.
const FRAMES: usize = 8_000;

#[test]
fn a_full_buffer_is_counted_and_a_leave_that_it_lost_is_repeated() {
    // With XDP garbage would not come as far as the socket.
    let spec = ClusterSpec { dataplane: Some("socket".to_owned()), lost_after: Some(LOST_AFTER), ..spec(INTERVAL) };
    let mut cluster = up(TopologySpec::new(3, 2), &spec);
    let (place, before) = (cluster.events().len(), status(&cluster, 1));
    assert_eq!(counter(&before, "socket_dropped"), 0);
    cluster.node(1).signal(Signal::SIGSTOP).unwrap();
    let sent = fill_both_buffers(&cluster);
    // Its word to node 1 finds no room.
    cluster.node(3).signal(Signal::SIGTERM).unwrap();
    let has_left = |event: &Event| event.node() == 2 && event.id() == NODE_LEFT;
    cluster.events().wait_for(place, PATIENCE, "9006 on the node that hears it", has_left).unwrap();
    cluster.node(1).signal(Signal::SIGCONT).unwrap();
    wait_for_view_of(&cluster, &[1, 2]);
    assert!(cluster.node_mut(3).wait(PATIENCE).unwrap().success());

    let after = status(&cluster, 1);
    let dropped = counter(&after, "socket_dropped");
    let refused = after["rejects"]["malformed"].as_u64().unwrap() - before["rejects"]["malformed"].as_u64().unwrap();
    println!("{sent} sent, {refused} refused, {dropped} dropped");
    assert!(refused > 0 && dropped > 0, "{refused} {dropped}");
    assert!(refused + dropped >= sent, "every frame is in one book: {sent}, {refused}, {dropped}");
    let lost = links_of(&cluster.events().since(place), LINK_LOST);
    assert!(lost.is_empty(), "{lost:?}");
    // Heartbeats count again: a link is heard for longer than its peers could have been silent.
    let accepted = counter(&after, "accepted");
    let deadline = Instant::now() + PATIENCE;
    while counter(&status(&cluster, 1), "accepted") < accepted + 10 {
        assert!(Instant::now() < deadline, "nothing is heard any more");
        std::thread::sleep(INTERVAL);
    }
}

fn counter(status: &Value, name: &str) -> u64 {
    status["counters"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {}", status["counters"]))
}

/// Sends more than fits to node 1 on both networks; returns how many frames.
fn fill_both_buffers(cluster: &Cluster) -> u64 {
    let topology = cluster.topology();
    let mut sent = 0;
    for network in topology.network_ids() {
        let outside = Packets::open(topology.network(network), "bridge");
        let frame = Datagram {
            destination_mac: mac(topology.node(1), &network_name(network)),
            source: topology.address(2, network),
            destination: topology.address(1, network),
            time_to_live: 255,
            port: 3343,
            payload: vec![0xa5; 96],
        }
        .frame();
        // A queue on the way may be full for a moment.
        sent += (0..FRAMES).map(|_| u64::from(outside.try_send(&frame).is_ok())).sum::<u64>();
    }
    sent
}
