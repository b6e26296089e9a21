//! What the kernel of a simulated machine keeps: accepted incarnations, windows, stamps, echoes, and the judge.

use std::collections::BTreeMap;

use heartbeat_membership::{
    AdoptedLink, AdoptedPeer, Incarnation, Input, LateVerdict, LinkState, MembershipInput, NetworkId, NextSequences,
    NodeId, Restored, SilentVerdict, Timing,
};

use crate::by_node::ByNode;

/// A heartbeat on its way.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// Its sender.
    pub source: NodeId,
    /// Its network.
    pub network: NetworkId,
    /// The sender's incarnation.
    pub incarnation: Incarnation,
    /// Its number on this network towards the receiver.
    pub sequence: u64,
    /// The sender's clock.
    pub sent_ns: u64,
    /// The receiver's clock as last heard by the sender on this network.
    pub echo_ns: u64,
    /// Passes that the sender's controller has made.
    pub beat: u64,
}

/// Kernel state towards every peer.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    peers: ByNode<Peer>,
    /// Heartbeats that arrived and were not accepted.
    pub refused: u64,
}

#[derive(Debug, Clone, Default)]
struct Peer {
    accepted: Option<Incarnation>,
    accepted_ns: u64,
    links: BTreeMap<NetworkId, Link>,
    silent: bool,
    /// Newest own send time that the peer echoed.
    echo_ns: u64,
    /// Passes of its controller, when they last grew here, and whether that it hangs has been told.
    beat: u64,
    beat_ns: u64,
    hung: bool,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    newest: u64,
    seen: u64,
    stamp_ns: u64,
    sent_ns: u64,
    heard: bool,
    late: bool,
}

impl Kernel {
    /// Accepts exactly this incarnation from now on.
    pub fn accept(&mut self, peer: NodeId, incarnation: Incarnation, next: &[NextSequences], now_ns: u64) {
        let link = |next: &NextSequences| {
            let link =
                Link { newest: next.unicast - 1, seen: u64::MAX, stamp_ns: 0, sent_ns: 0, heard: false, late: false };
            (next.network, link)
        };
        let links = next.iter().map(link).collect();
        let fresh =
            Peer { accepted: Some(incarnation), accepted_ns: now_ns, links, beat_ns: now_ns, ..Peer::default() };
        self.peers.insert(peer, fresh);
    }

    /// Accepts none; stamps stay readable. Returns the newest.
    pub fn clear(&mut self, peer: NodeId) -> u64 {
        let Some(peer) = self.peers.get_mut(peer) else { return 0 };
        peer.accepted = None;
        peer.echo_ns = 0;
        peer.newest()
    }

    /// What a restarted controller finds.
    #[must_use]
    pub fn adopted(&self) -> Vec<AdoptedPeer> {
        let link = |(network, link): (&NetworkId, &Link)| {
            let state = match (link.heard, link.late) {
                (_, true) => LinkState::Late,
                (true, false) => LinkState::Up,
                (false, false) => LinkState::Init,
            };
            AdoptedLink { network: *network, state, stamp_ns: link.stamp_ns }
        };
        let peer = |(id, peer): (NodeId, &Peer)| {
            let incarnation = peer.accepted?;
            Some(AdoptedPeer { peer: id, incarnation, links: peer.links.iter().map(link).collect() })
        };
        self.peers.iter().filter_map(peer).collect()
    }

    /// The newest stamp of a peer.
    #[must_use]
    pub fn newest(&self, peer: NodeId) -> u64 {
        self.peers.get(peer).map_or(0, Peer::newest)
    }

    /// The incarnation that is accepted.
    #[must_use]
    pub fn accepted(&self, peer: NodeId) -> Option<Incarnation> {
        self.peers.get(peer).and_then(|peer| peer.accepted)
    }

    /// What goes into the echo field towards a peer.
    #[must_use]
    pub fn echo_for(&self, peer: NodeId, network: NetworkId) -> u64 {
        let Some(peer) = self.peers.get(peer).filter(|peer| peer.accepted.is_some()) else { return 0 };
        peer.links.get(&network).map_or(0, |link| link.sent_ns)
    }

