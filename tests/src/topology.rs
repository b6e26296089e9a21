//! Nodes joined by networks: every node has its own namespace, every network is a bridge in a namespace of its own.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};

use crate::{
    clock::Moment,
    cut::{Cuts, Pair},
    interrupt, leftovers,
    loss::Losses,
    namespace::{IpBatch, Namespace, start_ip_batch},
    naming::{Prefix, network_name, node_name},
};

/// As many nodes as a network's /24 has room for.
const MOST_NODES: u16 = 250;
/// As many networks as a cluster may have.
const MOST_NETWORKS: u8 = 8;

/// What to build. Nodes and networks are numbered from 1, as in the configuration; their names are those of
/// [`node_name`] and [`network_name`].
#[derive(Clone, Debug)]
pub struct TopologySpec {
    /// Whose names to use.
    pub prefix: Prefix,
    /// How many nodes, 1 to 250.
    pub nodes: u16,
    /// How many networks, 1 to 8.
    pub networks: u8,
    /// Give every interface an IPv6 address too.
    pub ipv6: bool,
    /// MTU of every interface, in bytes.
    pub mtu: u16,
}

impl TopologySpec {
    /// IPv4 only, MTU 1500, names of this process.
    pub fn new(nodes: u16, networks: u8) -> Self {
        Self { prefix: Prefix::of_this_process(), nodes, networks, ipv6: false, mtu: 1500 }
    }
}

/// Namespaces joined by bridges; removed on drop, with every process that still runs inside.
#[derive(Debug)]
pub struct Topology {
    spec: TopologySpec,
    nodes: Vec<Namespace>,
    networks: Vec<Network>,
}

#[derive(Debug)]
struct Network {
    namespace: Namespace,
    cuts: Cuts,
    losses: Losses,
}

impl Topology {
    /// Builds it; when this returns, frames pass between all nodes of each network. (The kernel may take a second more to
    /// answer for a new IPv6 address.)
    ///
    /// Leftovers of processes that died are removed first. The caller of a demo holds what makes it the only one.
    ///
    /// # Errors
    ///
    /// Without root or `ip`, or when the numbers are out of range. What was made before the failure is removed.
    pub fn build(spec: TopologySpec) -> Result<Self> {
        ensure!((1..=MOST_NODES).contains(&spec.nodes), "{} nodes: 1 to {MOST_NODES} are possible", spec.nodes);
        ensure!((1..=MOST_NETWORKS).contains(&spec.networks), "{} networks: 1 to {MOST_NETWORKS}", spec.networks);
        for leftover in leftovers::remove_of_dead_processes()? {
            eprintln!("removed a leftover of a process that died: {leftover}");
        }
        if spec.prefix == Prefix::demo() {
            leftovers::remove(&spec.prefix)?;
        } else {
            interrupt::clean_up_when_interrupted(&spec.prefix)?;
        }
        let mut topology = Self { spec, nodes: Vec::new(), networks: Vec::new() };
        // On failure the half-built topology is dropped, and so removed.
        topology.make_namespaces()?;
        topology.make_networks()?;
        topology.give_addresses()?;
        Ok(topology)
    }

    /// Ids of the nodes, from 1.
    pub fn node_ids(&self) -> impl Iterator<Item = u16> + use<> {
        1..=self.spec.nodes
    }

    /// Ids of the networks, from 1.
    pub fn network_ids(&self) -> impl Iterator<Item = u8> + use<> {
        1..=self.spec.networks
    }

    /// Whose names it uses.
    pub fn prefix(&self) -> &Prefix {
        &self.spec.prefix
    }

