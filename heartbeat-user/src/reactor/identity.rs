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
    let told_ns = memory.node.read(0).map_or(0, |node| node.controller_pass_ns);
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
                // A verdict that fell when no controller was there to tell it is told now: the link is taken over in the
                // state before it, and the standing verdict is read as news.
                let state = match verdict.map(|verdict| (verdict.state, verdict.judged_ns <= told_ns)) {
                    Some((STATE_UP, _)) => LinkState::Up,
                    Some((STATE_LATE, true)) => LinkState::Late,
                    Some((STATE_LATE, false)) if stamp_ns != 0 => LinkState::Up,
                    Some(_) | None => LinkState::Init,
                };
                links.push(AdoptedLink { network: NetworkId(network), state, stamp_ns });
            }
            (accepted != 0).then_some(AdoptedPeer { peer: NodeId(node.id), incarnation: Incarnation(accepted), links })
        })
        .collect();
    Identity { incarnation: Incarnation(incarnation), adopted }
}
