//! The lease: until when this node may act.
//!
//! It counts from the latest own send time such that a quorum of the view has echoed a heartbeat sent then or later.
//! Hearing others proves nothing: behind a one-way cut they may have given this node up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;
use crate::nodeset::NodeSet;
use crate::quorum::Votes;
use crate::time::{MILLISECOND_NS, Now};
use crate::witness::Proof;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Own send time of the newest heartbeat that each peer has echoed, `CLOCK_MONOTONIC`.
    echoes: BTreeMap<NodeId, u64>,
    /// Echoes of anything sent earlier prove nothing: another incarnation, or a clock that stood still.
    floor_ns: u64,
    offsets: Offsets,
    end_boot_ns: Option<u64>,
    /// When it ended because it was declared void, `CLOCK_BOOTTIME`; until it is renewed.
    voided_boot_ns: Option<u64>,
    /// Memory of [`Lease::quorum_since`], which comes in every interval.
    #[serde(skip)]
    proofs: Vec<(u64, Option<NodeId>)>,
}

/// `CLOCK_BOOTTIME` runs ahead of `CLOCK_MONOTONIC` by the time that the machine was suspended.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Offsets {
    first_ns: u64,
    latest_ns: u64,
    changed_at_ns: u64,
}

impl Lease {
    /// `floor_ns`: when this incarnation began.
    pub(crate) fn new(now: Now, floor_ns: u64) -> Self {
        let offset_ns = now.boot_ns.saturating_sub(now.mono_ns);
        let offsets = Offsets { first_ns: offset_ns, latest_ns: offset_ns, changed_at_ns: 0 };
        Self { echoes: BTreeMap::new(), floor_ns, offsets, end_boot_ns: None, voided_boot_ns: None, proofs: Vec::new() }
    }

    /// A peer has echoed a heartbeat that this node sent at `sent_ns`.
    pub(crate) fn echoed(&mut self, peer: NodeId, sent_ns: u64, now: Now) {
        if (self.floor_ns..=now.mono_ns).contains(&sent_ns) {
            let newest = self.echoes.entry(peer).or_default();
            *newest = (*newest).max(sent_ns);
        }
    }

    /// Another incarnation of the peer counts from now on: what the earlier one echoed does not.
    pub(crate) fn forget(&mut self, peer: NodeId) {
        self.echoes.remove(&peer);
    }

    /// The clock stood still while the world went on: nothing echoed so far counts.
    pub(crate) fn void(&mut self, now: Now) {
        self.echoes.clear();
        self.floor_ns = now.mono_ns;
        // A second time before it was renewed changes nothing: who stutters for ever does not get grace for ever.
        let ended = self.end_boot_ns.take().map(|end_ns| end_ns.min(now.boot_ns));
        self.voided_boot_ns = self.voided_boot_ns.or(ended);
    }

    /// Computes the end anew, with what the witness is worth.
    pub(crate) fn renew(
        &mut self,
        now: Now,
        local: NodeId,
        members: &NodeSet,
        votes: &Votes,
        witness: Option<Proof>,
        length_ns: u64,
    ) {
        self.offsets.observe(now);
        let since_ns = self.quorum_since(now, local, members, votes, witness);
        self.end_boot_ns = since_ns.map(|since_ns| self.offsets.to_boot(since_ns).saturating_add(length_ns));
        if self.end_boot_ns.is_some() {
            self.voided_boot_ns = None;
        }
    }

    /// When it ends, has ended or was declared void; `None` if there never was a quorum of echoes.
    pub(crate) fn over_boot_ns(&self) -> Option<u64> {
        self.end_boot_ns.or(self.voided_boot_ns)
    }

    /// End of the lease in `CLOCK_BOOTTIME`; `None` if there never was a quorum of echoes.
    pub(crate) fn end_boot_ns(&self) -> Option<u64> {
        self.end_boot_ns
    }

    /// Send times before this prove nothing.
    pub(crate) fn floor_ns(&self) -> u64 {
        self.floor_ns
    }

