//! SipHash-2-4-128 tags over 64-bit words, the same code in the kernel and on the host.
//!
//! Whole words only: the header has 7, a heartbeat 10, so that the loops unroll and no byte is loaded alone (a byte-wise
//! hash costs about a third more in BPF).

use core::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// A heartbeat key, as the two halves that SipHash takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatKey {
    k0: u64,
    k1: u64,
}

impl HeartbeatKey {
    /// From the 16 bytes that HKDF gives, in the reference implementation's byte order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self { k0: u64::from_le_bytes([a, b, c, d, e, f, g, h]), k1: u64::from_le_bytes([i, j, k, l, m, n, o, p]) }
    }

    /// From the two halves, as the KEYS map stores them.
    #[inline(always)]
    #[must_use]
    pub const fn from_halves(k0: u64, k1: u64) -> Self {
        Self { k0, k1 }
    }

    /// The two halves.
    #[must_use]
    pub const fn halves(self) -> (u64, u64) {
        (self.k0, self.k1)
    }
}

/// A tag as two words, in the byte order of memory: comparing it with words loaded from a packet needs no swapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u64, pub u64);

impl Tag {
    /// The 16 bytes as they stand on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.1.to_ne_bytes());
        bytes
    }
}

/// The tag over `COUNT` words that `word` gives, each as loaded from memory.
#[inline(always)]
pub fn tag<const COUNT: usize>(key: HeartbeatKey, word: impl Fn(usize) -> u64) -> Tag {
    let mut hasher = SipHasher24::new_with_keys(key.k0, key.k1);
    let mut index = 0;
    while index < COUNT {
        hasher.write_u64(u64::from_le(word(index)));
        index += 1;
    }
    let hash = hasher.finish128();
    Tag(hash.h1.to_le(), hash.h2.to_le())
}

/// The tag over a byte slice whose length is a multiple of 8; what a sender calls.
///
/// Trailing bytes that do not fill a word would not be covered; the callers' lengths are constants (56 and 80).
#[must_use]
pub fn tag_bytes<const LENGTH: usize>(key: HeartbeatKey, bytes: &[u8; LENGTH]) -> Tag {
    const { assert!(LENGTH.is_multiple_of(8)) };
    let mut hasher = SipHasher24::new_with_keys(key.k0, key.k1);
    for chunk in bytes.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hasher.write_u64(u64::from_le_bytes(word));
    }
    let hash = hasher.finish128();
    Tag(hash.h1.to_le(), hash.h2.to_le())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The word-wise tag is the ordinary SipHash of the bytes.
        #[test]
        fn words_and_bytes_agree(key: [u8; 16], bytes: [u8; 80]) {
            let reference = SipHasher24::new_with_key(&key).hash(&bytes);
            let key = HeartbeatKey::from_bytes(key);
            let words: [u64; 10] = bytemuck::cast(bytes);
            prop_assert_eq!(tag::<10>(key, |index| words[index]).to_bytes(), reference.as_bytes());
            prop_assert_eq!(tag_bytes(key, &bytes).to_bytes(), reference.as_bytes());
        }
    }
}
