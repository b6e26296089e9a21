//! What a node reports, as its event log tells it: read as it comes, kept, and waited for.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::{api::Connection, process::PAUSE};

/// 1122: a link is back, or up for the first time.
pub const LINK_RESTORED: u64 = 1122;
/// 1123: a link's peer is late.
pub const LINK_LOST: u64 = 1123;
/// 9001: the node itself stood still.
pub const LOCAL_STALL: u64 = 9001;

/// One event, one line of JSON.
#[derive(Clone, Debug)]
pub struct Event {
    line: Value,
}

impl Event {
    /// Takes a line apart.
    ///
    /// # Errors
    ///
    /// When it is no JSON object with a number and a time.
    pub fn parse(line: &str) -> Result<Self> {
        Self::from_value(serde_json::from_str(line)?)
    }

    /// Takes an object that is parsed already.
    ///
    /// # Errors
    ///
    /// When it has no number or no time.
    pub fn from_value(line: Value) -> Result<Self> {
        for field in ["id", "node", "mono_ns"] {
            if line.get(field).and_then(Value::as_u64).is_none() {
                bail!("an event without `{field}`: {line}");
            }
        }
        Ok(Self { line })
    }

    /// Its number, such as 1123.
    pub fn id(&self) -> u64 {
        self.number("id").unwrap_or_default()
    }

    /// Which node logs it.
    pub fn node(&self) -> u64 {
        self.number("node").unwrap_or_default()
    }

    /// Whom it is about.
    pub fn peer(&self) -> Option<u64> {
        self.number("peer")
    }

    /// The network that it is about.
    pub fn network(&self) -> Option<&str> {
        self.line.get("network").and_then(Value::as_str)
    }

    /// CLOCK_MONOTONIC of what it reports, in nanoseconds; the same clock in every namespace.
    pub fn mono_ns(&self) -> u64 {
        self.number("mono_ns").unwrap_or_default()
    }

    /// Wall-clock time, as it is written.
    pub fn time(&self) -> &str {
        self.text_of("time")
    }

    /// Name that goes with the number.
    pub fn name(&self) -> &str {
        self.text_of("name")
    }

    /// The sentence for people.
    pub fn text(&self) -> &str {
        self.text_of("text")
    }

