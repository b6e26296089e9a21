//! What the metronome's programs send, byte by byte: laps run through BPF_PROG_TEST_RUN, the copies leave by the loopback
//! interface and are caught there.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use bytemuck::Zeroable as _;
use heartbeat_common::{
    auth::tag_bytes,
    decode::{Heartbeat, decode},
    ids,
    metronome::{MetronomeBooks, MetronomeRecord, TargetRecord, seed_words},
    records::LinkRecord,
    specimen::world::{self, CLUSTER_ID, EPOCH, INCARNATION, IPV6, KEY, OTHER_PEER, OWN_NODE, PEER, PLAIN},
    wire::{self, FLAG_LEASE_LAPSED, FLAG_METRONOME, FLAG_MULTICAST, HEARTBEAT_LENGTH, HOLD_UNKNOWN},
};
use heartbeat_tests::clock::monotonic_ns;
use heartbeat_user::metronome::{Records, targets::Target};

use crate::rig::{IFINDEX, PinFolder, Rig, sizes};

/// Between 158 and 1514: what `Pace` may choose.
const LENGTH: usize = 222;
const SEED: u64 = 0x5eed;
const OWN_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// linux/pkt_cls.h.
const TC_ACT_OK: u32 = 0;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;

struct Bench {
    rig: Rig,
    records: Records,
    gate: SchedClassifier,
    tick: SchedClassifier,
    capture: OwnedFd,
}

impl Bench {
    fn new(targets: &[Target]) -> Self {
        let folder = PinFolder::new();
        let mut rig = Rig::new();
        let [gate, tick] = rig.kernel.metronome_programs(folder.path()).unwrap();
        let records = rig.kernel.metronome_records(sizes().links as usize).unwrap();
        for (position, target) in (0..).zip(targets) {
            records.targets.write(position, &target.record(OWN_ADDRESS, Some(PEER_ADDRESS)));
        }
        records.metronome.write(
            0,
            &MetronomeRecord {
                seed: SEED,
                ifindex: IFINDEX,
                length: LENGTH as u32,
                targets: targets.len() as u32,
                per_lap: targets.len() as u32,
                key: 1,
                reserved: 0,
            },
        );
        let mut node = rig.world.node;
        (node.incarnation, node.view, node.controller_beat) = (INCARNATION, 7, 99);
        node.controller_pass_ns = monotonic_ns();
        rig.memory.node.write(0, &node);
        Self { rig, records, gate, tick, capture: capture() }
    }

    /// Runs a program with a frame; verdict, and the frame as it is then.
    fn run(program: &SchedClassifier, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; 2048];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let result = program.test_run(options).unwrap();
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }

    /// A lap: the packet comes out of it as it went in. What was sent.
    fn lap(&mut self) -> Vec<Vec<u8>> {
        let (verdict, packet) = Self::run(&self.tick, &packet(SEED));
        assert_eq!(verdict, TC_ACT_REDIRECT);
        assert_eq!(packet[..24], packet_start(SEED));
        assert_eq!(packet.len(), LENGTH);
        caught(&self.capture)
    }

    fn books(&self) -> MetronomeBooks {
        self.records.books.read(0).unwrap()
    }
}

fn packet_start(seed: u64) -> [u8; 24] {
    bytemuck::cast(seed_words(seed))
}

fn packet(seed: u64) -> Vec<u8> {
    let mut packet = vec![0; LENGTH];
    packet[..24].copy_from_slice(&packet_start(seed));
    packet
}

fn target(node: u16, network: u8) -> Target {
    Target {
        link: ids::link_index(node, network),
        source: world::address(OWN_NODE, network),
        destination: world::address(node, network),
        carrier: IFINDEX,
        group: false,
        alternate: false,
    }
}

/// A packet socket at the loopback interface.
fn capture() -> OwnedFd {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: three numbers.
    let descriptor =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(protocol)) };
    assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = IFINDEX as i32;
    // SAFETY: the address outlives the call, and its size is passed.
    let bound =
        unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32) };
    assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
    socket
}

