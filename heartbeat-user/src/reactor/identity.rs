//! Who this node is when it starts: new, or the continuation of an earlier controller.

use std::collections::VecDeque;

use heartbeat_common::{
    ids,
    notice::{NOTICE_FLAG_FIRST, NOTICE_FLAG_NEVER_HEARD, NOTICE_LATE, NOTICE_RESTORED, Notice},
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

/// The same identity with its links as the earlier controller told of them: in front of everything that it had not read.
/// Fed `unread` after this, the core tells of what the kernel found while no controller ran.
#[must_use]
pub fn as_told(mut identity: Identity, unread: &VecDeque<Notice>) -> Identity {
    for peer in &mut identity.adopted {
        for link in &mut peer.links {
            let is_about_link = |notice: &&Notice| {
                matches!(notice.kind, NOTICE_LATE | NOTICE_RESTORED)
                    && (notice.node, notice.network) == (peer.peer.0, link.network.0)
                    && notice.incarnation == peer.incarnation.0
            };
            let Some(first) = unread.iter().find(is_about_link) else { continue };
            let is_late = first.kind == NOTICE_LATE;
            let is_beginning = first.flags & if is_late { NOTICE_FLAG_NEVER_HEARD } else { NOTICE_FLAG_FIRST } != 0;
            (link.state, link.stamp_ns) = match (is_beginning, is_late) {
                (true, _) => (LinkState::Init, 0),
                (false, true) => (LinkState::Up, first.stamp_ns),
                (false, false) => (LinkState::Late, first.previous_stamp_ns),
            };
        }
    }
    identity
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use heartbeat_common::notice::NOTICE_SILENT;

    use super::*;

    fn told(unread: &[Notice]) -> (LinkState, u64) {
        let links = vec![AdoptedLink { network: NetworkId(1), state: LinkState::Late, stamp_ns: 90 }];
        let adopted = vec![AdoptedPeer { peer: NodeId(2), incarnation: Incarnation(7), links }];
        let standing = Identity { incarnation: Incarnation(5), adopted };
        let link = as_told(standing, &unread.iter().copied().collect()).adopted[0].links[0];
        (link.state, link.stamp_ns)
    }

    #[test]
    fn a_link_is_as_it_was_before_the_first_record_about_it() {
        let late = Notice { kind: NOTICE_LATE, node: 2, network: 1, incarnation: 7, stamp_ns: 90, ..Notice::zeroed() };
        let restored = Notice { kind: NOTICE_RESTORED, previous_stamp_ns: 40, stamp_ns: 60, ..late };
        assert_eq!(told(&[]), (LinkState::Late, 90), "what stands was told");
        assert_eq!(told(&[late]), (LinkState::Up, 90));
        assert_eq!(told(&[restored, late]), (LinkState::Late, 40));
        assert_eq!(told(&[Notice { flags: NOTICE_FLAG_FIRST, ..restored }, late]), (LinkState::Init, 0));
        assert_eq!(told(&[Notice { flags: NOTICE_FLAG_NEVER_HEARD, ..late }]), (LinkState::Init, 0));
        for other in [
            Notice { node: 3, ..late },
            Notice { network: 2, ..late },
            Notice { incarnation: 6, ..late },
            Notice { kind: NOTICE_SILENT, network: 0, ..late },
        ] {
            assert_eq!(told(&[other]), (LinkState::Late, 90));
        }
    }
}
