//! The topology itself: frames pass, cuts cut exactly what they name, nothing stays behind.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    net::UdpSocket,
    process::Command,
    time::{Duration, Instant},
};

use heartbeat_tests::{
    leftovers,
    naming::{NAMESPACES, Prefix},
    topology::{Topology, TopologySpec},
};

/// Long enough for the kernel to resolve an address and deliver, under load too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Two nodes' sockets on one network.
struct Probe {
    sockets: Vec<UdpSocket>,
    topology: Topology,
    network: u8,
}

impl Probe {
    fn new(topology: Topology, network: u8) -> Self {
        let open = |node| {
            let address = (topology.address(node, network), 4000);
            topology.node(node).run(|| UdpSocket::bind(address)).unwrap().unwrap()
        };
        let sockets: Vec<UdpSocket> = topology.node_ids().map(open).collect();
        Self { sockets, topology, network }
    }

    fn socket(&self, node: u16) -> &UdpSocket {
        &self.sockets[usize::from(node) - 1]
    }

    /// Sends one datagram.
    fn send(&self, from: u16, to: u16, text: &str) {
        let target = (self.topology.address(to, self.network), 4000);
        self.socket(from).send_to(text.as_bytes(), target).unwrap();
    }

    /// The next datagram that arrives at `node` within `limit`.
    fn receive(&self, node: u16, limit: Duration) -> Option<String> {
        self.socket(node).set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 64];
        let length = self.socket(node).recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn passes(&self, from: u16, to: u16, text: &str) {
        self.send(from, to, text);
        assert_eq!(self.receive(to, PATIENCE).as_deref(), Some(text), "from {from} to {to}");
    }

    /// What is cut does not arrive, shown by what is sent after it, over a third node's path, arriving alone.
    fn is_cut(&self, from: u16, to: u16, witness: u16) {
        self.send(from, to, "cut");
        self.passes(witness, to, "witness");
    }
}

#[test]
fn frames_pass_on_every_network_at_once_after_building() {
    let begin = Instant::now();
    let topology = Topology::build(TopologySpec { ipv6: true, ..TopologySpec::new(3, 2) }).unwrap();
    let built = begin.elapsed();
    for network in topology.network_ids() {
        for (from, to) in [(1, 2), (2, 3), (3, 1)] {
            for address in [topology.address(to, network).to_string(), topology.address_v6(to, network).to_string()] {
                let mut ping = topology.node(from).command("ping").unwrap();
                let output = ping.args(["-n", "-c1", "-W2", &address]).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            }
        }
    }
    println!("built in {built:?}, passing on all paths after {:?}", begin.elapsed());
    assert!(built < Duration::from_secs(2), "{built:?}");
}

#[test]
fn a_cut_takes_both_directions_of_one_node_and_heals() {
    let topology = Topology::build(TopologySpec::new(3, 2)).unwrap();
    let probe = Probe::new(topology, 1);
    let all = [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)];
    for (from, to) in all {
        probe.passes(from, to, "before");
    }
    // The first cut also installs the rules, before the stamp; the second does not.
    for _ in 0..2 {
        let cut = probe.topology.cut(1, 1).unwrap();
        probe.is_cut(1, 2, 3);
        probe.is_cut(1, 3, 2);
        probe.send(2, 1, "cut");
        probe.send(3, 1, "cut");
        probe.passes(2, 3, "others");
        let healed = probe.topology.heal(1, 1).unwrap();
        // Node 1 hears the first that is sent after healing, so nothing sent during the cut was ever on its way.
        for (from, to) in all {
            probe.passes(from, to, "after");
        }
        for moment in [cut, healed] {
            let took = Duration::from_nanos(moment.after_ns - moment.before_ns);
            println!("took {took:?}");
            assert!(took < Duration::from_millis(20), "{took:?}");
        }
    }
}

#[test]
fn a_cut_leaves_the_carrier_and_the_other_network_alone() {
    let topology = Topology::build(TopologySpec::new(2, 2)).unwrap();
    topology.cut(1, 1).unwrap();
    let link = topology.node(1).command("ip").unwrap().args(["-o", "link", "show", "private"]).output().unwrap();
    let link = String::from_utf8_lossy(&link.stdout).into_owned();
    assert!(link.contains("LOWER_UP"), "{link}");
    let probe = Probe::new(topology, 2);
    probe.passes(1, 2, "public");
}

#[test]
fn a_one_way_cut_takes_one_direction() {
    let probe = Probe::new(Topology::build(TopologySpec::new(3, 1)).unwrap(), 1);
    for (from, to) in [(1, 2), (2, 1), (3, 2)] {
        probe.passes(from, to, "before");
    }
    probe.topology.cut_one_way(1, 1, 2).unwrap();
    probe.is_cut(1, 2, 3);
    probe.passes(2, 1, "back");
    probe.topology.heal_one_way(1, 1, 2).unwrap();
    probe.passes(1, 2, "healed");
}

#[test]
fn a_partition_splits_and_heals_as_a_whole() {
    let probe = Probe::new(Topology::build(TopologySpec::new(4, 1)).unwrap(), 1);
    for (from, to) in [(1, 2), (3, 4), (1, 3), (4, 2)] {
        probe.passes(from, to, "before");
    }
    probe.topology.partition(1, &[1, 2]).unwrap();
    probe.is_cut(1, 3, 4);
    probe.is_cut(4, 2, 1);
    probe.topology.heal_all(1).unwrap();
    for (from, to) in [(1, 3), (4, 2)] {
        probe.passes(from, to, "healed");
    }
}

#[test]
fn nothing_stays_behind() {
    let topology = Topology::build(TopologySpec::new(2, 1)).unwrap();
    let prefix = topology.prefix().clone();
    let mut sleeper = topology.node(1).command("sleep").unwrap().arg("60").spawn().unwrap();
    assert!(namespaces_of(&prefix).len() == 3);
    drop(topology);
    assert_eq!(namespaces_of(&prefix), Vec::<String>::new());
    // Killed with the namespace, so this returns now.
    assert!(!sleeper.wait().unwrap().success());
}

#[test]
fn what_a_dead_process_left_is_removed_and_what_a_living_one_has_is_not() {
    let living = Topology::build(TopologySpec::new(1, 1)).unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let name = format!("hb-{dead}-1-alpha");
    assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
    let removed = leftovers::remove_of_dead_processes().unwrap();
    assert!(removed.contains(&format!("namespace {name}")), "{removed:?}");
    assert_eq!(namespaces_of(living.prefix()).len(), 2);
}

fn namespaces_of(prefix: &Prefix) -> Vec<String> {
    let names = std::fs::read_dir(NAMESPACES).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with(&prefix.to_string())).collect()
}
