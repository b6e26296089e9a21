//! The sequence window: 64 numbers, after RFC 4303 section 3.4.3.

use bytemuck::{Pod, Zeroable};

/// Numbers that the window remembers.
pub const WINDOW: u64 = 64;

/// Newest number seen, and which of the 64 up to it were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Window {
    /// Newest number accepted, or the one before the first that is.
    pub newest: u64,
    /// Bit `i` is set when `newest - i` has been accepted.
    pub seen: u64,
}

/// Where a sequence number falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Ahead of the newest; `skipped` numbers between them have not been seen.
    Ahead {
        /// How many numbers were skipped.
        skipped: u64,
    },
    /// Behind the newest, not seen before.
    Behind,
    /// Seen before.
    Duplicate,
    /// Behind the window: it may have been seen, nobody knows.
    TooOld,
}

impl Window {
    /// A window that accepts `next` and what follows, and nothing before it.
    #[inline(always)]
    #[must_use]
    pub const fn starting_at(next: u64) -> Self {
        Self { newest: next.wrapping_sub(1), seen: u64::MAX }
    }

    /// Where `sequence` falls; a number that has not been seen is marked as seen.
    #[inline(always)]
    pub const fn record(&mut self, sequence: u64) -> Position {
        if sequence > self.newest {
            let ahead = sequence - self.newest;
            self.seen = if ahead >= WINDOW { 1 } else { (self.seen << ahead) | 1 };
            self.newest = sequence;
            return Position::Ahead { skipped: ahead - 1 };
        }
        let behind = self.newest - sequence;
        if behind >= WINDOW {
            return Position::TooOld;
        }
        let bit = 1 << behind;
        if self.seen & bit != 0 {
            return Position::Duplicate;
        }
        self.seen |= bit;
        Position::Behind
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_before_the_start_is_accepted() {
        for start in [1, 2, 63, 64, 65, 1_000_000] {
            for sequence in 0..start.min(200) {
                let mut window = Window::starting_at(start);
                let position = window.record(start - 1 - sequence);
                assert!(matches!(position, Position::Duplicate | Position::TooOld), "{start} {sequence} {position:?}");
            }
            assert_eq!(Window::starting_at(start).record(start), Position::Ahead { skipped: 0 });
        }
    }

    proptest! {
        /// Against a model that remembers everything.
        #[test]
        fn agrees_with_a_set(start in 1u64..1000, steps in prop::collection::vec(-100i64..100, 1..400)) {
            let mut window = Window::starting_at(start);
            let mut seen = BTreeSet::new();
            let mut newest = start - 1;
            for step in steps {
                let sequence = newest.saturating_add_signed(step);
                let expected = if sequence > newest {
                    Position::Ahead { skipped: sequence - newest - 1 }
                } else if newest - sequence >= WINDOW {
                    Position::TooOld
                } else if sequence < start || seen.contains(&sequence) {
                    Position::Duplicate
                } else {
                    Position::Behind
                };
                prop_assert_eq!(window.record(sequence), expected);
                newest = newest.max(sequence);
                if matches!(expected, Position::Ahead { .. } | Position::Behind) {
                    seen.insert(sequence);
                }
            }
        }
    }
}