    /// The namespace of a node.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    pub fn node(&self, node: u16) -> &Namespace {
        &self.nodes[usize::from(node) - 1]
    }

    /// The namespace of a network's bridge, where each node has a port that bears its name.
    ///
    /// # Panics
    ///
    /// When there is no such network.
    pub fn network(&self, network: u8) -> &Namespace {
        &self.networks[usize::from(network) - 1].namespace
    }

    /// A node's IPv4 address on a network: 10.77.network.node/24.
    pub fn address(&self, node: u16, network: u8) -> Ipv4Addr {
        // `build` has checked that a node's number fits.
        Ipv4Addr::new(10, 77, network, node.to_le_bytes()[0])
    }

    /// A node's IPv6 address on a network, where the topology has them: fd77:network::node/64.
    pub fn address_v6(&self, node: u16, network: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, network.into(), 0, 0, 0, 0, 0, node)
    }

    /// Whether there are IPv6 addresses.
    pub fn has_ipv6(&self) -> bool {
        self.spec.ipv6
    }

    /// Cuts a node off a network, in both directions.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, in which case nothing has changed.
    pub fn cut(&self, node: u16, network: u8) -> Result<Moment> {
        let (cuts, bridge) = self.cuts(network);
        cuts.cut(bridge, self.pairs_between(&[node]))
    }

    /// Undoes [`Topology::cut`], and one-way cuts of this node.
    ///
    /// # Errors
    ///
    /// As [`Topology::cut`].
    pub fn heal(&self, node: u16, network: u8) -> Result<Moment> {
        let (cuts, bridge) = self.cuts(network);
        cuts.heal(bridge, self.pairs_between(&[node]))
    }

    /// From now on nothing that `from` sends on this network reaches `to`; the other direction stays.
    ///
    /// # Errors
    ///
    /// As [`Topology::cut`].
    pub fn cut_one_way(&self, network: u8, from: u16, to: u16) -> Result<Moment> {
        let (cuts, bridge) = self.cuts(network);
        cuts.cut(bridge, [pair(from, to)])
    }

    /// Undoes [`Topology::cut_one_way`].
    ///
    /// # Errors
    ///
    /// As [`Topology::cut`].
    pub fn heal_one_way(&self, network: u8, from: u16, to: u16) -> Result<Moment> {
        let (cuts, bridge) = self.cuts(network);
        cuts.heal(bridge, [pair(from, to)])
    }

    /// Splits a network: nothing passes between the nodes of `side` and the others.
    ///
    /// # Errors
    ///
    /// As [`Topology::cut`].
    pub fn partition(&self, network: u8, side: &[u16]) -> Result<Moment> {
        let (cuts, bridge) = self.cuts(network);
        cuts.cut(bridge, self.pairs_between(side))
    }

    /// From now on nothing passes on these ways of a network, each from a node to another.
    ///
    /// # Errors
    ///
    /// As [`Topology::cut`].
    pub fn cut_ways(&self, network: u8, ways: &[(u16, u16)]) -> Result<Moment> {
        let (cuts, bridge) = self.cuts(network);
        cuts.cut(bridge, ways.iter().map(|(from, to)| pair(*from, *to)))
    }

    /// Undoes the cuts of these ways.
    ///
    /// # Errors
    ///
    /// As [`Topology::cut`].
    pub fn heal_ways(&self, network: u8, ways: &[(u16, u16)]) -> Result<Moment> {
        let (cuts, bridge) = self.cuts(network);
        cuts.heal(bridge, ways.iter().map(|(from, to)| pair(*from, *to)))
    }

    /// Undoes every cut of a network.
    ///
    /// # Errors
    ///
    /// As [`Topology::cut`].
    pub fn heal_all(&self, network: u8) -> Result<Moment> {
        let (cuts, bridge) = self.cuts(network);
        cuts.heal(bridge, cuts.current())
    }

    /// From now on so many of a hundred frames that a node sends on this network get lost; 0 ends it.
    ///
    /// # Errors
    ///
    /// When `nft` refuses, in which case nothing has changed.
    pub fn lose(&self, node: u16, network: u8, percent: u8) -> Result<()> {
        let network = &self.networks[usize::from(network) - 1];
        network.losses.set(&network.namespace, &node_name(node), percent)
    }

    /// Ends every [`Topology::lose`] of a network.
    ///
    /// # Errors
    ///
    /// As [`Topology::lose`].
    pub fn lose_nothing(&self, network: u8) -> Result<()> {
        let network = &self.networks[usize::from(network) - 1];
        network.losses.clear(&network.namespace)
    }

    fn cuts(&self, network: u8) -> (&Cuts, &Namespace) {
        let network = &self.networks[usize::from(network) - 1];
        (&network.cuts, &network.namespace)
    }

    /// Both directions between each node of `side` and each other node.
    fn pairs_between(&self, side: &[u16]) -> Vec<Pair> {
        let others: Vec<u16> = self.node_ids().filter(|node| !side.contains(node)).collect();
        let both = |&node| others.iter().flat_map(move |&other| [pair(node, other), pair(other, node)]);
        side.iter().flat_map(both).collect()
    }

    fn make_namespaces(&mut self) -> Result<()> {
        let node_names: Vec<String> = self.node_ids().map(|id| self.spec.prefix.node(&node_name(id))).collect();
        let network_names: Vec<String> =
            self.network_ids().map(|id| self.spec.prefix.network(&network_name(id))).collect();
        let all = [node_names.as_slice(), &network_names].concat();
        let mut namespaces = Namespace::create(&all).context("cannot make namespaces (this takes root)")?;
        let networks = namespaces.split_off(node_names.len());
        self.nodes = namespaces;
        self.networks = networks
            .into_iter()
            .map(|namespace| Network { namespace, cuts: Cuts::default(), losses: Losses::default() })
            .collect();
        Ok(())
    }

    fn make_networks(&self) -> Result<()> {
        let batches = self.network_ids().map(|network| {
            let mtu = self.spec.mtu;
            // Forwarding from the first frame on, to every port, without a protocol of the bridge's own in between.
            let bridge = "link add name bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0".to_owned();
            let mut lines = vec![bridge, format!("link set dev bridge mtu {mtu} up"), "link set lo up".to_owned()];
            for node in self.node_ids() {
                let (port, interface, home) = (node_name(node), network_name(network), self.node(node).name());
                lines.push(format!(
                    "link add name {port} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {home}"
                ));
                lines.push(format!("link set dev {port} master bridge up"));
            }
            start_ip_batch(Some(self.network(network).name()), &lines)
        });
        wait_for_all(batches)
    }

    fn give_addresses(&self) -> Result<()> {
        let batches = self.node_ids().map(|node| {
            let mut lines = vec!["link set lo up".to_owned()];
            for network in self.network_ids() {
                let interface = network_name(network);
                lines.push(format!("address add {}/24 dev {interface}", self.address(node, network)));
                if self.spec.ipv6 {
                    lines.push(format!("address add {}/64 dev {interface} nodad", self.address_v6(node, network)));
                }
                lines.push(format!("link set dev {interface} up"));
            }
            start_ip_batch(Some(self.node(node).name()), &lines)
        });
        wait_for_all(batches)
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if let Err(error) = leftovers::remove(&self.spec.prefix) {
            eprintln!("cannot remove the topology {}: {error:#}", self.spec.prefix);
        }
        interrupt::forget(&self.spec.prefix);
    }
}

fn pair(from: u16, to: u16) -> Pair {
    (node_name(from), node_name(to))
}

fn wait_for_all(batches: impl Iterator<Item = Result<IpBatch>>) -> Result<()> {
    // All are started before the first is waited for.
    let started: Vec<IpBatch> = batches.collect::<Result<_>>()?;
    started.into_iter().try_for_each(IpBatch::wait)
}
