//! SipHash-2-4-128 tags over 64-bit words, the same code in the kernel and on the host.
//!
//! Written by hand, after Aumasson and Bernstein (INDOCRYPT 2012) and the 128-bit variant of the reference implementation,
//! because the cost forced it: most of a heartbeat's cost is its tag, and the first two words of nearly all heartbeats are
//! the same, so that a state that has absorbed them saves four of thirty rounds (docs/benchmarks.md). Tests hold it against
//! the `siphasher` crate.
//!
//! Whole words only: the header has 7, a heartbeat 10, so that the loops unroll and no byte is loaded alone (a byte-wise
//! hash costs about a third more in BPF).

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

/// The state of a hash in the middle of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    /// Before the first word.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: HeartbeatKey) -> Self {
        Self {
            v0: key.k0 ^ 0x736f_6d65_7073_6575,
            v1: key.k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: key.k0 ^ 0x6c79_6765_6e65_7261,
            v3: key.k1 ^ 0x7465_6462_7974_6573,
        }
    }

    /// From what [`State::words`] gave.
    #[inline(always)]
    #[must_use]
    pub const fn from_words([v0, v1, v2, v3]: [u64; 4]) -> Self {
        Self { v0, v1, v2, v3 }
    }

    /// The state as a map record stores it.
    #[must_use]
    pub const fn words(self) -> [u64; 4] {
        [self.v0, self.v1, self.v2, self.v3]
    }

    /// Absorbs a word as it stands in memory.
    #[inline(always)]
    #[must_use]
    pub const fn absorb(self, word: u64) -> Self {
        let word = u64::from_le(word);
        let mut state = Self { v3: self.v3 ^ word, ..self };
        state = state.round().round();
        state.v0 ^= word;
        state
    }

    /// Ends a message of `length` bytes, a multiple of 8.
    #[inline(always)]
    #[must_use]
    pub const fn finish(self, length: usize) -> Tag {
        let last = (length as u64 & 0xff) << 56;
        let mut state = self.absorb(last.to_le());
        state.v2 ^= 0xee;
        state = state.round().round().round().round();
        let first = state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
        state.v1 ^= 0xdd;
        state = state.round().round().round().round();
        Tag(first.to_le(), (state.v0 ^ state.v1 ^ state.v2 ^ state.v3).to_le())
    }

    #[inline(always)]
    const fn round(self) -> Self {
        let Self { mut v0, mut v1, mut v2, mut v3 } = self;
        v0 = v0.wrapping_add(v1);
        v2 = v2.wrapping_add(v3);
        v1 = v1.rotate_left(13) ^ v0;
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v1);
        v0 = v0.wrapping_add(v3);
        v1 = v1.rotate_left(17) ^ v2;
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.rotate_left(32);
        Self { v0, v1, v2, v3 }
    }
}

/// The tag over `COUNT` words that `word` gives, each as loaded from memory.
#[inline(always)]
pub fn tag<const COUNT: usize>(key: HeartbeatKey, word: impl Fn(usize) -> u64) -> Tag {
    tag_behind::<0, COUNT>(State::new(key), word)
}

/// The tag over `COUNT` words of which `state` has absorbed the first `ABSORBED`.
#[inline(always)]
pub fn tag_behind<const ABSORBED: usize, const COUNT: usize>(state: State, word: impl Fn(usize) -> u64) -> Tag {
    let mut state = state;
    let mut index = ABSORBED;
    while index < COUNT {
        state = state.absorb(word(index));
        index += 1;
    }
    state.finish(COUNT * 8)
}

/// The tag over bytes; what a sender calls.
#[must_use]
pub fn tag_bytes<const LENGTH: usize>(key: HeartbeatKey, bytes: &[u8; LENGTH]) -> Tag {
    const { assert!(LENGTH.is_multiple_of(8)) };
    let mut state = State::new(key);
    for chunk in bytes.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = state.absorb(u64::from_ne_bytes(word));
    }
    state.finish(LENGTH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip128::SipHasher24;

    use super::*;

    proptest! {
        /// The word-wise tag is the ordinary SipHash of the bytes.
        #[test]
        fn words_and_bytes_agree(key: [u8; 16], bytes: [u8; 80]) {
            let reference = SipHasher24::new_with_key(&key).hash(&bytes);
            let key = HeartbeatKey::from_bytes(key);
            let words: [u64; 10] = bytemuck::cast(bytes);
            prop_assert_eq!(tag::<10>(key, |index| words[index]).to_bytes(), reference.as_bytes());
            let behind = State::new(key).absorb(words[0]).absorb(words[1]);
            let behind = State::from_words(behind.words());
            prop_assert_eq!(tag_behind::<2, 10>(behind, |index| words[index]).to_bytes(), reference.as_bytes());
            prop_assert_eq!(tag_bytes(key, &bytes).to_bytes(), reference.as_bytes());
        }
    }
}
