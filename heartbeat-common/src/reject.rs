//! Why a datagram that is ours was refused.

/// One variant for each reason, in the order of the checks; the discriminant is the index of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Reject {
    /// Too short, wrong magic, length fields that disagree, a kind that does not exist, or reserved bits set.
    Malformed = 0,
    /// A protocol version other than ours.
    Version = 1,
    /// Another cluster's datagram.
    Cluster = 2,
    /// Addressed to another node, or multicast and unicast mixed up.
    Destination = 3,
    /// The source is no configured peer on that network, or the network does not exist here.
    UnknownPeer = 4,
    /// It names a network other than the one of the interface it came in by.
    WrongInterface = 5,
    /// The source address is not the one configured for the peer.
    WrongAddress = 6,
    /// TTL or hop limit below 255 on a single-hop network: it was routed, or forged from afar (RFC 5082).
    Ttl = 7,
    /// Its key slot is empty here.
    UnknownKey = 8,
    /// The tag does not verify.
    BadTag = 9,
    /// The peer's incarnation is not the one that was proven.
    WrongIncarnation = 10,
    /// This sequence number was counted already.
    Duplicate = 11,
    /// Further behind the newest than the window remembers.
    TooOld = 12,
}

impl Reject {
    /// Number of reasons.
    pub const COUNT: usize = 13;

    /// Every reason, in the order of its discriminant.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Malformed,
        Self::Version,
        Self::Cluster,
        Self::Destination,
        Self::UnknownPeer,
        Self::WrongInterface,
        Self::WrongAddress,
        Self::Ttl,
        Self::UnknownKey,
        Self::BadTag,
        Self::WrongIncarnation,
        Self::Duplicate,
        Self::TooOld,
    ];

    /// Name in status, metrics, events and in the REJECTS map.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Cluster => "cluster",
            Self::Destination => "destination",
            Self::UnknownPeer => "unknown_peer",
            Self::WrongInterface => "wrong_interface",
            Self::WrongAddress => "wrong_address",
            Self::Ttl => "ttl",
            Self::UnknownKey => "unknown_key",
            Self::BadTag => "bad_tag",
            Self::WrongIncarnation => "wrong_incarnation",
            Self::Duplicate => "duplicate",
            Self::TooOld => "too_old",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discriminants_index_the_counters() {
        for (index, reason) in Reject::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
