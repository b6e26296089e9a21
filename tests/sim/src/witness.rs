//! The witness of a run: one record, and operations on it that take effect and are answered at two moments of their own.

use std::collections::BTreeSet;

use heartbeat_membership::{WitnessHolder, WitnessOutcome, WitnessRequest};

/// A chain of epochs.
#[derive(Debug, Clone, Default)]
pub struct Witness {
    epoch: u64,
    holder: Option<WitnessHolder>,
    /// Machines that cannot reach it.
    pub unreachable: BTreeSet<usize>,
    /// Longest time until an operation takes effect, and again until it is answered.
    pub delay_ns: u64,
    /// The next claim takes effect only after this long.
    pub stuck_ns: u64,
    /// Epochs that were created.
    pub created: u64,
    /// Claims that found a newer epoch.
    pub lost: u64,
}

impl Witness {
    /// A witness that nobody has taken yet.
    #[must_use]
    pub fn new(delay_ns: u64) -> Self {
        Self { delay_ns, ..Self::default() }
    }

    /// What an operation finds or does at the moment at which it takes effect.
    pub fn apply(&mut self, request: WitnessRequest) -> WitnessOutcome {
        match request {
            WitnessRequest::Read => WitnessOutcome::Standing { epoch: self.epoch, holder: self.holder },
            WitnessRequest::Advance { from_epoch, holder } if from_epoch == self.epoch => {
                self.epoch += 1;
                self.holder = Some(holder);
                self.created += 1;
                WitnessOutcome::Won { epoch: self.epoch }
            }
            WitnessRequest::Advance { .. } => {
                self.lost += 1;
                WitnessOutcome::Standing { epoch: self.epoch, holder: self.holder }
            }
        }
    }
}