    /// Newest echo of each peer.
    pub fn echoes(&self) -> impl Iterator<Item = (NodeId, Incarnation, u64)> + '_ {
        self.peers.iter().filter_map(|(id, peer)| Some((id, peer.accepted?, peer.echo_ns)))
    }

    /// A heartbeat arrives; what the core is told of it, and whether it was accepted.
    pub fn receive(&mut self, heartbeat: &Heartbeat, now_ns: u64) -> (Vec<Input>, bool) {
        let (told, accepted) = self.take(heartbeat, now_ns);
        self.refused += u64::from(!accepted);
        (told, accepted)
    }

    fn take(&mut self, heartbeat: &Heartbeat, now_ns: u64) -> (Vec<Input>, bool) {
        let id = heartbeat.source;
        let peer = self.peers.get_or_insert_with(id, Peer::default);
        if peer.accepted != Some(heartbeat.incarnation) {
            let (network, incarnation) = (heartbeat.network, heartbeat.incarnation);
            return (vec![Input::OtherIncarnation { peer: id, network, incarnation }], false);
        }
        let Some(link) = peer.links.get_mut(&heartbeat.network) else { return (Vec::new(), false) };
        if !link.admit(heartbeat.sequence) {
            return (Vec::new(), false);
        }
        // What an earlier life of this machine sent, on a clock that has begun anew, must not hide what this one sends.
        if heartbeat.echo_ns <= now_ns {
            peer.echo_ns = peer.echo_ns.max(heartbeat.echo_ns);
        }
        if heartbeat.beat > peer.beat {
            peer.beat = heartbeat.beat;
            peer.beat_ns = now_ns;
            peer.hung = false;
        }
        let mut told = Vec::new();
        if !link.heard || link.late {
            told.push(Input::Restored(Restored {
                peer: id,
                network: heartbeat.network,
                stamp_ns: now_ns,
                first: !link.heard,
                previous_stamp_ns: link.stamp_ns,
                sent_ns: heartbeat.sent_ns,
                previous_sent_ns: link.sent_ns,
                lost: 0,
            }));
        }
        link.heard = true;
        link.late = false;
        link.stamp_ns = now_ns;
        link.sent_ns = link.sent_ns.max(heartbeat.sent_ns);
        if peer.silent {
            peer.silent = false;
            told.push(Input::HeardAgain { peer: id, stamp_ns: now_ns });
        }
        (told, true)
    }

    /// The standing verdicts, as a driver reads them when the ring has overflowed.
    #[must_use]
    pub fn standing(&self, now_ns: u64) -> Vec<Input> {
        let mut told = Vec::new();
        for (id, peer) in self.peers.iter().filter(|(_, peer)| peer.accepted.is_some()) {
            let newest_ns = peer.links.values().map(|link| link.stamp_ns).max().unwrap_or(0);
            for (network, link) in &peer.links {
                if link.late {
                    told.push(Input::Late(LateVerdict {
                        peer: id,
                        network: *network,
                        stamp_ns: link.stamp_ns,
                        deadline_ns: now_ns,
                        judged_ns: now_ns,
                        missed: 0,
                        never_heard: !link.heard,
                        marked_stall: false,
                    }));
                } else if link.heard {
                    told.push(Input::Restored(Restored {
                        peer: id,
                        network: *network,
                        stamp_ns: link.stamp_ns,
                        first: false,
                        previous_stamp_ns: 0,
                        sent_ns: link.sent_ns,
                        previous_sent_ns: 0,
                        lost: 0,
                    }));
                }
            }
            if peer.silent {
                let (stamp_ns, deadline_ns, judged_ns) = (newest_ns, now_ns, now_ns);
                told.push(Input::Silent(SilentVerdict {
                    peer: id,
                    stamp_ns,
                    deadline_ns,
                    judged_ns,
                    marked_stall: false,
                }));
            } else {
                told.push(Input::HeardAgain { peer: id, stamp_ns: newest_ns });
            }
        }
        told
    }

    /// The judge runs: verdicts that are due, and when it must run next.
    pub fn judge(&mut self, now_ns: u64, timing: &Timing) -> (Vec<Input>, u64) {
        let mut told = Vec::new();
        let mut next_ns = now_ns + timing.interval_ns;
        for (id, peer) in self.peers.iter_mut() {
            if peer.accepted.is_none() {
                continue;
            }
            let mut newest_ns = peer.accepted_ns;
            let beats = peer.newest() > peer.beat_ns;
            if beats && !peer.hung && now_ns >= peer.beat_ns + timing.hang_timeout_ns {
                peer.hung = true;
                told.push(Input::Membership(MembershipInput::PeerHung { peer: id }));
            }
            for (network, link) in &mut peer.links {
                let from_ns = link.stamp_ns.max(peer.accepted_ns);
                newest_ns = newest_ns.max(from_ns);
                let deadline_ns = from_ns + timing.late_timeout_ns();
                if link.late {
                    continue;
                }
                if deadline_ns > now_ns {
                    next_ns = next_ns.min(deadline_ns);
                    continue;
                }
                link.late = true;
                told.push(Input::Late(LateVerdict {
                    peer: id,
                    network: *network,
                    stamp_ns: link.stamp_ns,
                    deadline_ns,
                    judged_ns: now_ns,
                    missed: timing.late_after,
                    never_heard: !link.heard,
                    marked_stall: false,
                }));
            }
            let deadline_ns = newest_ns + timing.silent_timeout_ns();
            if peer.silent {
                continue;
            }
            if deadline_ns > now_ns {
                next_ns = next_ns.min(deadline_ns);
                continue;
            }
            peer.silent = true;
            let stamp_ns = peer.links.values().map(|link| link.stamp_ns).max().unwrap_or(0);
            told.push(Input::Silent(SilentVerdict {
                peer: id,
                stamp_ns,
                deadline_ns,
                judged_ns: now_ns,
                marked_stall: false,
            }));
        }
        (told, next_ns.max(now_ns + 1))
    }
}

impl Peer {
    fn newest(&self) -> u64 {
        self.links.values().map(|link| link.stamp_ns).max().unwrap_or(0)
    }
}

impl Link {
    fn admit(&mut self, sequence: u64) -> bool {
        if sequence > self.newest {
            let ahead = sequence - self.newest;
            self.seen = if ahead >= 64 { 1 } else { (self.seen << ahead) | 1 };
            self.newest = sequence;
            return true;
        }
        let behind = self.newest - sequence;
        if behind >= 64 || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}
