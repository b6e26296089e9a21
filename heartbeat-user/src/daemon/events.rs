//! Events of the core as the event log writes them.

use std::collections::BTreeMap;

use heartbeat_membership::Event;

use crate::event::{Draft, Severity, kind};

/// Time between two reports of stalls: a machine that stutters a hundred times a second tells so once.
const STALL_INTERVAL_NS: u64 = 1_000_000_000;

/// The draft of a core event. An event that the log does not know would be a mistake of this program; it is still told.
pub(super) fn draft(event: &Event, networks: &BTreeMap<u8, String>) -> Draft {
    let kind = kind::kind(event.id.number()).unwrap_or(&kind::CONTROLLER_STARTED);
    Draft {
        kind,
        mono_ns: event.mono_ns,
        severity: match event.id.severity() {
            heartbeat_membership::Severity::Info => Severity::Info,
            heartbeat_membership::Severity::Warning => Severity::Warning,
            heartbeat_membership::Severity::Error => Severity::Error,
            heartbeat_membership::Severity::Critical => Severity::Critical,
        },
        peer: event.peer.map(|peer| peer.0),
        network: event.network.and_then(|network| networks.get(&network.0).cloned()),
        view: event.view,
        text: event.text.clone(),
        detail: serde_json::to_value(&event.detail).unwrap_or_default(),
    }
}

/// Lets at most one 9001 pass in a second; the others are summed up in the next one.
#[derive(Debug, Default)]
pub(super) struct StallLimiter {
    last_ns: u64,
    held: Option<Draft>,
    held_count: u64,
    held_total_ns: u64,
}

impl StallLimiter {
    /// Passes everything but stalls that come too soon after another.
    pub(super) fn pass(&mut self, draft: Draft) -> Option<Draft> {
        if draft.kind.id != kind::LOCAL_STALL.id {
            return Some(draft);
        }
        if self.held.is_none() && draft.mono_ns.saturating_sub(self.last_ns) >= STALL_INTERVAL_NS {
            self.last_ns = draft.mono_ns;
            return Some(draft);
        }
        self.held_count += 1;
        self.held_total_ns += length_ns(&draft);
        // The longest one stands for all.
        if self.held.as_ref().is_none_or(|held| length_ns(held) < length_ns(&draft)) {
            self.held = Some(draft);
        }
        None
    }

    /// What was held back, once a second has passed.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<Draft> {
        if self.held.is_none() || now_ns.saturating_sub(self.last_ns) < STALL_INTERVAL_NS {
            return None;
        }
        let mut draft = self.held.take()?;
        let (count, total_ms) =
            (std::mem::take(&mut self.held_count), std::mem::take(&mut self.held_total_ns) / 1_000_000);
        if count > 1 {
            draft.text = format!("{} (the longest of {count} stalls, {total_ms} ms together)", draft.text);
            if let Some(detail) = draft.detail.as_object_mut() {
                detail.insert("stalls".to_owned(), count.into());
                detail.insert("total_ms".to_owned(), total_ms.into());
            }
        }
        self.last_ns = now_ns;
        Some(draft)
    }
}

fn length_ns(draft: &Draft) -> u64 {
    draft.detail.get("length_ns").and_then(serde_json::Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stall(at_ms: u64, length_ms: u64) -> Draft {
        let mut draft = Draft::new(&kind::LOCAL_STALL, at_ms * 1_000_000, "stalled");
        draft.detail = serde_json::json!({ "length_ns": length_ms * 1_000_000 });
        draft
    }

    #[test]
    fn a_stutter_is_told_once_a_second_and_nothing_is_left_out() {
        let mut limiter = StallLimiter::default();
        assert!(limiter.pass(stall(5_000, 20)).is_some());
        for at in 1..10 {
            assert!(limiter.pass(stall(5_000 + at * 50, 20 + at)).is_none());
        }
        assert!(limiter.due(5_900_000_000).is_none());
        let told = limiter.due(6_100_000_000).expect("held back");
        assert!(told.text.contains("9 stalls") && told.text.contains("225 ms"), "{}", told.text);
        assert!(limiter.due(9_000_000_000).is_none());
        assert!(limiter.pass(Draft::new(&kind::LINK_LOST, 6_100_000_001, "other")).is_some());
    }
}
