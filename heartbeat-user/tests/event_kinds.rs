//! The core and the event log speak of the same events.

use heartbeat_membership::event::EventId;
use heartbeat_user::event::kind;

#[test]
fn every_event_of_the_core_is_known_to_the_log_by_the_same_name_and_severity() {
    let mut known = 0;
    for number in 0..=u16::MAX {
        let Ok(id) = EventId::try_from(number) else { continue };
        known += 1;
        let Some(kind) = kind::kind(number) else { panic!("{number} {} is not in the table of kinds", id.name()) };
        assert_eq!((kind.name, kind.severity.as_str()), (id.name(), severity(id)), "{number}");
    }
    assert!(known >= 4, "the core has the events of links, stalls and leaving at least");
}

fn severity(id: EventId) -> &'static str {
    use heartbeat_membership::event::Severity;
    match id.severity() {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
        Severity::Critical => "critical",
    }
}
