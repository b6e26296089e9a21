//! Sequence window of the control messages of one peer on one network.

use serde::{Deserialize, Serialize};

/// How far behind the newest a sequence number may still be new (protocol.md: 64).
pub(crate) const WIDTH: u64 = 64;

/// Accepts each sequence number at most once, and none below its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    newest: u64,
    /// Bit i: `newest - i` was accepted, or lies before the start.
    seen: u64,
}

/// What the window says about a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequence {
    New,
    Duplicate,
    TooOld,
}

impl Window {
    /// The first number accepted is `next`; everything below counts as seen.
    pub(crate) fn starting_at(next: u64) -> Self {
        Self { newest: next.saturating_sub(1), seen: u64::MAX }
    }

    pub(crate) fn accept(&mut self, sequence: u64) -> Sequence {
        if sequence > self.newest {
            let ahead = sequence - self.newest;
            self.seen = if ahead >= WIDTH { 1 } else { (self.seen << ahead) | 1 };
            self.newest = sequence;
            return Sequence::New;
        }
        let behind = self.newest - sequence;
        if behind >= WIDTH {
            return Sequence::TooOld;
        }
        let bit = 1_u64 << behind;
        if self.seen & bit != 0 {
            return Sequence::Duplicate;
        }
        self.seen |= bit;
        Sequence::New
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_below_the_start_is_new() {
        let mut window = Window::starting_at(100);
        assert_eq!(window.accept(99), Sequence::Duplicate);
        assert_eq!(window.accept(1), Sequence::TooOld);
        assert_eq!(window.accept(100), Sequence::New);
        assert_eq!(window.accept(100), Sequence::Duplicate);
        assert_eq!(window.accept(0), Sequence::TooOld);
    }

    #[test]
    fn a_jump_beyond_the_width_does_not_reopen_what_lies_before() {
        let mut window = Window::starting_at(1);
        assert_eq!(window.accept(1), Sequence::New);
        assert_eq!(window.accept(1 + WIDTH), Sequence::New);
        assert_eq!(window.accept(1), Sequence::TooOld);
        assert_eq!(window.accept(2), Sequence::New);
        assert_eq!(window.accept(u64::MAX), Sequence::New);
        assert_eq!(window.accept(u64::MAX), Sequence::Duplicate);
    }

    proptest! {
        #[test]
        fn each_number_is_new_at_most_once(start in 1_u64..50, numbers in prop::collection::vec(0_u64..300, 1..400)) {
            let mut window = Window::starting_at(start);
            let mut accepted = BTreeSet::new();
            for number in numbers {
                let newest = accepted.last().copied().unwrap_or(start - 1).max(start - 1);
                let verdict = window.accept(number);
                let fresh = number >= start && !accepted.contains(&number) && number + WIDTH > newest;
                prop_assert_eq!(verdict == Sequence::New, fresh);
                if fresh {
                    accepted.insert(number);
                }
            }
        }
    }
}