/// The metronome's frames that have left: each once, although the loopback interface shows them coming and going.
fn caught(socket: &OwnedFd) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut buffer = [0_u8; 2048];
    loop {
        // SAFETY: all zeros is a valid sockaddr_ll.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: buffer and address outlive the call, and their sizes are passed.
        let received = unsafe {
            libc::recvfrom(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        let Ok(received) = usize::try_from(received) else { return frames };
        if from.sll_pkttype == libc::PACKET_OUTGOING && buffer[6..12] == OWN_ADDRESS {
            frames.push(buffer[..received].to_vec());
        }
    }
}

/// Sum of RFC 1071, big-endian, written apart from the code under test.
fn sum(bytes: &[u8]) -> u32 {
    let mut total: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total
}

/// The heartbeat of a frame, headers and checksums verified, tag verified.
fn heartbeat(frame: &[u8], source: IpAddr, destination: IpAddr) -> (heartbeat_common::decode::Decoded, Heartbeat) {
    let (udp, pseudo) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            assert_eq!(frame[12..14], [0x08, 0x00]);
            let header = &frame[14..34];
            assert_eq!((header[0], header[1], header[8], header[9]), (0x45, 0xc0, 255, 17));
            assert_eq!((&header[12..16], &header[16..20]), (&source.octets()[..], &destination.octets()[..]));
            assert_eq!(usize::from(u16::from_be_bytes([header[2], header[3]])), frame.len() - 14);
            assert_eq!(sum(header), 0xffff, "checksum of the IPv4 header");
            (&frame[34..], [&source.octets()[..], &destination.octets()[..], &[0, 17, 0, 104]].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            assert_eq!(frame[12..14], [0x86, 0xdd]);
            let header = &frame[14..54];
            assert_eq!(header[..4], [0x6c, 0, 0, 0]);
            assert_eq!((header[6], header[7]), (17, 255));
            assert_eq!((&header[8..24], &header[24..40]), (&source.octets()[..], &destination.octets()[..]));
            let pseudo = [&source.octets()[..], &destination.octets()[..], &[0, 0, 0, 104, 0, 0, 0, 17]].concat();
            (&frame[54..], pseudo)
        }
        other => panic!("two families: {other:?}"),
    };
    assert_eq!(udp.len(), 8 + HEARTBEAT_LENGTH);
    assert_eq!(udp[..6], [0x0d, 0x0f, 0x0d, 0x0f, 0, 104]);
    assert_ne!(udp[6..8], [0, 0], "a UDP checksum");
    assert_eq!(sum(&[&pseudo, udp].concat()), 0xffff, "checksum of UDP");
    let payload = &udp[8..];
    let words: [u64; HEARTBEAT_LENGTH / 8] = bytemuck::pod_read_unaligned(payload);
    let decoded = decode(words, HEARTBEAT_LENGTH as u16).unwrap();
    let tagged: &[u8; wire::HEARTBEAT_TAGGED_LENGTH] = payload.first_chunk().unwrap();
    assert_eq!(payload[80..], tag_bytes(KEY, tagged).to_bytes(), "tag");
    assert_eq!(decoded.cluster_id, u64::from_ne_bytes(CLUSTER_ID));
    assert_eq!((decoded.kind, decoded.key_id, decoded.source), (wire::KIND_HEARTBEAT, 1, OWN_NODE));
    (decoded, Heartbeat::read(words, decoded.flags))
}

