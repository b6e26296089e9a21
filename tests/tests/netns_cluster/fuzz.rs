//! Garbage that looks like ours: random bytes, real messages with bytes changed, real messages cut short.
//!
//! Ten minutes of it: `cargo xtask fuzz live --minutes 10`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use heartbeat_tests::events::{Event, LINK_LOST};

use crate::{
    frames::{Captured, Datagram, PAYLOAD},
    nodes::{QUORUM_LOST, incarnation, links_of, status, three_up},
    packets::{Packets, mac},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
/// How long, where [`SECONDS_VARIABLE`] does not say.
const SECONDS: u64 = 5;
const SECONDS_VARIABLE: &str = "HEARTBEAT_FUZZ_SECONDS";
/// Frames between two looks at the clock, and the pause after them: some ten thousand frames a second, so that the nodes
/// and not the queues are tested.
const BURST: usize = 50;
const PAUSE: Duration = Duration::from_millis(3);
/// Real frames that are kept to be changed; newer ones replace them.
const KEPT: usize = 64;
/// 1135: a node was removed.
const NODE_REMOVED: u64 = 1135;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// A real frame with something wrong about it. What was not a whole message before the change is none afterwards.
fn spoil(frame: &[u8], random: &mut Random) -> Vec<u8> {
    let mut frame = frame.to_vec();
    match random.below(4) {
        // Cut off, the lengths in the headers as they were.
        0 => frame.truncate(PAYLOAD + random.below(frame.len() - PAYLOAD)),
        // One bit.
        1 => {
            let position = PAYLOAD + random.below(frame.len() - PAYLOAD);
            frame[position] ^= 1 << random.below(8);
        }
        // Some bytes, one of them for certain.
        2 => {
            for _ in 0..1 + random.below(8) {
                let position = PAYLOAD + random.below(frame.len() - PAYLOAD);
                frame[position] = frame[position].wrapping_add(1 + random.byte() % 255);
            }
        }
        // Behind the first words, which are cheap to refuse, noise.
        _ => {
            let from = PAYLOAD + 32 + random.below(frame.len() - PAYLOAD - 32);
            frame[from..].iter_mut().for_each(|byte| *byte = random.byte());
        }
    }
    frame
}

#[test]
fn noise_and_spoiled_messages_move_nothing_but_counters() {
    let cluster = three_up(INTERVAL);
    let topology = cluster.topology();
    let target = mac(topology.node(1), "private");
    let outside = Packets::open(topology.network(1), "bridge");
    let capture = Packets::open(topology.network(1), "bravo");
    let is_real = |frame: &[u8]| Captured::parse(frame).is_some_and(|message| message.is_between(2, 1));
    let mut real = capture.collect(4, Duration::from_secs(10), is_real);
    let seed = std::env::var("HEARTBEAT_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(heartbeat_tests::clock::monotonic_ns);
    println!("HEARTBEAT_FUZZ_SEED={seed}");
    let mut random = Random(seed);
    let seconds = std::env::var(SECONDS_VARIABLE).ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(SECONDS);

    let place = cluster.events().len();
    let all = [1, 2, 3];
    let lives = all.map(|node| incarnation(&cluster, node));
    let (before, view) = (status(&cluster, 1), status(&cluster, 1)["view"]["number"].clone());
    let links_before = [2, 3].map(|peer| pinned::link(&cluster, 1, peer, 1));
    let began = Instant::now();
    let mut sent = 0_u64;
    while began.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..BURST {
            let frame = if random.below(3) == 0 {
                let payload = (0..random.below(1_400)).map(|_| random.byte()).collect();
                let (source, destination) = (topology.address(2, 1), topology.address(1, 1));
                Datagram { destination_mac: target, source, destination, time_to_live: 255, port: 3343, payload }
                    .frame()
            } else {
                let which = random.below(real.len());
                spoil(&real[which], &mut random)
            };
            sent += u64::from(outside.try_send(&frame).is_ok());
        }
        // What the nodes say now, not only what they said at the beginning; among it what was sent here.
        for frame in capture.drain(is_real).into_iter().take(BURST) {
            let slot = random.below(KEPT);
            if slot < real.len() {
                real[slot] = frame;
            } else {
                real.push(frame);
            }
        }
        // The fault itself comes at this rate.
        std::thread::sleep(PAUSE);
    }
    // A wrong verdict gets the time to come.
    std::thread::sleep(8 * INTERVAL);

    let events: Vec<Event> = cluster.events().since(place);
    let after = status(&cluster, 1);
    println!("{sent} frames in {seconds} s; refused: {:?}", refused(&before, &after));
    assert!(links_of(&events, LINK_LOST).is_empty(), "{events:#?}");
    let decided: Vec<_> = events.iter().filter(|event| [NODE_REMOVED, QUORUM_LOST].contains(&event.id())).collect();
    assert!(decided.is_empty(), "{decided:#?}");
    assert_eq!(after["view"]["number"], view);
    assert_eq!(all.map(|node| incarnation(&cluster, node)), lives, "somebody started anew");
    let counted: u64 = refused(&before, &after).values().sum();
    assert!(counted > sent / 3, "{counted} refused of {sent}");
    // It went on being heard all the while.
    for (peer, before) in [2, 3].into_iter().zip(links_before) {
        pinned::wait_for_heartbeats(&cluster, 1, (peer, 1), &before, 15, Duration::from_secs(5));
    }
}

/// How many datagrams were refused in between, by reason.
fn refused(before: &serde_json::Value, after: &serde_json::Value) -> BTreeMap<String, u64> {
    let count = |status: &serde_json::Value, reason: &str| status["rejects"][reason].as_u64().unwrap_or(0);
    let reasons = after["rejects"].as_object().unwrap().keys();
    reasons
        .map(|reason| (reason.clone(), count(after, reason) - count(before, reason)))
        .filter(|(_, moved)| *moved > 0)
        .collect()
}
