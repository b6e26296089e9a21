//! Everything that the core keeps about one configured peer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::NodeConfig;
use crate::evidence::{LinkEvidence, LinkVerdict};
use crate::handshake::Handshake;
use crate::ids::{ConfigDigest, Incarnation, NetworkId, NodeId};
use crate::input::AdoptedPeer;
use crate::link::Link;
use crate::message::NextSequences;
use crate::snapshot::{LinkSnapshot, PeerSnapshot};
use crate::window::Window;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) links: BTreeMap<NetworkId, Link>,
    pub(crate) handshake: Handshake,
    /// Windows of control messages of 20 and above; empty until a handshake has set their starts.
    pub(crate) windows: BTreeMap<NetworkId, Window>,
    /// Stamp of the newest heartbeat that ended a silence.
    pub(crate) heard_again_ns: u64,
    pub(crate) spoken: Option<Spoken>,
    /// A later incarnation that proved itself while the accepted one went on beating.
    pub(crate) contender: Option<Contender>,
    /// The last verdict against each link, for as long as its incarnation counts.
    pub(crate) verdicts: BTreeMap<NetworkId, LinkVerdict>,
}

/// A second life of a member that has not ended its first: perhaps a restart, of which the first soon falls silent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Contender {
    pub(crate) incarnation: Incarnation,
    /// When it first proved itself.
    pub(crate) since_ns: u64,
    /// When it last did.
    pub(crate) seen_ns: u64,
    /// The accepted incarnation has echoed what was sent after that: there are two machines.
    pub(crate) confirmed: bool,
}

/// What the peer said about itself in a fresh answer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Spoken {
    pub(crate) incarnation: Incarnation,
    pub(crate) in_view: bool,
    /// The incarnation of this node that it spoke to.
    pub(crate) to: Incarnation,
    pub(crate) digest: ConfigDigest,
    pub(crate) abi: u32,
}

impl Peer {
    pub(crate) fn new(config: &NodeConfig, shared: &[NetworkId], now_ns: u64, hello_repeat_ns: u64) -> Self {
        Self {
            name: config.name.clone(),
            links: shared.iter().map(|network| (*network, Link::new(now_ns))).collect(),
            handshake: Handshake::new(now_ns, hello_repeat_ns),
            windows: BTreeMap::new(),
            heard_again_ns: 0,
            spoken: None,
            contender: None,
            verdicts: BTreeMap::new(),
        }
    }

    /// How its links stand, as evidence.
    pub(crate) fn evidence(&self) -> Vec<LinkEvidence> {
        let link = |(network, link): (&NetworkId, &Link)| LinkEvidence {
            network: *network,
            state: link.state,
            since_ns: link.since_ns,
            verdict: self.verdicts.get(network).copied(),
        };
        self.links.iter().map(link).collect()
    }

    pub(crate) fn adopt(&mut self, adopted: &AdoptedPeer, now_ns: u64) {
        self.handshake.adopt(adopted.incarnation);
        for found in &adopted.links {
            if let Some(link) = self.links.get_mut(&found.network) {
                *link = Link::adopted(found.state, found.stamp_ns, now_ns);
            }
        }
    }

    pub(crate) fn networks(&self) -> Vec<NetworkId> {
        self.links.keys().copied().collect()
    }

    pub(crate) fn reset_links(&mut self, now_ns: u64, slack_ns: u64) {
        self.links.values_mut().for_each(|link| link.reset(now_ns, slack_ns));
        self.heard_again_ns = 0;
        self.verdicts.clear();
    }

    pub(crate) fn start_windows(&mut self, next: &[NextSequences]) {
        self.windows = next
            .iter()
            .filter(|entry| self.links.contains_key(&entry.network))
            .map(|entry| (entry.network, Window::starting_at(entry.control)))
            .collect();
    }

    pub(crate) fn snapshot(&self, id: NodeId, digest: ConfigDigest, abi: u32) -> PeerSnapshot {
        let link = |(network, link): (&NetworkId, &Link)| LinkSnapshot {
            network: *network,
            state: link.state,
            since_ns: link.since_ns,
        };
        PeerSnapshot {
            id,
            accepted: self.handshake.accepted(),
            proven: self.handshake.accepted().is_some(),
            left: self.handshake.has_left(),
            config_differs: self.spoken.is_some_and(|spoken| spoken.digest != digest),
            abi_differs: self.spoken.is_some_and(|spoken| spoken.abi != abi),
            digest: self.spoken.map(|spoken| spoken.digest),
            links: self.links.iter().map(link).collect(),
        }
    }
}
