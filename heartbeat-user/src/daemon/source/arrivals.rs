//! The flight recorder, asked for by people and put into the evidence of events.

use heartbeat_common::{ids, records::PeerRecord};
use heartbeat_membership::{Detail, Event};

use super::NodeSource;
use crate::{
    api::{Failure, NodeName},
    clock,
    dataplane::judging,
    event::Draft,
    history::{Arrivals, History, Past},
};

impl NodeSource {
    /// Puts the last arrivals before a verdict into its evidence: of a 1123 those of its link, of a 1135 those of all links
    /// to the node. Read a moment after the verdict: what has come since is left out.
    pub(in crate::daemon) fn add_arrivals(&self, event: &Event, draft: &mut Draft) {
        let Some(peer) = event.peer else { return };
        let (only, until_ns) = match &event.detail {
            // Of an incarnation that was never heard, nothing; one before it is another story.
            Detail::Lost { stamp_ns, .. } => (event.network, *stamp_ns),
            Detail::Removed { .. } => (None, event.mono_ns),
            Detail::Restored { .. }
            | Detail::Stall { .. }
            | Detail::Left { .. }
            | Detail::Joined { .. }
            | Detail::Interface { .. }
            | Detail::Network { .. }
            | Detail::Installed { .. }
            | Detail::Safe { .. }
            | Detail::Stopped { .. }
            | Detail::Hung { .. }
            | Detail::ConfigDiffers { .. }
            | Detail::AbiDiffers { .. }
            | Detail::Duplicate { .. }
            | Detail::Quarantined { .. }
            | Detail::Released { .. }
            | Detail::Staged { .. }
            | Detail::ConfigInstalled { .. }
            | Detail::Witness { .. } => return,
        };
        let networks = self.networks_of(peer.0);
        let arrivals: Vec<Arrivals> = networks
            .iter()
            .filter(|(network, _)| only.is_none_or(|only| only.0 == *network))
            .map(|(network, name)| Arrivals::before(name, &self.past(peer.0, *network).arrivals, until_ns))
            .collect();
        if let (Some(detail), Ok(arrivals)) = (draft.detail.as_object_mut(), serde_json::to_value(arrivals)) {
            detail.insert("arrivals".to_owned(), arrivals);
        }
    }

    /// The history of a peer as the API tells it.
    pub(super) fn told_history(
        &self,
        peer: &NodeName,
        network: Option<&str>,
        limit: usize,
    ) -> Result<Vec<History>, Failure> {
        let node = self.resolve(peer)?;
        let networks = self.networks_of(node.id);
        let known: Vec<&str> = networks.iter().map(|(_, name)| name.as_str()).collect();
        if networks.is_empty() {
            let message = format!("there is no link from {} to itself", node.name);
            return Err(Failure::new(message, "name another node: `heartbeat nodes`"));
        }
        if let Some(network) = network.filter(|network| !known.contains(network)) {
            let message = format!("there is no link to {} on a network `{network}`", node.name);
            return Err(Failure::new(message, format!("known: {}", known.join(", "))));
        }
        let now_ns = clock::monotonic_ns();
        let wanted = networks.iter().filter(|(_, name)| network.is_none_or(|network| network == name));
        Ok(wanted.map(|(id, name)| self.past(node.id, *id).told(node.id, name, now_ns, limit)).collect())
    }

    /// Networks that a peer shares with this node, ascending by id; none for this node.
    fn networks_of(&self, peer: u16) -> Vec<(u8, String)> {
        let config = self.config();
        let shared = config.networks.iter().filter(|network| {
            let mut peers = config.peers_on(network.id);
            peers.any(|(node, _)| node.id == peer)
        });
        shared.map(|network| (network.id, network.name.clone())).collect()
    }

    fn past(&self, peer: u16, network: u8) -> Past {
        let index = ids::link_index(peer, network);
        let timing = judging(&self.config());
        Past {
            arrivals: self.memory.past_arrivals(index),
            since_ns: self.memory.peers.read(index).map_or(0, |record: PeerRecord| record.since_ns),
            interval_ns: timing.interval_ns,
            longest_regular_ns: timing.interval_ns.saturating_add(timing.slack_ns),
        }
    }
}
