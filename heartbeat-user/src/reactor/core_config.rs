//! The configuration as the core wants it.

use heartbeat_common::ABI_VERSION;
use heartbeat_membership::{
    ConfigDigest, CoreConfig, NetworkConfig, NetworkId, NetworkRole, NodeConfig, NodeId, Timing,
};

use crate::config::{Config, Role};

/// The core's part of a configuration.
#[must_use]
pub fn core_config(config: &Config) -> CoreConfig {
    CoreConfig {
        local: NodeId(config.local.node),
        nodes: config
            .nodes
            .iter()
            .map(|node| NodeConfig {
                id: NodeId(node.id),
                name: node.name.clone(),
                votes: node.votes,
                networks: node.addresses.keys().map(|network| NetworkId(*network)).collect(),
            })
            .collect(),
        networks: config
            .networks
            .iter()
            .map(|network| NetworkConfig {
                id: NetworkId(network.id),
                name: network.name.clone(),
                role: match network.role {
                    Role::Internal => NetworkRole::Internal,
                    Role::Mixed => NetworkRole::Mixed,
                    Role::Client => NetworkRole::Client,
                },
            })
            .collect(),
        timing: Timing {
            interval_ns: config.timing.interval_ns,
            late_after: config.timing.late_after,
            lost_after: config.timing.lost_after,
            grace_ns: config.timing.grace_ns,
            hang_timeout_ns: config.timing.hang_timeout_ns,
        },
        digest: ConfigDigest(config.digest()),
        abi: ABI_VERSION,
    }
}