#[test]
fn heartbeats_say_what_the_protocol_wants_in_ipv4_and_ipv6() {
    let targets = [target(PEER, PLAIN), target(OTHER_PEER, PLAIN), target(PEER, IPV6)];
    let mut bench = Bench::new(&targets);
    // Heard of the peer on IPv6, of another epoch on IPv4, and never of the other peer.
    let stamp_ns = monotonic_ns() - 5_000_000;
    for (network, epoch) in [(IPV6, EPOCH), (PLAIN, EPOCH + 1)] {
        let record = LinkRecord { epoch, stamp_ns, sent_ns: 777, ..LinkRecord::zeroed() };
        bench.rig.memory.links.write(ids::link_index(PEER, network), &record);
    }
    for round in 1..=3 {
        let before_ns = monotonic_ns();
        let frames = bench.lap();
        let after_ns = monotonic_ns();
        assert_eq!(frames.len(), 3, "{:?}", bench.books());
        for (frame, target) in frames.iter().zip(&targets) {
            assert_eq!((&frame[..6], &frame[6..12]), (&PEER_ADDRESS[..], &OWN_ADDRESS[..]));
            let (decoded, heartbeat) = heartbeat(frame, target.source, target.destination);
            assert_eq!(ids::link_index(decoded.destination, decoded.network), target.link);
            // A view, and no lease: nobody renewed it.
            assert_eq!(decoded.flags, FLAG_METRONOME | FLAG_LEASE_LAPSED);
            assert_eq!((heartbeat.incarnation, heartbeat.sequence), (INCARNATION, round));
            assert_eq!((heartbeat.view, heartbeat.controller_beat), (7, 99));
            assert!((before_ns..=after_ns).contains(&heartbeat.sent_ns));
            if target.link == ids::link_index(PEER, IPV6) {
                assert_eq!(heartbeat.echo_sent_ns, 777);
                let hold_ns = u64::from(heartbeat.echo_hold_us) * 1_000;
                assert!(hold_ns.abs_diff(heartbeat.sent_ns - stamp_ns) <= 1_000, "{heartbeat:?}");
            } else {
                assert_eq!((heartbeat.echo_sent_ns, heartbeat.echo_hold_us), (0, HOLD_UNKNOWN));
            }
        }
    }
    let books = bench.books();
    assert_eq!((books.laps, books.sent, books.failed, books.rounds), (3, 9, 0, 3));
}

#[test]
fn age_and_lease_of_the_controller_are_those_of_the_moment() {
    let mut bench = Bench::new(&[target(PEER, PLAIN)]);
    let mut node = bench.rig.memory.node.read(0).unwrap();
    node.controller_pass_ns = monotonic_ns() - 250_000_000;
    node.lease_end_ns = u64::MAX;
    bench.rig.memory.node.write(0, &node);
    let frames = bench.lap();
    let (decoded, said) = heartbeat(&frames[0], world::address(OWN_NODE, PLAIN), world::address(PEER, PLAIN));
    assert_eq!(decoded.flags, FLAG_METRONOME);
    assert!((250..2_000).contains(&said.controller_age_ms), "{said:?}");
    // Without an incarnation nothing is sent, and the packet goes round all the same.
    node.incarnation = 0;
    bench.rig.memory.node.write(0, &node);
    assert!(bench.lap().is_empty());
    assert_eq!((bench.books().laps, bench.books().sent), (2, 1));
}

#[test]
fn a_group_gets_its_own_heartbeats_and_its_members_every_other_one() {
    let group =
        Target { link: ids::link_index(0, IPV6), destination: world::group(IPV6), group: true, ..target(PEER, IPV6) };
    let member = Target { alternate: true, ..target(PEER, IPV6) };
    let mut bench = Bench::new(&[group, member]);
    let mut sent = Vec::new();
    for _round in 0..4 {
        let frames = bench.lap();
        let (decoded, said) = heartbeat(&frames[0], group.source, group.destination);
        assert_eq!(decoded.destination, ids::EVERY_NODE);
        assert_ne!(decoded.flags & FLAG_MULTICAST, 0);
        assert_eq!((said.echo_sent_ns, said.echo_hold_us), (0, HOLD_UNKNOWN));
        assert_eq!(frames[0][..2], [0x33, 0x33]);
        sent.push(frames.len());
    }
    assert_eq!(sent, [1, 2, 1, 2]);
}

