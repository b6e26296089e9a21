//! Events to the log, and as a line of the cluster log to standard error, which systemd hands to the journal.

use std::{io::Write as _, sync::Arc};

use crate::event::{Draft, Event, EventLog};

/// Records an event and shows it.
pub(super) fn announce(log: &EventLog, draft: Draft) -> Arc<Event> {
    let event = log.record(draft);
    let thread = u32::try_from(nix::unistd::gettid().as_raw()).unwrap_or(0);
    let line = event.cluster_log_line(std::process::id(), thread);
    // Nobody may be reading; the log has it.
    let _shown = writeln!(std::io::stderr().lock(), "{line}");
    event
}
