//! Time as the driver hands it in.

use serde::{Deserialize, Serialize};

/// One millisecond in nanoseconds.
pub const MILLISECOND_NS: u64 = 1_000_000;

/// One second in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Both clocks, read together by the driver before each input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Now {
    /// `CLOCK_MONOTONIC` in nanoseconds: the clock of stamps, deadlines and events.
    pub mono_ns: u64,
    /// `CLOCK_BOOTTIME` in nanoseconds: the clock of the lease, which a suspended machine must not outlive.
    pub boot_ns: u64,
}
