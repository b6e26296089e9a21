//! Who this node is when it starts: new, or the continuation of an earlier controller.

use heartbeat_common::{
    ids,
    records::{STATE_LATE, STATE_UP},
};
use heartbeat_membership::{AdoptedLink, AdoptedPeer, Identity, Incarnation, LinkState, NetworkId, NodeId};

use crate::{config::Config, dataplane::memory::Memory};

/// The identity of a controller that starts anew.
#[must_use]
pub fn fresh(incarnation: u64) -> Identity {
    Identity { incarnation: Incarnation(incarnation), adopted: Vec::new() }
}

/// The identity of a controller that goes on with the records of an earlier one: peers whose incarnation the kernel
/// accepts stay proven, and their links are in the state that the standing verdicts say.
#[must_use]
pub fn adopted(incarnation: u64, config: &Config, memory: &Memory) -> Identity {
    let adopted = config
        .nodes
        .iter()
        .filter(|node| node.id != config.local.node)
        .filter_map(|node| {
            let mut accepted = 0;
            let mut links = Vec::new();
            for network in 1..=ids::MAX_NETWORK {
                let index = ids::link_index(node.id, network);
                let Some(peer) = memory.peers.read(index).filter(|peer| peer.incarnation != 0) else { continue };
                accepted = peer.incarnation;
                let stamp_ns = memory
                    .links
                    .read_locked(index)
                    .filter(|link| link.epoch == peer.epoch)
                    .map_or(0, |link| link.stamp_ns);
                let verdict = memory.verdicts.read(index).filter(|verdict| verdict.epoch == peer.epoch);
                let state = match verdict.map(|verdict| verdict.state) {
                    Some(STATE_UP) => LinkState::Up,
                    Some(STATE_LATE) => LinkState::Late,
                    Some(_) | None => LinkState::Init,
                };
                links.push(AdoptedLink { network: NetworkId(network), state, stamp_ns });
            }
            (accepted != 0).then_some(AdoptedPeer { peer: NodeId(node.id), incarnation: Incarnation(accepted), links })
        })
        .collect();
    Identity { incarnation: Incarnation(incarnation), adopted }
}
