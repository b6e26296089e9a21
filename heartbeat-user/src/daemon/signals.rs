//! Signals, from before there is anything to undo: one that comes during the start is acted on once the start is through.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Every signal that means something to a node.
pub(super) struct Signals {
    /// SIGTERM: leave in order.
    pub(super) terminate: Signal,
    /// SIGINT: the same.
    pub(super) interrupt: Signal,
    /// SIGHUP.
    pub(super) hangup: Signal,
    /// SIGUSR1: this process ends, the kernel side goes on.
    pub(super) hand_over: Signal,
}

impl Signals {
    /// Installs the handlers. To be called within a runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn install() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?,
            interrupt: signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?,
            hangup: signal(SignalKind::hangup()).context("SIGHUP cannot be handled")?,
            hand_over: signal(SignalKind::user_defined1()).context("SIGUSR1 cannot be handled")?,
        })
    }
}