    /// The evidence.
    pub fn detail(&self) -> &Value {
        &self.line["detail"]
    }

    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.line
    }

    fn number(&self, field: &str) -> Option<u64> {
        self.line.get(field)?.as_u64()
    }

    fn text_of(&self, field: &str) -> &str {
        self.line.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// Everything that the nodes of a cluster have reported, in the order of arrival; clones share it.
#[derive(Clone, Debug, Default)]
pub struct EventLog {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    events: Mutex<Vec<Event>>,
    arrived: Condvar,
}

impl EventLog {
    /// How many have arrived: a place in the log, from which a later look can go on.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none has arrived.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that arrived at or after a place in the log.
    pub fn since(&self, place: usize) -> Vec<Event> {
        self.lock().get(place..).unwrap_or_default().to_vec()
    }

    /// The newest `count`, oldest first.
    pub fn newest(&self, count: usize) -> Vec<Event> {
        let events = self.lock();
        events[events.len().saturating_sub(count)..].to_vec()
    }

    /// Looks at all of them without copying; nothing is added meanwhile.
    pub fn inspect<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        look(&self.lock())
    }

    /// Waits until the events from `place` on satisfy `condition`, and returns them all.
    ///
    /// # Errors
    ///
    /// When they do not within `limit`; the message lists what did arrive.
    pub fn wait_until(
        &self,
        place: usize,
        limit: Duration,
        what: &str,
        mut condition: impl FnMut(&[Event]) -> bool,
    ) -> Result<Vec<Event>> {
        let deadline = Instant::now() + limit;
        let mut events = self.lock();
        loop {
            let seen = events.get(place..).unwrap_or_default();
            if condition(seen) {
                return Ok(seen.to_vec());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let lines: Vec<String> = seen.iter().map(|event| event.line.to_string()).collect();
                bail!("not within {limit:?}: {what}. Events meanwhile:\n{}", lines.join("\n"));
            }
            let waited = self.shared.arrived.wait_timeout(events, left);
            events = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the first event from `place` on that fits.
    ///
    /// # Errors
    ///
    /// As [`EventLog::wait_until`].
    pub fn wait_for(&self, place: usize, limit: Duration, what: &str, fits: impl Fn(&Event) -> bool) -> Result<Event> {
        let events = self.wait_until(place, limit, what, |events| events.iter().any(&fits))?;
        match events.into_iter().find(fits) {
            Some(event) => Ok(event),
            None => bail!("the condition changed its mind about: {what}"),
        }
    }

    /// Waits until more than `seen` have arrived, at most so long.
    pub fn wait_for_more(&self, seen: usize, limit: Duration) {
        let no_more = |events: &mut Vec<Event>| events.len() <= seen;
        drop(self.shared.arrived.wait_timeout_while(self.lock(), limit, no_more));
    }

    pub(crate) fn push(&self, event: Event) {
        self.lock().push(event);
        self.shared.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        // Only whole events are pushed, so a panic elsewhere leaves the list whole.
        self.shared.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pushes everything that the node behind `socket` reports, over all its runs, until `is_over`.
///
/// A node that starts again tells its past too, but may have lost the end of it: what was seen is known by its number
/// together with its time.
pub(crate) fn follow(socket: &Path, log: &EventLog, is_over: &AtomicBool) {
    let mut seen = HashSet::new();
    while !is_over.load(Ordering::SeqCst) {
        // It fails as long as the node does not run; the end of the process closes the connection.
        if let Ok(mut connection) = Connection::open(socket, &json!({"request": "events", "follow": true}), None) {
            while let Ok(Some(mut line)) = connection.next() {
                if let Some(missed) = line.get("lagged") {
                    eprintln!("{}: {missed} events were missed", socket.display());
                    continue;
                }
                let event = line.get_mut("event").map(Value::take).unwrap_or_default();
                match Event::from_value(event) {
                    Ok(event) if seen.insert((event.number("number"), event.mono_ns())) => log.push(event),
                    Ok(_) => {}
                    Err(error) => eprintln!("{}: {error:#}", socket.display()),
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-11-23T02:00:00.123456789Z","mono_ns":123456789,"id":1123,"name":"link_lost","severity":"warning","node":1,"peer":3,"network":"private","view":5,"text":"...","detail":{"misses":2}}"#;

    #[test]
    fn a_line_is_taken_apart() {
        let event = Event::parse(LINE).unwrap();
        assert_eq!((event.id(), event.node(), event.peer(), event.mono_ns()), (LINK_LOST, 1, Some(3), 123_456_789));
        assert_eq!((event.network(), event.name()), (Some("private"), "link_lost"));
        assert_eq!(event.detail()["misses"], 2);
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "[]", "{}", r#"{"id":"1123","node":1,"mono_ns":1}"#] {
            assert!(Event::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn waiting_sees_what_arrives_later_and_only_from_its_place_on() {
        let log = EventLog::default();
        log.push(Event::parse(LINE).unwrap());
        let place = log.len();
        let writer = log.clone();
        let thread = std::thread::spawn(move || writer.push(Event::parse(&LINE.replace("1123", "1122")).unwrap()));
        let event = log.wait_for(place, Duration::from_secs(10), "an event", |_| true).unwrap();
        assert_eq!(event.id(), LINK_RESTORED);
        thread.join().unwrap();
    }

    #[test]
    fn what_does_not_come_is_reported_with_what_came() {
        let log = EventLog::default();
        log.push(Event::parse(LINE).unwrap());
        let limit = Duration::from_millis(1);
        let error = log.wait_for(0, limit, "a stall", |event| event.id() == LOCAL_STALL).unwrap_err().to_string();
        assert!(error.contains("a stall") && error.contains("link_lost"), "{error}");
    }
}
