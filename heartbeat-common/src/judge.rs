//! When a link is late and a peer silent: the arithmetic of the judge, without maps or timers.
//!
//! The judge in the kernel, the scan in userspace (kernels without `bpf_timer`) and the tests run these functions.
//!
//! Deadlines count from the newest stamp, or from the moment when the incarnation was accepted. Stamps are written on
//! other CPUs and may lie after `now`: every comparison is of signed differences.

pub mod scan;

use crate::records::{
    JudgeRecord, STATE_INIT, STATE_LATE, STATE_SILENT, STATE_UP, StallRecord, TimingRecord, VERDICT_NEVER_HEARD,
    VERDICT_STALL_BUDGET_SPENT, VerdictRecord,
};

/// What the judge knows of one link, or of one peer over its counting networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Epoch of the peer record.
    pub epoch: u64,
    /// When the incarnation was accepted.
    pub since_ns: u64,
    /// Newest stamp of that epoch; 0 is never.
    pub stamp_ns: u64,
    /// The newest episode whose end was reported by whoever wrote the stamp.
    pub acknowledged_episode: u64,
}

/// A change of state that must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Late, or silent; the verdict record has the evidence.
    Bad,
    /// Heard (again), and nobody has said so yet.
    Good,
}

/// Outcome of judging one link or peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What changed, if anything.
    pub change: Option<Change>,
    /// The next deadline; `None` when the verdict is bad already.
    pub deadline_ns: Option<u64>,
}

/// Judges one link: late after `timing.late_ns`.
#[inline(always)]
pub fn judge_link(
    now_ns: u64,
    timing: &TimingRecord,
    stalls: &StallRecord,
    heard: &Heard,
    verdict: &mut VerdictRecord,
) -> Judgement {
    judge(now_ns, timing.late_ns, STATE_LATE, stalls, heard, verdict)
}

/// Judges one peer over its counting networks: silent after `timing.silent_ns`.
#[inline(always)]
pub fn judge_peer(
    now_ns: u64,
    timing: &TimingRecord,
    stalls: &StallRecord,
    heard: &Heard,
    verdict: &mut VerdictRecord,
) -> Judgement {
    judge(now_ns, timing.silent_ns, STATE_SILENT, stalls, heard, verdict)
}

#[inline(always)]
fn judge(
    now_ns: u64,
    timeout_ns: u64,
    bad_state: u32,
    stalls: &StallRecord,
    heard: &Heard,
    verdict: &mut VerdictRecord,
) -> Judgement {
    if verdict.epoch != heard.epoch {
        // The evidence of the last bad verdict stays; its number goes on.
        verdict.epoch = heard.epoch;
        verdict.state = STATE_INIT;
        verdict.flags = 0;
        verdict.seen_ns = 0;
        verdict.stall_mark_ns = stalls.total_ns;
    }
    let mut change = None;
    if heard.stamp_ns != verdict.seen_ns {
        verdict.seen_ns = heard.stamp_ns;
        verdict.stall_mark_ns = stalls.total_ns;
        if verdict.state == bad_state && heard.acknowledged_episode != verdict.episode {
            change = Some(Change::Good);
        }
        verdict.state = STATE_UP;
    }
    if verdict.state == bad_state {
        return Judgement { change, deadline_ns: None };
    }

    let never_heard = heard.stamp_ns == 0;
    let base_ns = if never_heard { heard.since_ns } else { heard.stamp_ns };
    let mut deadline_ns = base_ns.saturating_add(timeout_ns);
    let exhausted = stalls.exhausted != 0;
    if !exhausted {
        deadline_ns = deadline_ns.saturating_add(stalls.total_ns.saturating_sub(verdict.stall_mark_ns));
        if is_before(deadline_ns, stalls.floor_ns) {
            deadline_ns = stalls.floor_ns;
        }
    }
    if is_before(now_ns, deadline_ns) {
        return Judgement { change, deadline_ns: Some(deadline_ns) };
    }
    verdict.state = bad_state;
    verdict.episode += 1;
    verdict.stamp_ns = heard.stamp_ns;
    verdict.deadline_ns = deadline_ns;
    verdict.judged_ns = now_ns;
    verdict.flags =
        if never_heard { VERDICT_NEVER_HEARD } else { 0 } | if exhausted { VERDICT_STALL_BUDGET_SPENT } else { 0 };
    Judgement { change: Some(Change::Bad), deadline_ns: None }
}

