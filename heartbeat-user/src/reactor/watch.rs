//! Watches the judge in the kernel, and the controller's own sign of life.

use std::sync::atomic::Ordering;

use heartbeat_common::records::{JudgeRecord, NodeRecord};

use super::{Loop, queue::Report};
use crate::{clock, dataplane::JudgeKind};

/// Notices a judge that stands still. It scans at least once per interval.
#[derive(Debug)]
pub(super) struct JudgeWatch {
    patience_ns: u64,
    /// When the judge was last started by this reactor; it gets as much time as after a run.
    started_ns: u64,
    /// It was found to have stopped, and its first run since has not been told of.
    restarted: bool,
}

impl JudgeWatch {
    /// An interval, a quarter, and slack: with passes twice per interval it is noticed within two intervals, and timer
    /// lateness that the judge itself reports as a stall does not look like a standstill at once.
    pub(super) fn new(interval_ns: u64, slack_ns: u64) -> Self {
        Self {
            patience_ns: interval_ns + interval_ns / 4 + slack_ns,
            started_ns: clock::monotonic_ns(),
            restarted: false,
        }
    }

    /// Whether a stall of the machine that the judge tells of is its own standstill, which 9010 has told: the first run after
    /// a restart finds itself as late as it was not run. The reactor made its passes meanwhile, so the machine ran; credit
    /// for the time is given all the same, since stamps of heartbeats may have stood still with the judge.
    pub(super) fn explains(&mut self, began_ns: u64, ended_ns: u64) -> bool {
        let own = self.restarted && ended_ns >= self.started_ns && began_ns <= self.started_ns;
        self.restarted &= !own;
        own
    }

    fn stands_still(&self, ran_ns: u64, now_ns: u64) -> bool {
        now_ns.saturating_sub(ran_ns.max(self.started_ns)) > self.patience_ns
    }
}

impl Loop {
    /// Says that the controller completes passes: every heartbeat carries it to the peers.
    pub(super) fn show_life(&self, now_ns: u64) {
        let node = &self.dataplane.memory.node;
        if let (Some(pass), Some(beat)) = (
            node.word(0, std::mem::offset_of!(NodeRecord, controller_pass_ns)),
            node.word(0, std::mem::offset_of!(NodeRecord, controller_beat)),
        ) {
            pass.store(now_ns, Ordering::Relaxed);
            beat.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Restarts a judge that has stopped scanning, and says so.
    pub(super) fn watch_judge(&mut self, now_ns: u64) {
        if self.dataplane.judge() != JudgeKind::KernelTimer {
            return;
        }
        let Some(word) = self.dataplane.memory.judge.word(0, std::mem::offset_of!(JudgeRecord, ran_ns)) else { return };
        let ran_ns = word.load(Ordering::Relaxed);
        if !self.watch.stands_still(ran_ns, now_ns) {
            return;
        }
        self.watch.started_ns = now_ns;
        self.watch.restarted = true;
        let failure = self.dataplane.restart_judge().err().map(|error| format!("{error:#}"));
        self.report(Report::JudgeRestarted { ran_ns, found_ns: now_ns, failure });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_that_runs_is_left_alone_and_a_new_one_gets_its_time() {
        let watch = JudgeWatch { patience_ns: 100, started_ns: 1_000, restarted: false };
        assert!(!watch.stands_still(0, 1_100), "just started");
        assert!(watch.stands_still(0, 1_101));
        assert!(!watch.stands_still(1_090, 1_101));
        assert!(watch.stands_still(1_090, 1_191));
    }
    #[test]
    fn the_first_run_after_a_restart_is_late_by_itself_and_later_ones_by_the_machine() {
        let mut watch = JudgeWatch { patience_ns: 100, started_ns: 1_000, restarted: true };
        assert!(!watch.explains(700, 900), "it ended before the restart");
        assert!(watch.explains(700, 1_010));
        assert!(!watch.explains(900, 1_200), "once");
        let mut never = JudgeWatch { patience_ns: 100, started_ns: 1_000, restarted: false };
        assert!(!never.explains(700, 1_010), "nothing was restarted");
    }
}
