//! What everything beside the reactor and the sender counts; shown as metrics.

use std::sync::{Arc, atomic::AtomicU64};

use super::hooks::HookCounters;
use crate::{api, metrics};

/// Counters of the parts of normal priority.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    /// Clients of the control socket.
    pub(super) api: Arc<api::Counters>,
    /// Clients of the metrics address.
    pub(super) metrics: Arc<metrics::server::Counters>,
    /// Programs of the operator.
    pub(super) hooks: Arc<HookCounters>,
    /// Readings of the configuration after the start.
    pub(super) reloads: Reloads,
    /// Interfaces that had to be served anew.
    pub(super) attachments: Attachments,
}

/// What became of interfaces that were not served any more.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    /// Served again.
    pub(super) renewed: AtomicU64,
    /// Not served, for now.
    pub(super) failed: AtomicU64,
}

/// What became of readings of the configuration.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    /// Something changed, at once or staged.
    pub(super) applied: AtomicU64,
    /// The file says what it said before.
    pub(super) unchanged: AtomicU64,
    /// The file was wrong, or could not be followed.
    pub(super) refused: AtomicU64,
}
