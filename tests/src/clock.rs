//! The clock of all stamps: nanoseconds of CLOCK_MONOTONIC, as in the nodes' own records and events.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC now.
///
/// # Panics
///
/// Where the machine has no such clock, which no Linux is.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC exists on every Linux");
    let (seconds, nanoseconds) = (now.tv_sec().unsigned_abs(), now.tv_nsec().unsigned_abs());
    seconds * 1_000_000_000 + nanoseconds
}

/// When something was done: it happened after `before_ns` and had taken effect by `after_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// CLOCK_MONOTONIC before it was begun.
    pub before_ns: u64,
    /// CLOCK_MONOTONIC when it was known to be done.
    pub after_ns: u64,
}

impl Moment {
    /// Does something and says when.
    ///
    /// # Errors
    ///
    /// What `action` returns.
    pub fn of<E>(action: impl FnOnce() -> Result<(), E>) -> Result<Self, E> {
        let before_ns = monotonic_ns();
        action()?;
        Ok(Self { before_ns, after_ns: monotonic_ns() })
    }
}
