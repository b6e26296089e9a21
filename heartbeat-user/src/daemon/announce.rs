//! Events to the log, and to whoever looks: to the journal, or as a line of the cluster log to standard error.

use std::{io::Write as _, sync::Arc};

use crate::event::{Draft, Event, EventLog};
use crate::journal;

/// Records an event and shows it.
pub(super) fn announce(log: &EventLog, draft: Draft) -> Arc<Event> {
    let event = log.record(draft);
    if journal::tell(&event) {
        return event;
    }
    // Nobody may be reading; the log has it.
    let _shown = writeln!(std::io::stderr().lock(), "{}", event.cluster_log_line());
    event
}
