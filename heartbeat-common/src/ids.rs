//! Identifiers and the arithmetic that turns them into map indexes.

/// Largest node id of a cluster (ids start at 1).
pub const MAX_NODE: u16 = 1024;
/// Largest network id (ids start at 1).
pub const MAX_NETWORK: u8 = 8;
/// Largest key slot (slots start at 1).
pub const MAX_KEY: u8 = 4;
/// The destination that means every node: multicast.
pub const EVERY_NODE: u16 = 0;

/// Index of a link, that is of one peer on one network, in LINKS, PEERS, VERDICTS, SEQ, ARRIVALS, INTERVALS and
/// ADMISSION.
///
/// `node` may be [`EVERY_NODE`]: the indexes 0..8 hold the multicast destinations of SEQ. The caller has checked
/// `network` to be 1..=8; a larger `node` only gives an index that no map holds.
#[inline(always)]
#[must_use]
pub const fn link_index(node: u16, network: u8) -> u32 {
    ((node as u32) << 3) | ((network.wrapping_sub(1) & 7) as u32)
}

/// The node of a link index; 0 is the multicast destination.
#[inline(always)]
#[must_use]
pub const fn link_node(index: u32) -> u16 {
    (index >> 3) as u16
}

/// The network of a link index, 1..=8.
#[inline(always)]
#[must_use]
pub const fn link_network(index: u32) -> u8 {
    (index & 7) as u8 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_has_its_own_index_and_back() {
        let mut last = None;
        for node in 0..=MAX_NODE {
            for network in 1..=MAX_NETWORK {
                let index = link_index(node, network);
                assert_eq!((link_node(index), link_network(index)), (node, network));
                assert_eq!(index, last.map_or(0, |last: u32| last + 1));
                last = Some(index);
            }
        }
    }
}
