//! The other ways to receive: each works, and what is not as asked for is told.

use std::time::Duration;

use aya::programs::XdpMode;
use heartbeat_tests::{cluster::Cluster, config::ClusterSpec, events::Event, topology::TopologySpec};
use heartbeat_user::dataplane::{kernel::Kernel, memory::Sizes};
use nix::net::if_::if_nametoindex;

use crate::{
    cuts::node_1_is_cut_off,
    nodes::{DATAPLANE_DEGRADED, PATIENCE, edit_config, link, prepared, spec, start_all, status, up},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(200);

fn works_as(dataplane: &str, judge: &str) {
    let spec = ClusterSpec { dataplane: Some(dataplane.to_owned()), ..spec(INTERVAL) };
    let cluster = up(TopologySpec::new(3, 2), &spec);
    for node in [1, 2, 3] {
        let status = status(&cluster, node);
        assert_eq!(status["dataplane"]["mode"], dataplane);
        assert_eq!(status["dataplane"]["judge"], judge);
        for interface in status["dataplane"]["interfaces"].as_array().unwrap() {
            assert_eq!(interface["mode"], dataplane, "{interface}");
            assert_eq!(interface["program_id"].is_null(), dataplane == "socket", "{interface}");
        }
    }
    node_1_is_cut_off(&cluster, INTERVAL);
}

#[test]
fn native() {
    works_as("native", "kernel-timer");
}

#[test]
fn generic() {
    works_as("generic", "kernel-timer");
}

#[test]
fn socket() {
    works_as("socket", "reactor");
}

#[test]
fn ipv6() {
    let topology = TopologySpec { ipv6: true, ..TopologySpec::new(3, 2) };
    let cluster = up(topology, &ClusterSpec { ipv6: true, ..spec(INTERVAL) });
    assert_eq!(status(&cluster, 1)["dataplane"]["mode"], "native");
    node_1_is_cut_off(&cluster, INTERVAL);
}

#[test]
fn multicast() {
    let mut cluster = prepared(TopologySpec::new(3, 2), &spec(INTERVAL));
    for node in [1, 2, 3] {
        for (network, group) in [("private", "239.192.0.1"), ("public", "239.192.0.2")] {
            let name = format!("name = \"{network}\"\n");
            edit_config(&cluster, node, &name, &format!("{name}multicast = \"{group}\"\n"));
        }
    }
    start_all(&mut cluster);
    for node in [1, 2, 3] {
        for peer in [1, 2, 3].into_iter().filter(|peer| *peer != node) {
            for (network, name) in [(1, "private"), (2, "public")] {
                let before = pinned::link(&cluster, node, peer, network);
                let now = pinned::wait_for_heartbeats(&cluster, node, (peer, network), &before, 6, PATIENCE);
                let to_all = now.multicast.newest - before.multicast.newest;
                let to_each = now.unicast.newest - before.unicast.newest;
                assert!(to_all >= 3, "{before:?} {now:?}");
                assert!(to_each <= to_all / 2 + 1, "each one gets an echo every other interval: {before:?} {now:?}");
                let shown = link(&status(&cluster, node), peer, name);
                assert!(shown["rtt_us"].is_u64(), "somebody echoes: {shown}");
            }
        }
    }
    node_1_is_cut_off(&cluster, INTERVAL);
}

/// Somebody else's program for an interface of node 1: ours without a network, to which nothing is addressed.
pub(crate) struct Foreign {
    kernel: Kernel,
    pub(crate) id: u32,
}

impl Foreign {
    fn attach(cluster: &Cluster, interface: &str) -> Self {
        Self::load().try_attach(cluster, interface).ok().unwrap()
    }

    /// Ready to be attached at once.
    pub(crate) fn load() -> Self {
        Self { kernel: Kernel::load(Sizes::for_nodes_up_to(3), None, false).unwrap(), id: 0 }
    }

    /// Gives itself back where another program is on the interface already.
    pub(crate) fn try_attach(mut self, cluster: &Cluster, interface: &str) -> Result<Self, Self> {
        let program = self.kernel.receiver().unwrap();
        let attach = || program.attach_to_if_index(if_nametoindex(interface).unwrap(), XdpMode::Driver).is_ok();
        let is_attached = cluster.topology().node(1).run(attach).unwrap();
        self.id = self.kernel.receiver().unwrap().info().unwrap().id();
        if is_attached { Ok(self) } else { Err(self) }
    }
}

#[test]
fn beside_another_program_auto_falls_back_and_says_so() {
    let mut cluster = prepared(TopologySpec::new(3, 2), &spec(INTERVAL));
    let foreign = Foreign::attach(&cluster, "private");
    start_all(&mut cluster);
    let degraded = |event: &Event| event.node() == 1 && event.id() == DATAPLANE_DEGRADED;
    let event = cluster.events().wait_for(0, PATIENCE, "9003", degraded).unwrap();
    for part in ["private", &format!("id {}", foreign.id), "a socket"] {
        assert!(event.text().contains(part), "{part}: {}", event.text());
    }
    let shown = status(&cluster, 1);
    assert_eq!(shown["dataplane"]["mode"], "socket");
    assert!(shown["dataplane"]["degraded"].as_str().unwrap().contains("private"), "{shown}");
    let modes: Vec<_> = shown["dataplane"]["interfaces"].as_array().unwrap().iter().map(|one| &one["mode"]).collect();
    assert_eq!(modes, ["socket", "native"], "the other network is served as it should be");
    node_1_is_cut_off(&cluster, INTERVAL);
}

#[test]
fn beside_another_program_native_refuses_and_says_what_to_do() {
    let mut cluster =
        prepared(TopologySpec::new(3, 2), &ClusterSpec { dataplane: Some("native".to_owned()), ..spec(INTERVAL) });
    let foreign = Foreign::attach(&cluster, "public");
    cluster.start_node(1, &[]).unwrap();
    let ended = cluster.node_mut(1).wait(PATIENCE).unwrap();
    let log = cluster.node(1).log_tail(20);
    assert!(matches!(ended.code(), Some(1 | 2)), "{ended}: {log}");
    for part in ["native", &format!("id {}", foreign.id), "Detach it", "Choose \"auto\""] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!pinned::path(&cluster, 1, "NODE").exists(), "nothing stays pinned");
    // The first network had been served when the second could not be.
    let shown = cluster.topology().node(1).command("ip").unwrap().args(["link", "show", "private"]).output().unwrap();
    assert!(shown.status.success());
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("xdp"), "nothing stays attached: {shown:?}");
}
