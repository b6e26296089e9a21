//! The journal of systemd: where the service manager has connected standard error to it, events and messages go there with
//! their fields, and nothing goes to standard error.

use std::{
    env, io,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::sys::stat::fstat;
use tracing::Metadata;
use tracing_journald::{Layer, Priority, PriorityMappings};

use crate::event::{Event, Severity};

/// systemd.exec(5): device and inode of the stream that standard error was connected to, decimal.
const STREAM: &str = "JOURNAL_STREAM";

/// Who logs, for `journalctl -t`.
const IDENTIFIER: &str = "heartbeat";

/// What tells events from messages.
const EVENTS: &str = "heartbeat::event";

/// Events go to the journal. Set once, before the first.
static CONNECTED: AtomicBool = AtomicBool::new(false);

/// Where messages and events go.
pub(crate) struct Journal {
    /// Takes messages; the level is the priority.
    pub(crate) messages: Layer,
    /// Takes events: see [`tell`].
    pub(crate) events: Layer,
}

/// Whether standard error is the journal. Whoever has redirected it since wants the text there.
pub(crate) fn is_standard_error() -> bool {
    let Ok(stream) = env::var(STREAM) else { return false };
    fstat(io::stderr()).is_ok_and(|status| stream == format!("{}:{}", status.st_dev, status.st_ino))
}

/// Connects: events are told to the journal from now on, if these layers are in use.
///
/// # Errors
/// The journal does not listen.
pub(crate) fn connect() -> io::Result<Journal> {
    let layer = || Ok::<_, io::Error>(Layer::new()?.with_syslog_identifier(IDENTIFIER.to_owned()));
    let severities = PriorityMappings {
        error: Priority::Critical,
        warn: Priority::Error,
        info: Priority::Warning,
        debug: Priority::Notice,
        trace: Priority::Debug,
    };
    let events = layer()?.with_field_prefix(None).with_priority_mappings(severities);
    let journal = Journal { messages: layer()?, events };
    CONNECTED.store(true, Ordering::Relaxed);
    Ok(journal)
}

/// Whether something is an event of this node, and no message.
pub(crate) fn is_event(metadata: &Metadata<'_>) -> bool {
    metadata.target() == EVENTS
}

/// Tells an event with all its fields, if the journal is connected; whether it is.
pub(crate) fn tell(event: &Event) -> bool {
    if !CONNECTED.load(Ordering::Relaxed) {
        return false;
    }
    let (peer, network) = (event.peer, event.network.as_deref());
    let detail = event.detail.to_string();
    // The level carries the severity to the layer that takes events, which maps it to the priority.
    macro_rules! tell_at {
        ($level:ident) => {
            tracing::event!(
                target: EVENTS,
                tracing::Level::$level,
                heartbeat_event = event.id,
                heartbeat_name = &*event.name,
                heartbeat_severity = event.severity.as_str(),
                heartbeat_number = event.number,
                heartbeat_node = event.node,
                heartbeat_peer = peer,
                heartbeat_network = network,
                heartbeat_view = event.view,
                heartbeat_mono_ns = event.mono_ns,
                heartbeat_detail = detail,
                "{}",
                event.text
            )
        };
    }
    match event.severity {
        Severity::Critical => tell_at!(ERROR),
        Severity::Error => tell_at!(WARN),
        Severity::Warning => tell_at!(INFO),
        Severity::Info => tell_at!(DEBUG),
    }
    true
}
