//! A whole cluster: a topology, a configuration, and a node in each namespace.

use std::{
    collections::HashSet,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use crate::{
    config::{self, ClusterSpec},
    events::{Event, EventLog, LINK_RESTORED},
    naming::{network_name, node_name},
    process::{Node, find_program},
    topology::{Topology, TopologySpec},
};

/// How much of each node's output a failed test shows.
const LINES_ON_FAILURE: usize = 30;

/// While waiting for events, look this often whether all nodes still run.
const LOOK_AFTER_NODES: Duration = Duration::from_millis(100);

/// Nodes in namespaces; all gone on drop, nodes first.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    events: EventLog,
    topology: Topology,
}

impl Cluster {
    /// Builds the topology, writes the configurations and starts every node.
    ///
    /// # Errors
    ///
    /// As [`Topology::build`]; when the program is not there or does not start.
    pub fn start(topology: TopologySpec, cluster: &ClusterSpec) -> Result<Self> {
        let mut prepared = Self::prepare(topology, cluster, &find_program()?)?;
        for id in prepared.topology.node_ids() {
            prepared.start_node(id, &[])?;
        }
        Ok(prepared)
    }

    /// As [`Cluster::start`], with no node started: a test may want to change a configuration first.
    ///
    /// # Errors
    ///
    /// As [`Topology::build`].
    pub fn prepare(topology: TopologySpec, cluster: &ClusterSpec, program: &Path) -> Result<Self> {
        ensure!(program.is_file(), "there is no program {}", program.display());
        ensure!(!cluster.ipv6 || topology.ipv6, "a cluster on IPv6 needs a topology that has it");
        let topology = Topology::build(topology)?;
        let files = config::write(&topology, cluster)?;
        let events = EventLog::default();
        let nodes = topology.node_ids().zip(files).map(|(id, files)| Node::new(id, files, program, &events)).collect();
        Ok(Self { nodes, events, topology })
    }

    /// Starts one node that does not run, with these arguments after `run --config FILE`.
    ///
    /// # Errors
    ///
    /// As [`Node::start`].
    pub fn start_node(&mut self, id: u16, arguments: &[&str]) -> Result<()> {
        let namespace = self.topology.node(id);
        self.nodes[usize::from(id) - 1].start(namespace, arguments)
    }

    /// Waits until every node has reported every link to every other node as up, once since its start.
    ///
    /// # Errors
    ///
    /// When that takes longer than `limit`, or a node ends meanwhile; the message names links or node.
    pub fn wait_until_up(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let seen = self.events.len();
            let missing = self.links_not_restored();
            if missing.is_empty() {
                return Ok(());
            }
            for node in &mut self.nodes {
                if let Some(status) = node.ended()? {
                    bail!("node {} ended: {status}\n{}", node.id(), node.log_tail(LINES_ON_FAILURE));
                }
            }
            if Instant::now() > deadline {
                bail!("not up within {limit:?}: {}", missing.join(", "));
            }
            self.events.wait_for_more(seen, LOOK_AFTER_NODES);
        }
    }

    /// The links for which no 1122 has been seen, as `alpha-bravo on private`.
    pub fn links_not_restored(&self) -> Vec<String> {
        let restored: HashSet<Link> = self.events.inspect(|events| events.iter().filter_map(restored_link).collect());
        let mut missing = Vec::new();
        for network in self.topology.network_ids().map(network_name) {
            for node in self.topology.node_ids() {
                for peer in self.topology.node_ids().filter(|peer| *peer != node) {
                    if !restored.contains(&(node.into(), peer.into(), network.clone())) {
                        missing.push(format!("{}-{} on {network}", node_name(node), node_name(peer)));
                    }
                }
            }
        }
        missing
    }

    /// Everything that the nodes have reported.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// The namespaces and networks.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    pub fn node(&self, id: u16) -> &Node {
        &self.nodes[usize::from(id) - 1]
    }

    /// One node, to end it or the like.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    pub fn node_mut(&mut self, id: u16) -> &mut Node {
        &mut self.nodes[usize::from(id) - 1]
    }

    /// SIGTERM to all at once, then waits for each. A node that has only just been started may end by the signal itself.
    ///
    /// # Errors
    ///
    /// When one does not end in time, or in another way.
    pub fn leave(&mut self) -> Result<()> {
        let running: Vec<u16> = self.nodes.iter().filter(|node| node.pid().is_some()).map(Node::id).collect();
        for id in &running {
            self.node(*id).signal(nix::sys::signal::Signal::SIGTERM)?;
        }
        for id in running {
            let node = self.node_mut(id);
            let status = node.wait(Duration::from_secs(20))?;
            let by_signal = status.signal() == Some(libc::SIGTERM);
            ensure!(
                status.success() || by_signal,
                "node {id} ended with {status}\n{}",
                node.log_tail(LINES_ON_FAILURE)
            );
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!("--- node {}, last lines:\n{}", node.id(), node.log_tail(LINES_ON_FAILURE));
            }
        }
    }
}

/// Who reports, about whom, on which network.
type Link = (u64, u64, String);

fn restored_link(event: &Event) -> Option<Link> {
    if event.id() != LINK_RESTORED {
        return None;
    }
    Some((event.node(), event.peer()?, event.network()?.to_owned()))
}
