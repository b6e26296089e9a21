//! The judge in userspace, for kernels without `bpf_timer` (PREEMPT_RT) and for the socket data plane: the same functions
//! over the same records, run by the reactor.

use std::{cell::RefCell, collections::VecDeque};

use bytemuck::Zeroable as _;
use heartbeat_common::{
    judge::{
        self,
        scan::{Expected, JudgeTables, LinkStamp, PeerSoFar, scan_link},
    },
    notice::Notice,
    records::{ActiveRecord, JudgeRecord, TimingRecord, VerdictRecord},
};

use super::memory::{Memory, Shared};

/// A judge that the reactor runs.
#[derive(Debug)]
pub(super) struct UserJudge {
    timing: TimingRecord,
    active: Vec<ActiveRecord>,
}

impl UserJudge {
    /// A judge that goes by `timing` and watches `active`.
    #[must_use]
    pub(super) fn new(timing: TimingRecord, active: Vec<ActiveRecord>) -> Self {
        Self { timing, active }
    }

    /// What it goes by.
    #[must_use]
    pub(super) fn timing(&self) -> TimingRecord {
        self.timing
    }

    /// What it watches.
    #[must_use]
    pub(super) fn active(&self) -> &[ActiveRecord] {
        &self.active
    }

    /// Watches `more` as well, and goes by other times.
    pub(super) fn change(&mut self, timing: TimingRecord, more: &[ActiveRecord]) {
        self.timing = timing;
        self.active.extend_from_slice(more);
    }

    /// When the next run is due, CLOCK_MONOTONIC nanoseconds; 0 is at once.
    #[must_use]
    pub(super) fn due_ns(&self, memory: &Memory) -> u64 {
        memory.judge.read(0).map_or(0, |judge| judge.due_ns)
    }

    /// Judges everybody once. State changes are appended to `notices`.
    pub(super) fn run(&self, now_ns: u64, memory: &Memory, notices: &mut VecDeque<Notice>) {
        let mut judge = memory.judge.read(0).unwrap_or_else(JudgeRecord::zeroed);
        let due_ns = judge.due_ns;
        if let Some(stall) = judge::begin_run(now_ns, &self.timing, &mut judge) {
            notices.push_back(Notice::local_stall(&stall, due_ns, now_ns));
        }
        let mut earliest_ns = u64::MAX;
        let tables = UserTables { memory, notices: &RefCell::new(notices) };
        let mut peer = PeerSoFar::default();
        for active in &self.active {
            let deadline_ns = scan_link(tables, now_ns, &self.timing, &judge.stalls, active, &mut peer);
            earliest_ns = earliest_ns.min(deadline_ns);
        }
        let earliest_ns = if earliest_ns == u64::MAX { None } else { Some(earliest_ns) };
        judge::end_run(now_ns, &self.timing, earliest_ns, &mut judge);
        memory.judge.write(0, &judge);
    }
}

#[derive(Clone, Copy)]
struct UserTables<'a, 'n> {
    memory: &'a Memory,
    notices: &'a RefCell<&'n mut VecDeque<Notice>>,
}

impl UserTables<'_, '_> {
    fn verdict<R>(
        records: &Shared<VerdictRecord>,
        index: u32,
        judge: impl FnOnce(&mut VerdictRecord) -> R,
    ) -> Option<R> {
        let mut verdict = records.read(index)?;
        let result = judge(&mut verdict);
        records.write(index, &verdict);
        Some(result)
    }
}

impl JudgeTables for UserTables<'_, '_> {
    fn expected(self, link: u32) -> Option<Expected> {
        let peer = self.memory.peers.read(link)?;
        Some(Expected { incarnation: peer.incarnation, epoch: peer.epoch, since_ns: peer.since_ns })
    }

    fn heard(self, link: u32) -> Option<LinkStamp> {
        let record = self.memory.links.read_locked(link)?;
        Some(LinkStamp {
            epoch: record.epoch,
            stamp_ns: record.stamp_ns,
            acknowledged_episode: record.acknowledged_episode,
        })
    }

    fn link_verdict<R>(self, link: u32, judge: impl FnOnce(&mut VerdictRecord) -> R) -> Option<R> {
        Self::verdict(&self.memory.verdicts, link, judge)
    }

    fn peer_verdict<R>(self, node: u32, judge: impl FnOnce(&mut VerdictRecord) -> R) -> Option<R> {
        Self::verdict(&self.memory.peer_verdicts, node, judge)
    }

    fn notify(self, notice: &Notice) {
        self.notices.borrow_mut().push_back(*notice);
    }
}
