//! Is what the node writes to `state_dir` on disk? It keeps running if not, and says so.

use crate::{
    event::{Draft, LogCounters, kind},
    record::RecordCounts,
};

/// Between two reports that the disk refuses: one that is full for a moment again and again is told once in a while.
const TELL_AGAIN_NS: u64 = 60_000_000_000;

/// What has been told about the disk.
#[derive(Debug, Default)]
pub(super) struct StorageWatch {
    /// The refusal that was told and is not over.
    failing: bool,
    told_ns: Option<u64>,
    /// Events that were not written when it was last looked.
    events_lost: u64,
    /// Entries that were recorded when the refusal was told: more of them show that the disk writes again.
    recorded: u64,
}

impl StorageWatch {
    /// Looks at the counters; what is to be told, if anything. `unpersisted` says why an incarnation or a form epoch that
    /// the node waits for is not on disk.
    pub(super) fn look(
        &mut self,
        log: &LogCounters,
        recording: &RecordCounts,
        unpersisted: Option<&str>,
        now_ns: u64,
    ) -> Option<Draft> {
        let events_lost = log.failed + log.dropped;
        let lost = events_lost - self.events_lost.min(events_lost);
        self.events_lost = events_lost;
        let event_error = log.last_error.as_deref().filter(|_| lost > 0);
        let reason = unpersisted.or(recording.last_error.as_deref()).or(event_error);
        let recovered = recording.written > self.recorded && recording.last_error.is_none();
        match (reason, self.failing) {
            (Some(reason), false) if self.may_tell(now_ns) => {
                self.failing = true;
                self.told_ns = Some(now_ns);
                self.recorded = recording.written;
                let stuck = match unpersisted {
                    Some(_) => "; the node waits for it, and says nothing to its peers meanwhile",
                    None => "; the node goes on",
                };
                let text = format!("What this node writes to its state directory is not on disk: {reason}{stuck}");
                let mut draft = Draft::new(&kind::STORAGE_FAILING, now_ns, text);
                draft.detail = serde_json::json!({
                    "reason": reason, "events_lost": events_lost, "entries_lost": recording.failed,
                });
                Some(draft)
            }
            (None, true) if recovered => {
                self.failing = false;
                let text = "What this node writes to its state directory is on disk again";
                let mut draft = Draft::new(&kind::STORAGE_RESTORED, now_ns, text);
                draft.detail = serde_json::json!({ "events_lost": events_lost, "entries_lost": recording.failed });
                Some(draft)
            }
            (Some(_) | None, _) => None,
        }
    }

    fn may_tell(&self, now_ns: u64) -> bool {
        self.told_ns.is_none_or(|told_ns| now_ns.saturating_sub(told_ns) >= TELL_AGAIN_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn log(failed: u64) -> LogCounters {
        LogCounters { failed, last_error: (failed > 0).then(|| "no space".to_owned()), ..LogCounters::default() }
    }

    fn recording(written: u64, error: Option<&str>) -> RecordCounts {
        RecordCounts { written, last_error: error.map(str::to_owned), ..RecordCounts::default() }
    }

    #[test]
    fn a_full_disk_is_told_once_and_its_end_when_something_was_written_again() {
        let mut watch = StorageWatch::default();
        let mut id = |failed, recording: RecordCounts, second| {
            watch.look(&log(failed), &recording, None, second * SECOND).map(|draft| draft.kind.id)
        };
        assert_eq!(id(0, recording(10, None), 100), None);
        assert_eq!(id(1, recording(10, Some("no space")), 101), Some(9031));
        assert_eq!(id(5, recording(10, Some("no space")), 102), None);
        assert_eq!(id(5, recording(10, None), 103), None, "nothing was written since");
        assert_eq!(id(5, recording(11, None), 104), Some(9032));
        assert_eq!(id(6, recording(12, None), 105), None, "not again within a minute");
        assert_eq!(id(7, recording(12, None), 162), Some(9031));
    }

    #[test]
    fn an_incarnation_that_cannot_be_persisted_says_that_the_node_waits() {
        let mut watch = StorageWatch::default();
        let draft = watch.look(&log(0), &recording(1, None), Some("read-only"), 5 * SECOND).unwrap();
        assert!(draft.text.contains("read-only") && draft.text.contains("waits"), "{}", draft.text);
    }
}