    /// Whether this vote of the witness has not lapsed.
    pub(crate) fn covers(&self, proof: &Proof, now: Now, length_ns: u64) -> bool {
        let since_ns = match proof.with {
            Some(holder) => self.echoes.get(&holder).map_or(0, |sent_ns| proof.since_ns.min(*sent_ns)),
            None => proof.since_ns,
        };
        since_ns != 0 && now.boot_ns < self.offsets.to_boot(since_ns).saturating_add(length_ns)
    }

    pub(crate) fn is_valid(&self, now: Now) -> bool {
        self.end_boot_ns.is_some_and(|end_ns| now.boot_ns < end_ns)
    }

    fn quorum_since(
        &mut self,
        now: Now,
        local: NodeId,
        members: &NodeSet,
        votes: &Votes,
        witness: Option<Proof>,
    ) -> Option<u64> {
        let mut counted = NodeSet::of(local);
        if !members.contains(local) {
            return None;
        }
        if votes.quorum(&counted, false).holds() {
            return Some(now.mono_ns);
        }
        let proofs = &mut self.proofs;
        proofs.clear();
        let of_members = self.echoes.iter().filter(|(id, _)| members.contains(**id));
        proofs.extend(of_members.map(|(id, sent_ns)| (*sent_ns, Some(*id))));
        let with = witness.and_then(|proof| match proof.with {
            Some(holder) => self.echoes.get(&holder).map(|sent_ns| proof.since_ns.min(*sent_ns)),
            None => Some(proof.since_ns),
        });
        proofs.extend(with.map(|since_ns| (since_ns, None)));
        proofs.sort_unstable_by(|a, b| b.cmp(a));
        let mut with_witness = false;
        let mut own = votes.of(&counted);
        for (since_ns, who) in proofs.drain(..) {
            match who {
                Some(id) => {
                    if counted.insert(id) {
                        own += votes.of_one(id);
                    }
                }
                None => with_witness = true,
            }
            if votes.rule(own, &counted, with_witness).holds() {
                return Some(since_ns);
            }
        }
        None
    }
}

impl Offsets {
    fn observe(&mut self, now: Now) {
        let offset_ns = now.boot_ns.saturating_sub(now.mono_ns);
        // The two clocks are read one after the other: small differences are no suspension.
        if offset_ns > self.latest_ns.saturating_add(MILLISECOND_NS) {
            self.latest_ns = offset_ns;
            self.changed_at_ns = now.mono_ns;
        }
    }

