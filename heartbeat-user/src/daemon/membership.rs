//! What membership needs of the configuration and of an earlier controller.

use heartbeat_membership::{NodeId, membership::Settings, quorum::Arbiter};

use super::hooks;
use crate::{
    config::{Config, ConfigError, TwoNode},
    dataplane::{Adoption, Dataplane},
    reactor::membership::written_record,
    reload::remembered,
};

/// Who decides an exact half.
///
/// # Errors
/// Two nodes without a witness, unless the configuration says how they shall decide.
pub(super) fn arbiter(config: &Config) -> Result<Arbiter, ConfigError> {
    if config.quorum.witness.is_some() {
        return Ok(Arbiter::Witness);
    }
    if config.nodes.len() == 2 && config.quorum.two_node == TwoNode::Refuse {
        return Err(config.problem(
            "quorum.two_node",
            "is missing: with two nodes and no witness neither can tell a dead peer from a cut network",
            "two_node = \"tie-breaker\" lets the tie-breaker go on alone, and the other one stop",
        ));
    }
    Ok(Arbiter::TieBreaker(Some(NodeId(config.quorum.tie_breaker))))
}

/// The settings of the core.
pub(super) fn settings(config: &Config, arbiter: Arbiter, dataplane: &Dataplane, epoch: u32) -> Settings {
    let resume = match dataplane.adoption {
        Adoption::Adopted(_) => written_record(&dataplane.memory),
        Adoption::Fresh(_) => None,
    };
    let stop_time_ns = u64::try_from(hooks::LIMIT.as_nanos()).unwrap_or(u64::MAX);
    let remembered = remembered::read(&config.local.state_dir);
    Settings {
        arbiter,
        stop_time_ns,
        epoch,
        record_lease_ns: config.quorum.record_lease_ns,
        config_is_new: remembered.is_some_and(|digest| digest != config.digest()),
        resume,
    }
}

/// Networks on which hearing a peer keeps it from being silent, and on which an echo counts.
pub(super) fn counting_networks(config: &Config) -> Vec<u8> {
    config.networks.iter().filter(|network| network.role.carries_membership()).map(|network| network.id).collect()
}
