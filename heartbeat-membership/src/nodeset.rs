//! A set of nodes as a bit mask: bit `id - 1`. Masks travel on the wire and are intersected by the thousand.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{MAX_NODES, NodeId};

const WORDS: usize = MAX_NODES as usize / 64;

/// Length of the longest mask on the wire, in bytes.
pub const MAX_MASK_BYTES: usize = MAX_NODES as usize / 8;

/// A set of node ids from 1 to 1024.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeSet([u64; WORDS]);

impl NodeSet {
    /// No node.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Just this node; empty for an id that names none.
    #[must_use]
    pub fn of(id: NodeId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(id);
        set
    }

    /// Adds a node; whether it is new. An id that names no node is never added.
    pub fn insert(&mut self, id: NodeId) -> bool {
        let Some((word, bit)) = place(id) else { return false };
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// Takes a node out; whether it was there.
    pub fn remove(&mut self, id: NodeId) -> bool {
        let Some((word, bit)) = place(id) else { return false };
        let was = self.0[word] & bit != 0;
        self.0[word] &= !bit;
        was
    }

    /// Whether the node is in the set.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        place(id).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The lowest id.
    #[must_use]
    pub fn first(&self) -> Option<NodeId> {
        self.iter().next()
    }

    /// Nodes in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a & b)
    }

    /// Nodes in either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a | b)
    }

    /// Nodes here and not there.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a & !b)
    }

    /// Whether every node is in `other` as well.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.without(other).is_empty()
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.checked_sub(1)?;
                u16::try_from(index * 64 + bit as usize + 1).ok().map(NodeId)
            })
        })
    }

    /// The first `bytes` bytes of the mask, lowest id in bit 0 of byte 0.
    #[must_use]
    pub fn to_mask(&self, bytes: usize) -> Vec<u8> {
        let mut mask: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        mask.truncate(bytes);
        mask
    }

    /// The set of a mask; `None` if it is longer than any mask may be.
    #[must_use]
    pub fn from_mask(mask: &[u8]) -> Option<Self> {
        if mask.len() > MAX_MASK_BYTES {
            return None;
        }
        let mut set = Self::EMPTY;
        let mut whole = [0; MAX_MASK_BYTES];
        whole[..mask.len()].copy_from_slice(mask);
        for (word, bytes) in set.0.iter_mut().zip(whole.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Some(set)
    }

    fn combine(&self, other: &Self, by: impl Fn(u64, u64) -> u64) -> Self {
        let mut result = Self::EMPTY;
        for ((to, a), b) in result.0.iter_mut().zip(self.0).zip(other.0) {
            *to = by(a, b);
        }
        result
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(ids: I) -> Self {
        let mut set = Self::EMPTY;
        ids.into_iter().for_each(|id| {
            set.insert(id);
        });
        set
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|id| id.0)).finish()
    }
}

fn place(id: NodeId) -> Option<(usize, u64)> {
    let index = usize::from(id.is_valid().then_some(id.0)?) - 1;
    Some((index / 64, 1 << (index % 64)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_out_of_range_are_never_in() {
        let mut set = NodeSet::EMPTY;
        assert!(!set.insert(NodeId(0)) && !set.insert(NodeId(1025)));
        assert!(set.insert(NodeId(1)) && set.insert(NodeId(1024)) && !set.insert(NodeId(1024)));
        assert_eq!(set.iter().collect::<Vec<_>>(), [NodeId(1), NodeId(1024)]);
        assert!(!set.contains(NodeId(0)) && !set.contains(NodeId(1025)));
        assert_eq!(NodeSet::from_mask(&[0; MAX_MASK_BYTES + 1]), None);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_set(a in prop::collection::btree_set(1_u16..=1024, 0..40), b in prop::collection::btree_set(1_u16..=1024, 0..40)) {
            let set = |ids: &BTreeSet<u16>| ids.iter().map(|id| NodeId(*id)).collect::<NodeSet>();
            let ids = |set: NodeSet| set.iter().map(|id| id.0).collect::<BTreeSet<_>>();
            prop_assert_eq!(ids(set(&a).and(&set(&b))), a.intersection(&b).copied().collect());
            prop_assert_eq!(ids(set(&a).or(&set(&b))), a.union(&b).copied().collect());
            prop_assert_eq!(ids(set(&a).without(&set(&b))), a.difference(&b).copied().collect());
            prop_assert_eq!(set(&a).is_subset(&set(&b)), a.is_subset(&b));
            prop_assert_eq!(set(&a).len(), a.len());
            prop_assert_eq!(set(&a).first().map(|id| id.0), a.first().copied());
            prop_assert_eq!(NodeSet::from_mask(&set(&a).to_mask(MAX_MASK_BYTES)), Some(set(&a)));
        }
    }
}
