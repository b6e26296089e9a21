//! Membership in the status: what the core's snapshot says, and what this node can tell where it says nothing.

use heartbeat_membership::{
    InterfaceState as CoreInterfaceState, MembershipSnapshot, NetworkId, NetworkReport,
    NetworkState as CoreNetworkState, NodeId, Snapshot, Stage as CoreStage,
};

use super::NodeSource;
use crate::{
    clock,
    dataplane::memory::Memory,
    status::{
        Interface, InterfaceState, Link, LinkState, Network, NetworkState, Node, NodeState, Regroup, Removal, Stage,
        Staged, View, Witness,
    },
};

impl NodeSource {
    pub(super) fn nodes(&self, snapshot: Option<&Snapshot>) -> Vec<Node> {
        let config = self.config();
        let membership = snapshot.and_then(|snapshot| snapshot.membership.as_ref());
        let now_ns = clock::monotonic_ns();
        let node = |node: &crate::config::Node| {
            let own = node.id == config.local.node;
            let peer = snapshot.and_then(|snapshot| snapshot.peers.iter().find(|peer| peer.id.0 == node.id));
            let is_member = |view: &heartbeat_membership::View| view.members.contains_key(&NodeId(node.id));
            let member = membership.and_then(|membership| membership.view.as_ref()).is_some_and(is_member);
            let kept_out_ns = membership.and_then(|membership| membership.quarantined.get(&NodeId(node.id)));
            let state = if member {
                NodeState::Up
            } else if kept_out_ns.is_some() {
                NodeState::Quarantined
            } else if own || peer.is_some_and(|peer| peer.proven) {
                NodeState::Joining
            } else {
                NodeState::Down
            };
            Node {
                id: node.id,
                name: node.name.clone(),
                state,
                votes: node.votes,
                incarnation: if own {
                    self.memory.node.read(0).map_or(0, |record| record.incarnation)
                } else {
                    peer.and_then(|peer| peer.accepted).map_or(0, |incarnation| incarnation.0)
                },
                config_differs: peer.is_some_and(|peer| peer.config_differs),
                quarantine_left_s: kept_out_ns.map(|until_ns| until_ns.saturating_sub(now_ns) / 1_000_000_000),
            }
        };
        config.nodes.iter().map(node).collect()
    }

    /// States of networks as the leader found them; without one, what this node alone can tell.
    pub(super) fn networks_status(&self, snapshot: Option<&Snapshot>, links: &[Link]) -> Vec<Network> {
        let config = self.config();
        let network = |network: &crate::config::Network| {
            let (judged, judged_by) = judged(snapshot, network.id);
            let state = match judged.map(|report| report.state) {
                Some(CoreNetworkState::Unavailable) => NetworkState::Unavailable,
                Some(CoreNetworkState::Down) => NetworkState::Down,
                Some(CoreNetworkState::Partitioned) => NetworkState::Partitioned,
                Some(CoreNetworkState::Up) => NetworkState::Up,
                None => self.network_from_here(network, links),
            };
            let role = network.role.as_str().to_owned();
            Network { id: network.id, name: network.name.clone(), state, role, judged_by }
        };
        config.networks.iter().map(network).collect()
    }

    fn network_from_here(&self, network: &crate::config::Network, links: &[Link]) -> NetworkState {
        let on_it = || links.iter().filter(|link| link.network == network.name);
        let up = on_it().filter(|link| link.state == LinkState::Up).count();
        if !self.attachments().iter().any(|(id, _)| *id == network.id) {
            NetworkState::Unavailable
        } else if up == on_it().count() {
            NetworkState::Up
        } else if up == 0 {
            NetworkState::Down
        } else {
            NetworkState::Partitioned
        }
    }

