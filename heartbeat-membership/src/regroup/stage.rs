//! The stages of a regroup and every transition between them.
//!
//! ```text
//!   stabilized --begin--> activate --rows complete--> closing --bound--> pruning --all pruning--> cleanup1
//!        ^                    ^                          |                  |                        |
//!        |                    +--------- begin ----------+---- begin -------+        all cleaned once|
//!        |                                               |  installed                                v
//!        +------------------ all cleaned twice ----------+--------> cleanup1                     cleanup2
//! ```
//!
//! `begin` from any stage starts over at activate under a higher sequence. `installed` is the news that another member
//! has installed the decision: then everyone had announced pruning for it.

use serde::{Deserialize, Serialize};

/// Stage of a regroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Collecting who hears whom.
    Activate,
    /// Waiting for the decision, then for the kernel to be bound to it.
    Closing,
    /// Bound: obeys this decision only.
    Pruning,
    /// The view is installed; lost nodes are no longer trusted.
    Cleanup1,
    /// Their work may be prepared.
    Cleanup2,
    /// No regroup is under way.
    Stabilized,
}

/// What moves a regroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageEvent {
    /// A higher sequence begins.
    Begin,
    /// Everyone has reported, is silent, or is excluded.
    RowsComplete,
    /// The kernel is bound to the decision.
    Bound,
    /// All members of the decision have announced pruning, or one has installed it.
    AllPruning,
    /// All members have reached cleanup 1.
    AllCleanedOnce,
    /// All members have reached cleanup 2.
    AllCleanedTwice,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 6] =
        [Self::Activate, Self::Closing, Self::Pruning, Self::Cleanup1, Self::Cleanup2, Self::Stabilized];

    /// The byte on the wire, 1 to 6.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Activate => 1,
            Self::Closing => 2,
            Self::Pruning => 3,
            Self::Cleanup1 => 4,
            Self::Cleanup2 => 5,
            Self::Stabilized => 6,
        }
    }

    /// The stage with this byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.byte() == byte)
    }

    /// The next stage; an event that means nothing in this stage leaves it.
    #[must_use]
    pub fn after(self, event: StageEvent) -> Self {
        match (self, event) {
            (Self::Activate, StageEvent::Begin) => Self::Activate,
            (Self::Activate, StageEvent::RowsComplete) => Self::Closing,
            (Self::Activate, StageEvent::Bound) => Self::Activate,
            (Self::Activate, StageEvent::AllPruning) => Self::Cleanup1,
            (Self::Activate, StageEvent::AllCleanedOnce) => Self::Activate,
            (Self::Activate, StageEvent::AllCleanedTwice) => Self::Activate,

            (Self::Closing, StageEvent::Begin) => Self::Activate,
            (Self::Closing, StageEvent::RowsComplete) => Self::Closing,
            (Self::Closing, StageEvent::Bound) => Self::Pruning,
            (Self::Closing, StageEvent::AllPruning) => Self::Cleanup1,
            (Self::Closing, StageEvent::AllCleanedOnce) => Self::Closing,
            (Self::Closing, StageEvent::AllCleanedTwice) => Self::Closing,

            (Self::Pruning, StageEvent::Begin) => Self::Activate,
            (Self::Pruning, StageEvent::RowsComplete) => Self::Pruning,
            (Self::Pruning, StageEvent::Bound) => Self::Pruning,
            (Self::Pruning, StageEvent::AllPruning) => Self::Cleanup1,
            (Self::Pruning, StageEvent::AllCleanedOnce) => Self::Pruning,
            (Self::Pruning, StageEvent::AllCleanedTwice) => Self::Pruning,

            (Self::Cleanup1, StageEvent::Begin) => Self::Activate,
            (Self::Cleanup1, StageEvent::RowsComplete) => Self::Cleanup1,
            (Self::Cleanup1, StageEvent::Bound) => Self::Cleanup1,
            (Self::Cleanup1, StageEvent::AllPruning) => Self::Cleanup1,
            (Self::Cleanup1, StageEvent::AllCleanedOnce) => Self::Cleanup2,
            (Self::Cleanup1, StageEvent::AllCleanedTwice) => Self::Cleanup1,

            (Self::Cleanup2, StageEvent::Begin) => Self::Activate,
            (Self::Cleanup2, StageEvent::RowsComplete) => Self::Cleanup2,
            (Self::Cleanup2, StageEvent::Bound) => Self::Cleanup2,
            (Self::Cleanup2, StageEvent::AllPruning) => Self::Cleanup2,
            (Self::Cleanup2, StageEvent::AllCleanedOnce) => Self::Cleanup2,
            (Self::Cleanup2, StageEvent::AllCleanedTwice) => Self::Stabilized,

            (Self::Stabilized, StageEvent::Begin) => Self::Activate,
            (Self::Stabilized, StageEvent::RowsComplete) => Self::Stabilized,
            (Self::Stabilized, StageEvent::Bound) => Self::Stabilized,
            (Self::Stabilized, StageEvent::AllPruning) => Self::Stabilized,
            (Self::Stabilized, StageEvent::AllCleanedOnce) => Self::Stabilized,
            (Self::Stabilized, StageEvent::AllCleanedTwice) => Self::Stabilized,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transition_table() {
        use Stage::{Activate as A, Cleanup1 as C1, Cleanup2 as C2, Closing as C, Pruning as P, Stabilized as S};
        let events = [
            StageEvent::Begin,
            StageEvent::RowsComplete,
            StageEvent::Bound,
            StageEvent::AllPruning,
            StageEvent::AllCleanedOnce,
            StageEvent::AllCleanedTwice,
        ];
        let table = [
            (A, [A, C, A, C1, A, A]),
            (C, [A, C, P, C1, C, C]),
            (P, [A, P, P, C1, P, P]),
            (C1, [A, C1, C1, C1, C2, C1]),
            (C2, [A, C2, C2, C2, C2, S]),
            (S, [A, S, S, S, S, S]),
        ];
        for (stage, row) in table {
            for (event, expected) in events.into_iter().zip(row) {
                assert_eq!(stage.after(event), expected, "{stage:?} on {event:?}");
            }
        }
    }

    #[test]
    fn stages_keep_their_order_on_the_wire() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(stage.byte()), index + 1);
            assert_eq!(Stage::from_byte(stage.byte()), Some(stage));
        }
        assert_eq!(Stage::from_byte(0), None);
        assert_eq!(Stage::from_byte(7), None);
    }
}
