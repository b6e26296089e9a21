//! Garbage as fast as one thread can make it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use heartbeat_tests::events::{LINK_LOST, LOCAL_STALL};

use crate::{
    frames::{Captured, Datagram},
    nodes::{links_of, status, three_up},
    packets::{Packets, mac},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
const FLOOD: Duration = Duration::from_secs(2);

#[test]
fn a_flood_of_garbage_makes_nobody_late() {
    let cluster = three_up(INTERVAL);
    let topology = cluster.topology();
    let target = mac(topology.node(1), "private");
    let outside = Packets::open(topology.network(1), "bridge");
    let capture = Packets::open(topology.network(1), "bravo");
    let genuine = capture.collect(1, Duration::from_secs(5), |frame| {
        Captured::parse(frame).is_some_and(|message| message.header.kind == 1 && message.is_between(2, 1))
    });
    drop(capture);
    let datagram = |payload: Vec<u8>| {
        let (source, destination) = (topology.address(2, 1), topology.address(1, 1));
        Datagram { destination_mac: target, source, destination, time_to_live: 255, port: 3343, payload }.frame()
    };
    let mut broken_tag = Captured::parse(&genuine[0]).unwrap().frame;
    *broken_tag.last_mut().unwrap() ^= 1;
    // Cheap to refuse, dearer, and the dearest that a stranger can make: a whole tag to compute.
    let frames = [datagram(vec![0xa5; 96]), datagram(b"CLHB".repeat(30)), broken_tag];

    let place = cluster.events().len();
    let before = status(&cluster, 1);
    let links_before = [2, 3].map(|peer| pinned::link(&cluster, 1, peer, 1));
    let is_over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut sent = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                for frame in &frames {
                    sent += u64::from(outside.try_send(frame).is_ok());
                }
            }
            sent
        });
        // The fault itself lasts this long.
        std::thread::sleep(FLOOD);
        is_over.store(true, Ordering::Relaxed);
        flood.join().unwrap()
    });
    // A wrong verdict gets the time to come.
    std::thread::sleep(4 * INTERVAL);
    let events = cluster.events().since(place);
    let lost = links_of(&events, LINK_LOST);
    let stalls = events.iter().filter(|event| event.id() == LOCAL_STALL).count();
    println!("{} frames a second; {stalls} stalls reported", sent / FLOOD.as_secs());
    assert!(lost.is_empty(), "{lost:?}");
    for (peer, before) in [2, 3].into_iter().zip(links_before) {
        pinned::wait_for_heartbeats(&cluster, 1, (peer, 1), &before, 15, Duration::from_secs(5));
    }
    let after = status(&cluster, 1);
    let counted: u64 = ["malformed", "bad_tag"].iter().map(|reason| moved(&before, &after, reason)).sum();
    assert!(counted > 0 && counted <= sent, "{counted} refused of {sent}");
}

fn moved(before: &serde_json::Value, after: &serde_json::Value, reason: &str) -> u64 {
    let count = |status: &serde_json::Value| status["rejects"][reason].as_u64().unwrap();
    count(after) - count(before)
}
