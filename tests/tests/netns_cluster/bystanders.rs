//! What is not ours passes as if we were not there, while heartbeats run.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use heartbeat_common::records::LinkRecord;
use heartbeat_tests::{cluster::Cluster, namespace::Namespace};

use crate::{
    frames::Datagram,
    nodes::{PATIENCE, status, three_up},
    packets::{Packets, mac},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
/// Behind the same interface as node 1: what a guest or a second service would have.
const SECONDARY: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 201);
const PORT: u16 = 3343;

/// What has to be as before: node 1's refusals; and what has to have moved: its heartbeats.
struct Witness<'a> {
    cluster: &'a Cluster,
    rejects: serde_json::Value,
    link: LinkRecord,
}

impl<'a> Witness<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let rejects = status(cluster, 1)["rejects"].clone();
        Self { cluster, rejects, link: pinned::link(cluster, 1, 2, 1) }
    }

    fn heartbeats_went_on_and_nothing_was_refused(self) {
        let now = pinned::wait_for_heartbeats(self.cluster, 1, (2, 1), &self.link, 3, PATIENCE);
        assert_eq!(now.lost, self.link.lost);
        assert_eq!(status(self.cluster, 1)["rejects"], self.rejects);
    }
}

fn udp(namespace: &Namespace, address: impl Into<SocketAddr>) -> UdpSocket {
    let address = address.into();
    let socket = namespace.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn datagram_passes(from: &UdpSocket, to: &UdpSocket, length: usize) {
    let sent: Vec<u8> = (0..length).map(|index| index.to_le_bytes()[0]).collect();
    from.send_to(&sent, to.local_addr().unwrap()).unwrap();
    let mut received = vec![0; length + 1];
    let count = to.recv(&mut received).unwrap_or_else(|error| panic!("{length} bytes: {error}"));
    assert_eq!(received[..count], sent);
}

#[test]
fn ping_tcp_and_udp_pass_beside_heartbeats() {
    let cluster = three_up(INTERVAL);
    let topology = cluster.topology();
    let (here, there) = (topology.node(1), topology.node(2));
    let (own, other) = (topology.address(1, 1), topology.address(2, 1));
    let witness = Witness::new(&cluster);

    for size in ["56", "4000"] {
        let mut ping = there.command("ping").unwrap();
        let output = ping.args(["-n", "-c3", "-i0.2", "-W5", "-s", size, &own.to_string()]).output().unwrap();
        assert!(output.status.success(), "{size} bytes: {}", String::from_utf8_lossy(&output.stdout));
    }

    let listener = here.run(|| TcpListener::bind((own, PORT))).unwrap().unwrap();
    let content: Vec<u8> = (0..1_000_000_u32).map(|index| index.to_le_bytes()[1]).collect();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut received = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
            received
        });
        let mut stream = there.run(|| TcpStream::connect((own, PORT))).unwrap().unwrap();
        stream.write_all(&content).unwrap();
        drop(stream);
        assert!(reader.join().unwrap() == content, "TCP, on the port number of heartbeats");
    });

    let sender = udp(there, (other, 4001));
    let receiver = udp(here, (own, 4000));
    datagram_passes(&sender, &receiver, 100);
    // In three fragments.
    datagram_passes(&sender, &receiver, 4000);
    witness.heartbeats_went_on_and_nothing_was_refused();
}

#[test]
fn the_port_on_another_address_of_the_interface_is_somebody_elses() {
    let cluster = three_up(INTERVAL);
    let topology = cluster.topology();
    let (here, there) = (topology.node(1), topology.node(2));
    let add = ["address", "add", &format!("{SECONDARY}/24"), "dev", "private"];
    assert!(here.command("ip").unwrap().args(add).status().unwrap().success());
    let witness = Witness::new(&cluster);
    let receiver = udp(here, (SECONDARY, PORT));
    let sender = udp(there, (topology.address(2, 1), 4001));
    datagram_passes(&sender, &receiver, 96);
    datagram_passes(&sender, &receiver, 4000);
    let back = udp(there, (topology.address(2, 1), 4002));
    datagram_passes(&receiver, &back, 96);
    witness.heartbeats_went_on_and_nothing_was_refused();
}

/// Frames that only look like ours, seen again behind the program.
#[test]
fn frames_with_more_layers_than_ours_pass_untouched() {
    let cluster = three_up(INTERVAL);
    let topology = cluster.topology();
    let target = mac(topology.node(1), "private");
    let outside = Packets::open(topology.network(1), "bridge");
    let behind = Packets::open(topology.node(1), "private");
    let witness = Witness::new(&cluster);
    let marked = |marker: &[u8]| Datagram {
        destination_mac: target,
        source: topology.address(2, 1),
        destination: topology.address(1, 1),
        time_to_live: 255,
        port: PORT,
        payload: [b"CLHB".as_slice(), marker, &[0; 70]].concat(),
    };

    let double_tag = with_tags(&marked(b"double tag").frame(), &[100, 200]);
    let other_tag = with_tags(&marked(b"other tag").frame(), &[100]);
    let fragment = fragment(&marked(b"fragment").frame());
    let extension = ipv6_with_destination_options(target, b"extension");
    for (frame, marker) in [
        (double_tag, b"double tag".as_slice()),
        (other_tag, b"other tag"),
        (fragment, b"fragment"),
        (extension, b"extension"),
    ] {
        outside.send(&frame);
        let contains = |seen: &[u8]| seen.windows(marker.len()).any(|part| part == marker);
        let passed = behind.collect(1, PATIENCE, contains);
        // The kernel takes the outermost tag off before it shows a frame; all behind it is as it was sent.
        assert!(frame.ends_with(&passed[0][16..]), "{}: {:x?}", String::from_utf8_lossy(marker), passed[0]);
    }
    witness.heartbeats_went_on_and_nothing_was_refused();
}

fn with_tags(frame: &[u8], tags: &[u16]) -> Vec<u8> {
    let mut tagged = frame[..12].to_vec();
    for tag in tags {
        tagged.extend(0x8100_u16.to_be_bytes());
        tagged.extend(tag.to_be_bytes());
    }
    tagged.extend(&frame[12..]);
    tagged
}

/// The first of two: "more fragments" is set.
fn fragment(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[20] = 0x20;
    // The checksum of the header falls by as much as the field grew: 0x4000 became 0x2000.
    let sum = u16::from_be_bytes([frame[24], frame[25]]);
    let (sum, carry) = sum.overflowing_add(0x2000);
    frame[24..26].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    frame
}

fn ipv6_with_destination_options(target: [u8; 6], marker: &[u8]) -> Vec<u8> {
    let payload = [b"CLHB", marker].concat();
    let udp_length = u16::try_from(8 + payload.len()).unwrap();
    let mut frame = [target.as_slice(), &[2, 0, 0, 0, 0, 0x99], &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend((8 + udp_length).to_be_bytes());
    frame.extend([60, 255]);
    frame.extend([0xfd; 32]);
    // Destination options: next is UDP, eight bytes, padded.
    frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend(PORT.to_be_bytes());
    frame.extend(PORT.to_be_bytes());
    frame.extend(udp_length.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}
