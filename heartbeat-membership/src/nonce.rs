//! Nonces from a seed that the driver drew.
//!
//! A challenge must never repeat, so that no earlier answer fits it. It need not be secret: who cannot forge a tag
//! cannot have a member answer a challenge that he foresaw. xoshiro256++ (Blackman and Vigna) is enough for that.

use serde::{Deserialize, Serialize};

/// 16 bytes that were never used before.
pub(crate) type Nonce = [u8; 16];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Nonces {
    state: [u64; 4],
}

impl Nonces {
    pub(crate) fn new(seed: [u8; 32], incarnation: u64) -> Self {
        let mut state = [0_u64; 4];
        for (word, chunk) in state.iter_mut().zip(seed.chunks_exact(8)) {
            let mut bytes = [0_u8; 8];
            bytes.copy_from_slice(chunk);
            *word = u64::from_le_bytes(bytes);
        }
        // The incarnation is unique per life: a driver whose random source fails still repeats no nonce.
        let mut mix = incarnation;
        for word in &mut state {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *word ^= splitmix(mix);
        }
        if state == [0; 4] {
            state[0] = 1;
        }
        Self { state }
    }

    pub(crate) fn next(&mut self) -> Nonce {
        let mut nonce = [0_u8; 16];
        nonce[..8].copy_from_slice(&self.word().to_le_bytes());
        nonce[8..].copy_from_slice(&self.word().to_le_bytes());
        nonce
    }

    fn word(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }
}

fn splitmix(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nonces_differ_within_and_between_incarnations_even_with_one_seed() {
        let mut seen = BTreeSet::new();
        for incarnation in 1..=20 {
            let mut nonces = Nonces::new([0; 32], incarnation);
            for _ in 0..1000 {
                assert!(seen.insert(nonces.next()));
            }
        }
    }
}
