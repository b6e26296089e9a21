//! A view: who is in, agreed by all who are.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::CoreConfig;
use crate::ids::{Incarnation, NodeId};
use crate::nodeset::NodeSet;
use crate::quorum::Votes;

/// Number of a view: form epoch in the upper half, counter in the lower; 0 = none.
pub type ViewNumber = u64;

/// Identity of a view: two views with one identity are the same view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ViewId {
    /// Grows with every view of a cluster.
    pub number: ViewNumber,
    /// Over members with incarnations, votes, timing, tie-breaker and the digest of the configuration.
    pub digest: ViewDigest,
}

/// Tells views of one number apart. Not a defence against members, who are trusted: it catches disagreement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ViewDigest(pub [u8; 16]);

/// An agreed view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its identity.
    pub id: ViewId,
    /// Its members, each with the incarnation that was agreed.
    pub members: BTreeMap<NodeId, Incarnation>,
    /// Formed without a majority on the operator's word, and not grown to one since: its own members are who counts.
    #[serde(default)]
    pub forced: bool,
}

impl ViewId {
    /// The identity of no view.
    pub const NONE: Self = Self { number: 0, digest: ViewDigest([0; 16]) };
}

impl View {
    /// The view of these members under this number.
    pub(crate) fn new(
        number: ViewNumber,
        members: BTreeMap<NodeId, Incarnation>,
        forced: bool,
        votes: &Votes,
        config: &CoreConfig,
    ) -> Self {
        let mut hash = Fnv::new();
        hash.fold(number);
        for (id, incarnation) in &members {
            hash.fold(u64::from(id.0));
            hash.fold(incarnation.0);
        }
        votes.fold(&mut |value| hash.fold(value));
        for part in config.digest.0.chunks_exact(8) {
            hash.fold(part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
        let timing = &config.timing;
        for value in [
            timing.interval_ns,
            u64::from(timing.late_after),
            u64::from(timing.lost_after),
            timing.grace_ns,
            timing.hang_timeout_ns,
            u64::from(forced),
        ] {
            hash.fold(value);
        }
        Self { id: ViewId { number, digest: ViewDigest(hash.0.to_be_bytes()) }, members, forced }
    }

    /// The members without their incarnations.
    #[must_use]
    pub fn set(&self) -> NodeSet {
        self.members.keys().copied().collect()
    }

    /// Whether this incarnation of the node is a member.
    #[must_use]
    pub fn has(&self, id: NodeId, incarnation: Incarnation) -> bool {
        self.members.get(&id) == Some(&incarnation)
    }
}

/// The form epoch of a view number.
#[must_use]
pub fn epoch(number: ViewNumber) -> u32 {
    u32::try_from(number >> 32).unwrap_or(u32::MAX)
}

/// The number of the first view of an epoch.
#[must_use]
pub fn first_of_epoch(epoch: u32) -> ViewNumber {
    u64::from(epoch) << 32 | 1
}

impl fmt::Debug for ViewDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// FNV-1a, 128 bits (Fowler, Noll, Vo): the same on every platform and release.
struct Fnv(u128);

impl Fnv {
    fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    fn fold(&mut self, value: u64) {
        for byte in value.to_be_bytes() {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}