/// Is `a` before `b`, on a clock of which both were read within 292 years of each other?
#[inline(always)]
#[must_use]
pub const fn is_before(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) < 0
}

/// The machine was stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalStall {
    /// How much later than planned the judge ran.
    pub length_ns: u64,
    /// No credit was given: that of the current window is used up.
    pub budget_spent: bool,
}

/// Timeouts' worth of credit for stalls within one window. One timeout lets a single stall as long as the timeout pass;
/// two leave room for a second one while peers catch up.
const CREDIT_TIMEOUTS: u64 = 2;
/// Length of the window, in timeouts: a machine that stutters for ever notices a dead peer within it.
const WINDOW_TIMEOUTS: u64 = 4;

/// Opens a run of the judge: how late is it, and what is credited for that?
///
/// A run later than `slack_ns` shows that the machine was stalled (virtual CPU taken away, SMI, starved softirqs):
/// heartbeats may wait unstamped. Every deadline moves by the length of the stall, and none falls before now + interval
/// + slack. The credit is bounded, see [`StallRecord::exhausted`].
#[inline(always)]
pub fn begin_run(now_ns: u64, timing: &TimingRecord, judge: &mut JudgeRecord) -> Option<LocalStall> {
    let due_ns = judge.due_ns;
    judge.ran_ns = now_ns;
    judge.scans += 1;
    let stalls = &mut judge.stalls;
    let window_ns = timing.silent_ns.saturating_mul(WINDOW_TIMEOUTS);
    if stalls.window_ns != 0 && !is_before(now_ns, stalls.window_ns.saturating_add(window_ns)) {
        stalls.window_ns = 0;
        stalls.spent_ns = 0;
        stalls.exhausted = 0;
    }
    if due_ns == 0 || is_before(now_ns, due_ns) {
        return None;
    }
    let length_ns = now_ns - due_ns;
    judge.latest_ns = judge.latest_ns.max(length_ns);
    if length_ns <= timing.slack_ns {
        return None;
    }
    stalls.count += 1;
    stalls.longest_ns = stalls.longest_ns.max(length_ns);
    if stalls.window_ns == 0 {
        stalls.window_ns = now_ns;
    }
    if stalls.spent_ns >= timing.silent_ns.saturating_mul(CREDIT_TIMEOUTS) {
        stalls.exhausted = 1;
        return Some(LocalStall { length_ns, budget_spent: true });
    }
    // What a dead peer may gain is the length and the floor. Counting both, a stutter that stays within the budget leaves
    // quiet times longer than the floor, in which the judge reaches its deadlines.
    let floor_ns = timing.interval_ns.saturating_add(timing.slack_ns);
    stalls.spent_ns = stalls.spent_ns.saturating_add(length_ns).saturating_add(floor_ns);
    stalls.total_ns = stalls.total_ns.saturating_add(length_ns);
    stalls.floor_ns = now_ns.saturating_add(floor_ns);
    Some(LocalStall { length_ns, budget_spent: false })
}

/// Closes a run: how long until the next one, given the earliest deadline left. At least once per interval, so that a
/// stall shows and a returning peer is seen; at least a microsecond, so that the judge never spins.
#[inline(always)]
pub fn end_run(now_ns: u64, timing: &TimingRecord, earliest_ns: Option<u64>, judge: &mut JudgeRecord) -> u64 {
    const DELAY_MIN_NS: u64 = 1_000;
    let mut delay_ns = timing.interval_ns;
    if let Some(earliest_ns) = earliest_ns {
        let left_ns = if is_before(earliest_ns, now_ns) { 0 } else { earliest_ns - now_ns };
        delay_ns = delay_ns.min(left_ns);
    }
    let delay_ns = delay_ns.max(DELAY_MIN_NS);
    judge.due_ns = now_ns.saturating_add(delay_ns);
    delay_ns
}

#[cfg(test)]
mod tests;
