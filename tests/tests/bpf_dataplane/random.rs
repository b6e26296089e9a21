//! Random draws that can be repeated.

use heartbeat_tests::clock::monotonic_ns;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    /// From the seed in HEARTBEAT_SEED, or a new one, which is printed.
    pub(crate) fn seeded() -> (Self, u64) {
        let seed = std::env::var("HEARTBEAT_SEED")
            .map_or_else(|_| monotonic_ns(), |seed| seed.parse().expect("HEARTBEAT_SEED is a number"));
        println!("HEARTBEAT_SEED={seed} repeats this run");
        (Self(seed), seed)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
