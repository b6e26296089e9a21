//! Verdicts of the kernel's judge: links, silence, stalls.

use super::Node;
use crate::cause;
use crate::event::{Cause, Detail, EventId};
use crate::evidence::LinkVerdict;
use crate::ids::{NetworkId, NodeId};
use crate::input::{LateVerdict, LocalStall, Restored, SilentVerdict, StallSource};
use crate::link::LinkEdge;
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::time::{MILLISECOND_NS, Now};

impl Node {
    pub(super) fn on_late(&mut self, now: Now, verdict: &LateVerdict) {
        let Some(peer) = self.judged(verdict.peer) else { return };
        let Some(link) = peer.links.get_mut(&verdict.network) else {
            self.refuse(Refusal::UnknownNetwork);
            return;
        };
        if link.late(verdict.stamp_ns, verdict.judged_ns, now.mono_ns) == LinkEdge::Lost {
            let (stamp_ns, deadline_ns, judged_ns) = (verdict.stamp_ns, verdict.deadline_ns, verdict.judged_ns);
            let against = LinkVerdict { stamp_ns, deadline_ns, judged_ns, missed: verdict.missed };
            peer.verdicts.insert(verdict.network, against);
            let detail = Detail::Lost {
                stamp_ns: verdict.stamp_ns,
                deadline_ns: verdict.deadline_ns,
                judged_ns: verdict.judged_ns,
                missed: verdict.missed,
                never_heard: verdict.never_heard,
                marked_stall: verdict.marked_stall,
            };
            self.link_lost(now, verdict.peer, verdict.network, detail);
        }
    }

    pub(super) fn on_restored(&mut self, now: Now, restored: &Restored) {
        let Some(peer) = self.judged(restored.peer) else { return };
        let incarnation = peer.handshake.accepted();
        let Some(link) = peer.links.get_mut(&restored.network) else {
            self.refuse(Refusal::UnknownNetwork);
            return;
        };
        let edge = link.heard(restored.stamp_ns, now.mono_ns);
        let (LinkEdge::Restored, Some(incarnation)) = (edge, incarnation) else { return };
        let stall = self.last_stall.values().max_by_key(|stall| stall.at_ns);
        let cause = cause::of_lateness(restored, stall, &self.config.timing);
        let text = format!(
            "Node {} {} on network {}{}.",
            self.peer_name(restored.peer),
            if restored.first { "is heard" } else { "is heard again" },
            self.network_name(restored.network),
            cause.map_or("", in_words),
        );
        let detail = Detail::Restored {
            stamp_ns: restored.stamp_ns,
            previous_stamp_ns: restored.previous_stamp_ns,
            incarnation,
            first: restored.first,
            lost: restored.lost,
            cause,
        };
        self.event(now, EventId::LinkRestored, Some(restored.peer), Some(restored.network), text, detail);
    }

    pub(super) fn on_silent(&mut self, now: Now, verdict: &SilentVerdict) {
        let counting: Vec<_> = self.networks_that_count();
        let Some(peer) = self.judged(verdict.peer) else { return };
        if verdict.stamp_ns < peer.heard_again_ns
            || peer.links.iter().any(|(id, link)| counting.contains(id) && link.overtakes(verdict.stamp_ns))
        {
            return;
        }
        let (stamp_ns, deadline_ns, judged_ns) = (verdict.stamp_ns, verdict.deadline_ns, verdict.judged_ns);
        let mut lost = Vec::new();
        for (network, link) in peer.links.iter_mut().filter(|(id, _)| counting.contains(id)) {
            let edge = link.silent(verdict.stamp_ns, verdict.judged_ns, now.mono_ns);
            let known =
                peer.verdicts.entry(*network).or_insert(LinkVerdict { stamp_ns, deadline_ns, judged_ns, missed: 0 });
            known.deadline_ns = deadline_ns;
            known.judged_ns = judged_ns;
            if edge == LinkEdge::Lost {
                lost.push(*network);
            }
        }
        for network in lost {
            let detail = Detail::Lost {
                stamp_ns: verdict.stamp_ns,
                deadline_ns: verdict.deadline_ns,
                judged_ns: verdict.judged_ns,
                missed: 0,
                never_heard: verdict.stamp_ns == 0,
                marked_stall: verdict.marked_stall,
            };
            self.link_lost(now, verdict.peer, network, detail);
        }
    }

    pub(super) fn on_heard_again(&mut self, now: Now, id: NodeId, stamp_ns: u64) {
        let Some(peer) = self.judged(id) else { return };
        // A repeated record of an earlier silence must not end the present one.
        if stamp_ns > peer.heard_again_ns {
            peer.heard_again_ns = stamp_ns;
            peer.links.values_mut().for_each(|link| link.heard_again(now.mono_ns));
        }
    }

    pub(super) fn on_local_stall(&mut self, now: Now, stall: LocalStall) {
        if self.last_stall.get(&stall.source).is_some_and(|last| stall.at_ns <= last.at_ns) {
            return;
        }
        self.last_stall.insert(stall.source, stall);
        let text = format!(
            "{} stood still for {} ms{}.",
            match stall.source {
                StallSource::Machine => "This machine",
                StallSource::Controller => "The controller of this node",
                StallSource::Clock => "The clock of this machine",
            },
            stall.length_ns / MILLISECOND_NS,
            if stall.budget_spent { "; stalls no longer excuse missing heartbeats" } else { "" },
        );
        let detail = Detail::Stall {
            length_ns: stall.length_ns,
            at_ns: stall.at_ns,
            source: stall.source,
            budget_spent: stall.budget_spent,
        };
        self.event(now, EventId::LocalStall, None, None, text, detail);
    }

    /// The peer, if verdicts about it mean anything: nothing is judged without an accepted incarnation, and a record
    /// that was on its way when a peer left is no news.
    fn judged(&mut self, id: NodeId) -> Option<&mut Peer> {
        if !self.peers.contains_key(&id) {
            self.refuse(Refusal::UnknownPeer);
        } else if self.peers.get(&id).is_some_and(|peer| peer.handshake.accepted().is_none()) {
            self.refuse(Refusal::NotAccepted);
        } else {
            return self.peers.get_mut(&id);
        }
        None
    }

    fn networks_that_count(&self) -> Vec<NetworkId> {
        let counts = |role| match role {
            crate::config::NetworkRole::Internal | crate::config::NetworkRole::Mixed => true,
            crate::config::NetworkRole::Client => false,
        };
        self.config.networks.iter().filter(|network| counts(network.role)).map(|network| network.id).collect()
    }

    fn link_lost(&mut self, now: Now, peer: NodeId, network: NetworkId, detail: Detail) {
        let text = format!("Node {} is not heard on network {}.", self.peer_name(peer), self.network_name(network));
        self.event(now, EventId::LinkLost, Some(peer), Some(network), text, detail);
    }
}

fn in_words(cause: Cause) -> &'static str {
    match cause {
        Cause::SentLate => "; it had sent late",
        Cause::LostOnTheWay => "; its heartbeats were lost on the way",
        Cause::DelayedOnTheWay => "; its heartbeat was delayed on the way",
        Cause::HandledLateHere => "; this machine had stood still",
    }
}