#[test]
fn laps_share_the_targets_of_a_round_and_the_sequence_is_shared_with_other_senders() {
    let targets = [target(PEER, PLAIN), target(OTHER_PEER, PLAIN), target(PEER, IPV6)];
    let mut bench = Bench::new(&targets);
    let mut record = bench.records.metronome.read(0).unwrap();
    record.per_lap = 2;
    bench.records.metronome.write(0, &record);
    assert_eq!([bench.lap().len(), bench.lap().len(), bench.lap().len()], [2, 1, 2]);
    assert_eq!(bench.books().rounds, 2);
    // The real-time thread takes a number in between.
    let link = ids::link_index(OTHER_PEER, PLAIN);
    let counter = bench.rig.memory.sequences.word(link, 0).unwrap();
    assert_eq!(counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed), 2);
    assert_eq!(bench.lap().len(), 1);
    let frames = bench.lap();
    let (_, said) = heartbeat(&frames[1], world::address(OWN_NODE, PLAIN), world::address(OTHER_PEER, PLAIN));
    assert_eq!(said.sequence, 4);
}

#[test]
fn foreign_frames_and_packets_of_another_seed_get_no_turn() {
    let mut bench = Bench::new(&[target(PEER, PLAIN)]);
    assert_eq!(Bench::run(&bench.gate, &packet(SEED)).0, TC_ACT_OK);
    let mut foreign = packet(SEED);
    foreign[13] ^= 1;
    for program in [&bench.gate, &bench.tick] {
        assert_eq!(Bench::run(program, &foreign).0, TC_ACT_SHOT);
        assert_eq!(Bench::run(program, &packet(SEED + 1)).0, TC_ACT_SHOT);
        // Shorter than what is looked at.
        assert_eq!(Bench::run(program, &foreign[..20]).0, TC_ACT_SHOT);
    }
    let books = bench.books();
    assert_eq!((books.foreign, books.stale, books.laps), (4, 2, 0));
    // Nobody may send with a metronome that has been stopped.
    bench.records.silence();
    for program in [&bench.gate, &bench.tick] {
        assert_eq!(Bench::run(program, &packet(SEED)).0, TC_ACT_SHOT);
        assert_eq!(Bench::run(program, &packet(0)).0, TC_ACT_SHOT);
    }
    assert_eq!(bench.books().stale, 6);
    // Whatever would have been sent is on its way by now: the loopback interface delivers while it sends.
    std::thread::sleep(Duration::from_millis(1));
    assert!(caught(&bench.capture).is_empty());
    let record = MetronomeRecord { seed: SEED, ..bench.records.metronome.read(0).unwrap() };
    bench.records.metronome.write(0, &record);
    assert_eq!(bench.lap().len(), 1, "the witness: the same bench sends");
}

#[test]
fn whoever_has_no_hardware_address_is_left_to_others() {
    let mut bench = Bench::new(&[target(PEER, PLAIN), target(OTHER_PEER, PLAIN)]);
    bench.records.targets.write(0, &target(PEER, PLAIN).record(OWN_ADDRESS, None));
    assert_eq!(bench.lap().len(), 1);
    let books = bench.books();
    assert_eq!((books.sent, books.unresolved), (1, 1));
    // No number was used for what was not sent.
    let numbers = |node| bench.rig.memory.sequences.read(ids::link_index(node, PLAIN)).unwrap().heartbeats;
    assert_eq!((numbers(PEER), numbers(OTHER_PEER)), (0, 1));
    // An interface that is gone refuses, and is counted.
    let gone = TargetRecord { ifindex: u32::MAX >> 1, ..target(PEER, PLAIN).record(OWN_ADDRESS, Some(PEER_ADDRESS)) };
    bench.records.targets.write(0, &gone);
    assert_eq!(bench.lap().len(), 1);
    assert_eq!(bench.books().failed, 1);
}
