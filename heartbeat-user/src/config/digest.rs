//! The digest that nodes compare to see whether they run the same configuration.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::model::{Config, Multicast, QuorumMode, Role, TwoNode};

/// Changes whenever the canonical form does, so that old and new programs never agree by accident.
const FORM: &[u8] = b"heartbeat config 1\0";

impl Config {
    /// SHA-256 over what all nodes must agree on: cluster name, timing, networks, nodes, votes and quorum rules.
    ///
    /// `[local]` and `[metrics]` differ from node to node and keys change during rotation: both are left out. The order
    /// of tables, spelling of durations and comments do not matter.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut form = Form(Sha256::new());
        form.0.update(FORM);
        form.bytes(self.cluster_name.as_bytes());
        let timing = &self.timing;
        for value in [
            timing.interval_ns,
            u64::from(timing.late_after),
            u64::from(timing.lost_after),
            timing.grace_ns,
            timing.hang_timeout_ns,
        ] {
            form.number(value);
        }
        form.number(self.networks.len() as u64);
        for network in &self.networks {
            form.number(u64::from(network.id));
            form.bytes(network.name.as_bytes());
            form.number(match network.role {
                Role::Internal => 1,
                Role::Mixed => 2,
                Role::Client => 3,
            });
            form.number(network.vlan.map_or(0, u64::from));
            form.number(u64::from(network.single_hop));
            match network.multicast {
                Multicast::Off => form.number(0),
                Multicast::Auto => form.number(1),
                Multicast::Group(group) => {
                    form.number(2);
                    form.address(group);
                }
            }
        }
        form.number(self.nodes.len() as u64);
        for node in &self.nodes {
            form.number(u64::from(node.id));
            form.bytes(node.name.as_bytes());
            form.number(u64::from(node.votes));
            form.number(node.addresses.len() as u64);
            for (network, address) in &node.addresses {
                form.number(u64::from(*network));
                form.address(*address);
            }
        }
        form.number(match self.quorum.mode {
            QuorumMode::Majority => 1,
        });
        form.number(u64::from(self.quorum.tie_breaker));
        form.number(match self.quorum.two_node {
            TwoNode::Refuse => 0,
            TwoNode::TieBreaker => 1,
        });
        // Where the witness is mounted may differ; whether its vote counts may not.
        form.number(u64::from(self.quorum.witness.is_some()));
        if self.quorum.witness.is_some() {
            form.number(self.quorum.record_lease_ns);
        }
        form.0.finalize().into()
    }
}

/// Length before every variable part, so that no two configurations share a form.
struct Form(Sha256);

impl Form {
    fn number(&mut self, value: u64) {
        self.0.update(value.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }
}
