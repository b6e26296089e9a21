//! What the kernel of a machine keeps of its peers, on the one network of the model.

use std::collections::BTreeMap;

use heartbeat_membership::{
    AdoptedLink, AdoptedPeer, Incarnation, Input, LateVerdict, LinkState, NetworkId, NodeId, Restored, SilentVerdict,
    Timing,
};
use serde::Serialize;

/// The network. More of them would multiply the states and decide nothing: a node is heard if it is on any.
pub const NETWORK: NetworkId = NetworkId(1);

/// A heartbeat. It carries no sequence number: nothing is delivered twice, and nothing late but what [`crate::Step::Stale`]
/// makes up.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// Its sender.
    pub source: NodeId,
    /// The sender's incarnation.
    pub incarnation: Incarnation,
    /// When it was sent.
    pub sent_ns: u64,
    /// Send time of the receiver's heartbeat that the sender heard last; 0 = none.
    pub echo_ns: u64,
}

/// Kernel state towards every peer.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Kernel {
    peers: BTreeMap<NodeId, Peer>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Peer {
    accepted: Option<Incarnation>,
    accepted_ns: u64,
    stamp_ns: u64,
    sent_ns: u64,
    echo_ns: u64,
    heard: bool,
    late: bool,
    silent: bool,
}

impl Kernel {
    /// Accepts exactly this incarnation from now on.
    pub fn accept(&mut self, peer: NodeId, incarnation: Incarnation, now_ns: u64) {
        let fresh = Peer { accepted: Some(incarnation), accepted_ns: now_ns, ..Peer::default() };
        self.peers.insert(peer, fresh);
    }

    /// Accepts none; the stamp stays readable.
    pub fn clear(&mut self, peer: NodeId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.accepted = None;
            peer.echo_ns = 0;
        }
    }

    /// The newest stamp of a peer; 0 = never heard.
    #[must_use]
    pub fn newest(&self, peer: NodeId) -> u64 {
        self.peers.get(&peer).map_or(0, |peer| peer.stamp_ns)
    }

    /// What goes into the echo field towards a peer.
    #[must_use]
    pub fn echo_for(&self, peer: NodeId) -> u64 {
        self.peers.get(&peer).filter(|peer| peer.accepted.is_some()).map_or(0, |peer| peer.sent_ns)
    }

    /// Newest echo of each accepted peer.
    pub fn echoes(&self) -> impl Iterator<Item = (NodeId, Incarnation, u64)> + '_ {
        self.peers.iter().filter_map(|(id, peer)| Some((*id, peer.accepted?, peer.echo_ns)))
    }

    /// What a restarted controller finds.
    #[must_use]
    pub fn adopted(&self) -> Vec<AdoptedPeer> {
        let adopt = |(id, peer): (&NodeId, &Peer)| {
            let state = match (peer.silent, peer.late, peer.heard) {
                (true, _, _) => LinkState::Silent,
                (false, true, _) => LinkState::Late,
                (false, false, true) => LinkState::Up,
                (false, false, false) => LinkState::Init,
            };
            let link = AdoptedLink { network: NETWORK, state, stamp_ns: peer.stamp_ns };
            Some(AdoptedPeer { peer: *id, incarnation: peer.accepted?, links: vec![link] })
        };
        self.peers.iter().filter_map(adopt).collect()
    }

    /// A heartbeat arrives; what the core is told of it, and whether it was accepted.
    pub fn receive(&mut self, heartbeat: &Heartbeat, now_ns: u64) -> (Vec<Input>, bool) {
        let (id, incarnation) = (heartbeat.source, heartbeat.incarnation);
        let peer = self.peers.entry(id).or_default();
        if peer.accepted != Some(incarnation) {
            return (vec![Input::OtherIncarnation { peer: id, network: NETWORK, incarnation }], false);
        }
        let mut told = Vec::new();
        if !peer.heard || peer.late {
            told.push(Input::Restored(Restored {
                peer: id,
                network: NETWORK,
                stamp_ns: now_ns,
                first: !peer.heard,
                previous_stamp_ns: peer.stamp_ns,
                sent_ns: heartbeat.sent_ns,
                previous_sent_ns: peer.sent_ns,
                lost: 0,
            }));
        }
        if peer.silent {
            told.push(Input::HeardAgain { peer: id, stamp_ns: now_ns });
        }
        peer.heard = true;
        peer.late = false;
        peer.silent = false;
        peer.stamp_ns = now_ns;
        peer.sent_ns = peer.sent_ns.max(heartbeat.sent_ns);
        peer.echo_ns = peer.echo_ns.max(heartbeat.echo_ns);
        (told, true)
    }

    /// The judge runs: verdicts that are due, each once in an episode.
    pub fn judge(&mut self, now_ns: u64, timing: &Timing) -> Vec<Input> {
        let mut told = Vec::new();
        for (id, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.accepted.is_some()) {
            let from_ns = peer.stamp_ns.max(peer.accepted_ns);
            let late_ns = from_ns + timing.late_timeout_ns();
            if !peer.late && late_ns <= now_ns {
                peer.late = true;
                told.push(Input::Late(LateVerdict {
                    peer: *id,
                    network: NETWORK,
                    stamp_ns: peer.stamp_ns,
                    deadline_ns: late_ns,
                    judged_ns: now_ns,
                    missed: timing.late_after,
                    never_heard: !peer.heard,
                    marked_stall: false,
                }));
            }
            let silent_ns = from_ns + timing.silent_timeout_ns();
            if !peer.silent && silent_ns <= now_ns {
                peer.silent = true;
                told.push(Input::Silent(SilentVerdict {
                    peer: *id,
                    stamp_ns: peer.stamp_ns,
                    deadline_ns: silent_ns,
                    judged_ns: now_ns,
                    marked_stall: false,
                }));
            }
        }
        told
    }

    /// The standing verdicts: what a controller reads that was restarted or stood still.
    #[must_use]
    pub fn standing(&self, now_ns: u64, timing: &Timing) -> Vec<Input> {
        let mut copy = self.clone();
        let mut told = Vec::new();
        for (id, peer) in copy.peers.iter_mut().filter(|(_, peer)| peer.accepted.is_some()) {
            if peer.heard && !peer.late {
                told.push(Input::Restored(Restored {
                    peer: *id,
                    network: NETWORK,
                    stamp_ns: peer.stamp_ns,
                    first: false,
                    previous_stamp_ns: 0,
                    sent_ns: peer.sent_ns,
                    previous_sent_ns: 0,
                    lost: 0,
                }));
            }
            if peer.heard && !peer.silent {
                told.push(Input::HeardAgain { peer: *id, stamp_ns: peer.stamp_ns });
            }
            (peer.late, peer.silent) = (false, false);
        }
        told.extend(copy.judge(now_ns, timing));
        told
    }
}