    /// States of interfaces, likewise.
    pub(super) fn interfaces(&self, snapshot: Option<&Snapshot>, links: &[Link]) -> Vec<Interface> {
        let config = self.config();
        let mut interfaces = Vec::new();
        for node in &config.nodes {
            for (network, address) in &node.addresses {
                let Some(name) = self.networks.get(network) else { continue };
                let judged = judged(snapshot, *network).0;
                let state = match judged.map(|report| report.interfaces.get(&NodeId(node.id))) {
                    Some(Some(CoreInterfaceState::Up)) => InterfaceState::Up,
                    Some(Some(CoreInterfaceState::Unreachable)) => InterfaceState::Unreachable,
                    Some(Some(CoreInterfaceState::Failed)) => InterfaceState::Failed,
                    // Who is in no view is judged by nobody.
                    Some(Some(CoreInterfaceState::Unavailable) | None) => InterfaceState::Unavailable,
                    None => {
                        let own = node.id == config.local.node;
                        let mut heard =
                            links.iter().filter(|link| link.network == *name && (own || link.peer == node.id));
                        if heard.any(|link| link.state == LinkState::Up) {
                            InterfaceState::Up
                        } else {
                            InterfaceState::Unreachable
                        }
                    }
                };
                let (network, address) = (name.clone(), address.to_string());
                interfaces.push(Interface { node: node.id, network, state, address });
            }
        }
        interfaces
    }

    pub(super) fn witness_status(&self, snapshot: Option<&Snapshot>) -> Option<Witness> {
        let core = snapshot.and_then(|snapshot| snapshot.membership.as_ref()?.witness.as_ref());
        let report = self.witness_report();
        if core.is_none() && report.is_none() {
            return None;
        }
        Some(Witness {
            epoch: core.and_then(|witness| witness.epoch),
            holder: core.and_then(|witness| witness.holder).map(|holder| holder.node.0),
            counts: core.is_some_and(|witness| witness.counts),
            failures: core.map_or(0, |witness| witness.failures),
            last_error: report.and_then(|report| report.error),
        })
    }
}

/// What the leader found of a network, and who the leader is.
fn judged(snapshot: Option<&Snapshot>, network: u8) -> (Option<&NetworkReport>, Option<u16>) {
    let of = |membership: &'_ MembershipSnapshot| membership.leader.map(|leader| leader.0);
    let membership = snapshot.and_then(|snapshot| snapshot.membership.as_ref());
    let report = membership.and_then(|membership| membership.networks.get(&NetworkId(network)));
    (report, report.and(membership).and_then(of))
}

/// The view, with the lease as it stands in NODE: a snapshot does not follow every renewal.
pub(super) fn view(snapshot: &Snapshot, memory: &Memory) -> View {
    let Some(membership) = &snapshot.membership else { return View::default() };
    let Some(view) = &membership.view else { return View::default() };
    let end_ns = memory.node.read(0).map_or(0, |node| node.lease_end_ns);
    let left_ns = end_ns.saturating_sub(clock::boottime_ns());
    View {
        number: view.id.number,
        members: view.members.keys().map(|node| node.0).collect(),
        quorate: membership.quorate && left_ns > 0,
        lease_left_ms: left_ns / 1_000_000,
        leader: membership.leader.map(|leader| leader.0),
        suspended: membership.suspended,
        forced: view.forced,
    }
}

pub(super) fn regroup(snapshot: &Snapshot) -> Regroup {
    let Some(membership) = &snapshot.membership else { return Regroup { stage: Stage::Stabilized, sequence: 0 } };
    let stage = match membership.stage {
        CoreStage::Activate => Stage::Activate,
        CoreStage::Closing => Stage::Closing,
        CoreStage::Pruning => Stage::Pruning,
        CoreStage::Cleanup1 => Stage::CleanupOne,
        CoreStage::Cleanup2 => Stage::CleanupTwo,
        CoreStage::Stabilized => Stage::Stabilized,
    };
    Regroup { stage, sequence: membership.sequence }
}

/// Removed nodes whose work may not be taken over yet.
pub(super) fn removals(snapshot: &Snapshot) -> Vec<Removal> {
    let now_ns = clock::monotonic_ns();
    let removals = snapshot.membership.iter().flat_map(|membership| &membership.removals);
    removals
        // What is not announced is of no view that was installed here.
        .filter(|(_, removal)| !removal.silent)
        .map(|(node, removal)| Removal {
            node: node.0,
            incarnation: removal.incarnation.0,
            safe_in_ms: removal.due_ns.saturating_sub(now_ns) / 1_000_000,
        })
        .collect()
}

/// The configuration that waits until all members have it.
pub(super) fn staged(snapshot: &Snapshot) -> Option<Staged> {
    let staged = snapshot.membership.as_ref()?.staged.as_ref()?;
    Some(Staged {
        digest: hex::encode(staged.digest.0),
        ready: staged.ready.iter().map(|node| node.0).collect(),
        waits_for: staged.waits_for.clone(),
    })
}
