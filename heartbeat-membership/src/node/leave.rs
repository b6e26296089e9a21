//! Leaving in order, and peers that do.

use super::Node;
use crate::action::Action;
use crate::event::{Detail, EventId};
use crate::ids::{Incarnation, NetworkId, NodeId};
use crate::input::ControlMessage;
use crate::message::{Kind, Leave};
use crate::refusal::Refusal;
use crate::time::Now;

/// Copies of the announcement on each network: nobody answers it, and without it a peer reports a loss.
const COPIES: usize = 2;

impl Node {
    pub(super) fn on_leave_request(&mut self) {
        let body = Leave { incarnation: self.incarnation }.encode();
        let present: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.handshake.has_left())
            .map(|(id, peer)| (*id, peer.networks()))
            .collect();
        for _ in 0..COPIES {
            for (id, networks) in &present {
                for network in networks {
                    self.send(*id, *network, Kind::Leave, body.clone());
                }
            }
        }
        self.show_lease(0);
        self.stopped = true;
        self.actions.push_back(Action::Stop);
    }

    /// The caller has checked incarnation and sequence.
    pub(super) fn on_leave(&mut self, now: Now, message: &ControlMessage) -> Result<(), Refusal> {
        let leave = Leave::decode(&message.body).map_err(|_| Refusal::Malformed)?;
        if leave.incarnation != Incarnation(message.incarnation) {
            return Err(Refusal::IncarnationMismatch);
        }
        let slack_ns = self.config.timing.slack_ns();
        let peer = self.peers.get_mut(&message.source).ok_or(Refusal::UnknownPeer)?;
        peer.handshake.depart();
        peer.windows.clear();
        peer.reset_links(now.mono_ns, slack_ns);
        let mut is_news = true;
        if let Some(membership) = &mut self.membership
            && membership.view.as_ref().is_some_and(|view| view.has(message.source, leave.incarnation))
        {
            is_news = membership.left.insert(message.source);
        }
        self.actions.push_back(Action::ClearIncarnation { peer: message.source });
        if is_news {
            self.report_left(now, message.source, leave.incarnation, Some(message.network));
        }
        Ok(())
    }

    /// Said once: by the node itself, or by a member that has heard it while its own word is still on the way.
    pub(super) fn report_left(&mut self, now: Now, id: NodeId, incarnation: Incarnation, network: Option<NetworkId>) {
        let text = format!("Node {} left the cluster in order.", self.peer_name(id));
        self.event(now, EventId::NodeLeft, Some(id), network, text, Detail::Left { incarnation });
    }
}