    /// Never later than the truth: before the last suspension the smallest offset ever seen is taken.
    fn to_boot(self, mono_ns: u64) -> u64 {
        let offset_ns = if mono_ns < self.changed_at_ns { self.first_ns } else { self.latest_ns };
        mono_ns.saturating_add(offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CoreConfig, NodeConfig, Timing};
    use crate::ids::ConfigDigest;
    use crate::quorum::Arbiter;
    use crate::time::SECOND_NS as S;

    fn votes(nodes: u16, arbiter: Arbiter) -> Votes {
        let node = |id| NodeConfig { id: NodeId(id), name: String::new(), votes: 1, networks: Vec::new() };
        let config = CoreConfig {
            local: NodeId(1),
            nodes: (1..=nodes).map(node).collect(),
            networks: Vec::new(),
            timing: Timing { interval_ns: 1, late_after: 1, lost_after: 2, grace_ns: 0, hang_timeout_ns: 0 },
            digest: ConfigDigest([0; 32]),
            abi: 0,
        };
        Votes::new(&config, arbiter)
    }

    fn at(seconds: u64) -> Now {
        Now { mono_ns: seconds * S, boot_ns: seconds * S }
    }

    fn members(nodes: u16) -> NodeSet {
        (1..=nodes).map(NodeId).collect()
    }

    fn end(lease: &mut Lease, now: Now, nodes: u16, witness: Option<Proof>) -> Option<u64> {
        let arbiter = if witness.is_some() { Arbiter::Witness } else { Arbiter::Majority };
        lease.renew(now, NodeId(1), &members(nodes), &votes(nodes, arbiter), witness, 9 * S);
        lease.end_boot_ns().map(|end_ns| end_ns / S)
    }

    #[test]
    fn it_counts_from_the_send_time_that_a_quorum_has_echoed() {
        let mut lease = Lease::new(at(10), 10 * S);
        assert_eq!(end(&mut lease, at(11), 5, None), None);
        lease.echoed(NodeId(2), 12 * S, at(20));
        assert_eq!(end(&mut lease, at(20), 5, None), None);
        lease.echoed(NodeId(3), 15 * S, at(20));
        assert_eq!(end(&mut lease, at(20), 5, None), Some(12 + 9));
        lease.echoed(NodeId(4), 14 * S, at(20));
        assert_eq!(end(&mut lease, at(20), 5, None), Some(14 + 9));
        assert!(lease.is_valid(at(22)) && !lease.is_valid(at(23)));
    }

    #[test]
    fn echoes_from_another_life_or_from_the_future_do_not_count() {
        let mut lease = Lease::new(at(10), 10 * S);
        lease.echoed(NodeId(2), 9 * S, at(20));
        lease.echoed(NodeId(3), 21 * S, at(20));
        assert_eq!(end(&mut lease, at(20), 3, None), None);
        lease.echoed(NodeId(2), 19 * S, at(20));
        assert_eq!(end(&mut lease, at(20), 3, None), Some(28));
        lease.void(at(20));
        lease.echoed(NodeId(2), 19 * S, at(21));
        assert_eq!(end(&mut lease, at(21), 3, None), None);
    }

    #[test]
    fn void_it_has_ended_at_that_moment_and_not_again_until_it_is_renewed() {
        let mut lease = Lease::new(at(10), 10 * S);
        lease.void(at(11));
        assert_eq!(lease.over_boot_ns(), None, "there was none");
        lease.echoed(NodeId(2), 12 * S, at(12));
        assert_eq!(end(&mut lease, at(12), 3, None), Some(21));
        lease.void(at(15));
        lease.void(at(16));
        assert_eq!((end(&mut lease, at(17), 3, None), lease.over_boot_ns()), (None, Some(15 * S)));
        lease.echoed(NodeId(2), 18 * S, at(18));
        assert_eq!(end(&mut lease, at(18), 3, None), Some(27));
        assert_eq!(lease.over_boot_ns(), Some(27 * S));
        lease.void(at(30));
        assert_eq!(lease.over_boot_ns(), Some(27 * S), "it had ended before");
    }

    #[test]
    fn a_suspended_machine_does_not_outlive_its_lease() {
        let mut lease = Lease::new(at(10), 10 * S);
        lease.echoed(NodeId(2), 12 * S, at(12));
        assert_eq!(end(&mut lease, at(12), 3, None), Some(21));
        let resumed = Now { mono_ns: 13 * S, boot_ns: 113 * S };
        assert!(!lease.is_valid(resumed));
        assert_eq!(end(&mut lease, resumed, 3, None), Some(21));
        lease.echoed(NodeId(2), 14 * S, Now { mono_ns: 14 * S, boot_ns: 114 * S });
        assert_eq!(end(&mut lease, Now { mono_ns: 14 * S, boot_ns: 114 * S }, 3, None), Some(123));
    }

    #[test]
    fn alone_with_a_quorum_it_counts_from_now_and_the_witness_counts_from_its_renewal() {
        let mut lease = Lease::new(at(10), 10 * S);
        assert_eq!(end(&mut lease, at(30), 1, None), Some(39));
        let held = |since_ns| Some(Proof { since_ns, with: None });
        assert_eq!(end(&mut lease, at(30), 2, held(25 * S)), Some(34));
        // Held by another, it counts no longer than that one's echoes.
        let with = Proof { since_ns: 25 * S, with: Some(NodeId(2)) };
        assert_eq!(end(&mut lease, at(30), 2, Some(with)), None);
        lease.echoed(NodeId(2), 22 * S, at(30));
        assert_eq!(end(&mut lease, at(30), 2, Some(with)), Some(31));
        assert!(lease.covers(&with, at(30), 9 * S) && !lease.covers(&with, at(31), 9 * S));
    }
}
