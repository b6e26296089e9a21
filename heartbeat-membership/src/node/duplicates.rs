//! Two machines that run as one node: a clone, or a copied configuration.
//!
//! Addresses belong to nodes, so the second machine has the address of the first, and datagrams reach one or the other.
//! Each proves its own incarnation. Were the later one accepted at once, as after a restart, the first would take a higher
//! one, then the second, and so on for ever. So a later incarnation of a member is refused while the earlier one is up on
//! some network. After a restart that ends within `late_after` intervals. If instead the earlier one echoes what was sent
//! after the later one had proved itself, both live: it is told here, and to both.

use super::Node;
use crate::event::{Detail, EventId};
use crate::ids::{Incarnation, NodeId};
use crate::link::LinkState;
use crate::membership::Echo;
use crate::message::hello::Statement;
use crate::peer::{Contender, Peer};
use crate::time::{Now, SECOND_NS};

/// A contender that has not proved itself for this long is gone. Its heartbeats, refused, make it be called again within
/// seconds; a minute is also how often at most it is told of.
const CONTENDER_LIFE_NS: u64 = 60 * SECOND_NS;

impl Node {
    /// Whether a proven incarnation is to be refused because an earlier one, a member, goes on beating.
    pub(super) fn contends(&mut self, now: Now, id: NodeId, incarnation: Incarnation) -> bool {
        let member = self.membership.as_ref().and_then(|membership| {
            let left = membership.left.contains(id) || membership.hung.contains_key(&id);
            membership.view.as_ref()?.members.get(&id).copied().filter(|_| !left)
        });
        let counts: Vec<_> = self.config.networks.iter().map(|it| it.id).filter(|it| self.counts(*it)).collect();
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let running = member.filter(|member| peer.handshake.accepted() == Some(*member));
        let beats = peer.links.iter().any(|(network, link)| counts.contains(network) && link.state == LinkState::Up);
        let Some(running) = running.filter(|_| beats) else {
            peer.contender = None;
            return false;
        };
        if incarnation <= running {
            // Where both machines are reached, each on one network, their answers alternate: this one ends nothing.
            peer.contender.take_if(|known| now.mono_ns.saturating_sub(known.seen_ns) > CONTENDER_LIFE_NS);
            return false;
        }
        match &mut peer.contender {
            Some(known) if known.incarnation == incarnation => known.seen_ns = now.mono_ns,
            known => {
                let confirmed = known.is_some_and(|known| known.confirmed);
                *known = Some(Contender { incarnation, since_ns: now.mono_ns, seen_ns: now.mono_ns, confirmed });
            }
        }
        if self.is_duplicate(id) {
            self.report_duplicate(now, id);
        }
        true
    }

    pub(super) fn is_duplicate(&self, id: NodeId) -> bool {
        self.peers.get(&id).and_then(|peer| peer.contender).is_some_and(|contender| contender.confirmed)
    }

    pub(super) fn report_duplicate(&mut self, now: Now, id: NodeId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let (Some(running), Some(contender)) = (peer.handshake.accepted(), peer.contender) else { return };
        let text = format!("Two machines run as node {}; the later one is refused.", self.peer_name(id));
        let detail = Detail::Duplicate { running, refused: contender.incarnation };
        self.event_seldom(now, EventId::DuplicateId, id, text, detail);
    }

    /// Another node has seen two machines that run as this one. It changes nothing: what was said may be old.
    pub(super) fn heed_duplicate(&mut self, now: Now, source: NodeId, said: &Statement) {
        if !said.duplicate {
            return;
        }
        let own = self.incarnation;
        let accepted = Incarnation(said.receiver);
        let (what, detail) = if accepted == own {
            (
                "another machine runs as this node, and is refused",
                Detail::Duplicate { running: own, refused: Incarnation(0) },
            )
        } else {
            (
                "this machine is the later of two that run as this node, and is refused",
                Detail::Duplicate { running: accepted, refused: own },
            )
        };
        let text = format!("Node {} says: {what}.", self.peer_name(source));
        self.event_seldom(now, EventId::DuplicateId, source, text, detail);
    }
}

impl Peer {
    /// Whether an echo shows that the accepted incarnation lives on although a later one has proved itself: news.
    pub(crate) fn confirms_contender(&mut self, echo: &Echo, slack_ns: u64) -> bool {
        let accepted = self.handshake.accepted();
        let Some(contender) = &mut self.contender else { return false };
        let lives = accepted == Some(echo.incarnation) && echo.sent_ns > contender.since_ns.saturating_add(slack_ns);
        let is_news = lives && !contender.confirmed;
        contender.confirmed |= lives;
        is_news
    }
}
