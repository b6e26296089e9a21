use bytemuck::Zeroable as _;
use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const INTERVAL: u64 = 10 * MS;
const TIMING: TimingRecord = TimingRecord {
    interval_ns: INTERVAL,
    late_ns: 2 * INTERVAL + INTERVAL / 8,
    silent_ns: 6 * INTERVAL + INTERVAL / 8,
    slack_ns: INTERVAL / 8,
    active_links: 1,
};

fn heard(stamp_ns: u64) -> Heard {
    Heard { epoch: 1, since_ns: 1_000 * MS, stamp_ns, acknowledged_episode: 0 }
}

fn no_stalls() -> StallRecord {
    StallRecord::zeroed()
}

#[test]
fn on_time_is_up_and_the_deadline_counts_from_the_stamp() {
    let mut verdict = VerdictRecord::zeroed();
    let stamp = 2_000 * MS;
    let judgement = judge_link(stamp + 5 * MS, &TIMING, &no_stalls(), &heard(stamp), &mut verdict);
    assert_eq!(judgement, Judgement { change: None, deadline_ns: Some(stamp + TIMING.late_ns) });
    assert_eq!(verdict.state, STATE_UP);
}

#[test]
fn a_stamp_from_the_future_of_another_cpu_is_not_late() {
    let mut verdict = VerdictRecord::zeroed();
    let stamp = 2_000 * MS;
    let judgement = judge_link(stamp - 3, &TIMING, &no_stalls(), &heard(stamp), &mut verdict);
    assert_eq!(judgement.change, None);
}

#[test]
fn late_exactly_at_the_deadline_once_per_episode() {
    let mut verdict = VerdictRecord::zeroed();
    let stamp = 2_000 * MS;
    let deadline = stamp + TIMING.late_ns;
    assert_eq!(judge_link(deadline - 1, &TIMING, &no_stalls(), &heard(stamp), &mut verdict).change, None);
    let bad = judge_link(deadline, &TIMING, &no_stalls(), &heard(stamp), &mut verdict);
    assert_eq!(bad, Judgement { change: Some(Change::Bad), deadline_ns: None });
    assert_eq!((verdict.state, verdict.episode, verdict.stamp_ns), (STATE_LATE, 1, stamp));
    assert_eq!((verdict.deadline_ns, verdict.judged_ns, verdict.flags), (deadline, deadline, 0));
    let again = judge_link(deadline + 100 * MS, &TIMING, &no_stalls(), &heard(stamp), &mut verdict);
    assert_eq!(again, Judgement { change: None, deadline_ns: None });
}

#[test]
fn one_lost_datagram_alone_is_never_late() {
    let mut verdict = VerdictRecord::zeroed();
    let stamp = 2_000 * MS;
    // The next but one heartbeat arrives two intervals later, and a bit.
    let judgement = judge_link(stamp + 2 * INTERVAL + MS, &TIMING, &no_stalls(), &heard(stamp), &mut verdict);
    assert_eq!(judgement.change, None);
}

#[test]
fn heard_again_is_told_unless_the_receiver_has_told_it() {
    for acknowledged in [0, 1] {
        let mut verdict = VerdictRecord::zeroed();
        let stamp = 2_000 * MS;
        judge_link(stamp + 100 * MS, &TIMING, &no_stalls(), &heard(stamp), &mut verdict);
        assert_eq!(verdict.state, STATE_LATE);
        let back = Heard { acknowledged_episode: acknowledged, ..heard(stamp + 105 * MS) };
        let judgement = judge_link(stamp + 106 * MS, &TIMING, &no_stalls(), &back, &mut verdict);
        assert_eq!(judgement.change, (acknowledged == 0).then_some(Change::Good));
        assert_eq!(verdict.state, STATE_UP);
    }
}

#[test]
fn never_heard_counts_from_acceptance_and_says_so() {
    let mut verdict = VerdictRecord::zeroed();
    let never = heard(0);
    let deadline = never.since_ns + TIMING.late_ns;
    assert_eq!(judge_link(deadline - 1, &TIMING, &no_stalls(), &never, &mut verdict).change, None);
    assert_eq!(verdict.state, STATE_INIT);
    assert_eq!(judge_link(deadline, &TIMING, &no_stalls(), &never, &mut verdict).change, Some(Change::Bad));
    assert_eq!(verdict.flags, VERDICT_NEVER_HEARD);
}

#[test]
fn a_new_epoch_starts_over_and_keeps_the_episode_number() {
    let mut verdict = VerdictRecord::zeroed();
    judge_link(5_000 * MS, &TIMING, &no_stalls(), &heard(2_000 * MS), &mut verdict);
    assert_eq!(verdict.episode, 1);
    let new = Heard { epoch: 2, since_ns: 5_000 * MS, stamp_ns: 0, acknowledged_episode: 0 };
    assert_eq!(judge_link(5_001 * MS, &TIMING, &no_stalls(), &new, &mut verdict).change, None);
    assert_eq!((verdict.state, verdict.episode, verdict.epoch), (STATE_INIT, 1, 2));
}

#[test]
fn silent_uses_its_own_timeout_and_state() {
    let mut verdict = VerdictRecord::zeroed();
    let stamp = 2_000 * MS;
    assert_eq!(judge_peer(stamp + 60 * MS, &TIMING, &no_stalls(), &heard(stamp), &mut verdict).change, None);
    let bad = judge_peer(stamp + TIMING.silent_ns, &TIMING, &no_stalls(), &heard(stamp), &mut verdict);
    assert_eq!((bad.change, verdict.state), (Some(Change::Bad), STATE_SILENT));
}

/// A run of the judge `late` after it was due.
fn run(judge: &mut JudgeRecord, at: u64, late: u64) -> Option<LocalStall> {
    judge.due_ns = at - late;
    begin_run(at, &TIMING, judge)
}

#[test]
fn a_stall_moves_every_deadline_and_leaves_a_floor() {
    let mut judge = JudgeRecord::zeroed();
    let mut verdict = VerdictRecord::zeroed();
    let stamp = 2_000 * MS;
    judge_link(stamp + MS, &TIMING, &judge.stalls, &heard(stamp), &mut verdict);
    let now = stamp + 500 * MS;
    assert_eq!(run(&mut judge, now, 495 * MS), Some(LocalStall { length_ns: 495 * MS, budget_spent: false }));
    let judgement = judge_link(now, &TIMING, &judge.stalls, &heard(stamp), &mut verdict);
    assert_eq!(judgement.change, None, "nobody is accused of our own stall");
    let floor = now + TIMING.interval_ns + TIMING.slack_ns;
    assert_eq!(judgement.deadline_ns, Some((stamp + TIMING.late_ns + 495 * MS).max(floor)));
    // A peer that stays away is noticed.
    let later = judgement.deadline_ns.expect("a deadline");
    assert_eq!(judge_link(later, &TIMING, &judge.stalls, &heard(stamp), &mut verdict).change, Some(Change::Bad));
}

#[test]
fn lateness_within_slack_is_no_stall() {
    let mut judge = JudgeRecord::zeroed();
    assert_eq!(run(&mut judge, 1_000 * MS, TIMING.slack_ns), None);
    assert_eq!(judge.latest_ns, TIMING.slack_ns);
    assert_eq!(
        run(&mut judge, 2_000 * MS, TIMING.slack_ns + 1).map(|stall| stall.length_ns),
        Some(TIMING.slack_ns + 1)
    );
    assert_eq!(judge.stalls.count, 1);
}

#[test]
fn a_stamp_after_the_stall_gets_no_credit_for_it() {
    let mut judge = JudgeRecord::zeroed();
    let mut verdict = VerdictRecord::zeroed();
    run(&mut judge, 2_000 * MS, 500 * MS);
    let stamp = 2_100 * MS;
    let judgement = judge_link(stamp, &TIMING, &judge.stalls, &heard(stamp), &mut verdict);
    assert_eq!(judgement.deadline_ns, Some(stamp + TIMING.late_ns));
}

#[test]
fn a_machine_that_stutters_for_ever_still_notices_a_dead_peer() {
    // 20 ms stalls, every other 20 ms: each run of the judge is late.
    let mut judge = JudgeRecord::zeroed();
    let mut verdict = VerdictRecord::zeroed();
    let stamp = 2_000 * MS;
    let mut now = stamp;
    loop {
        now += 40 * MS;
        run(&mut judge, now, 20 * MS);
        if judge_peer(now, &TIMING, &judge.stalls, &heard(stamp), &mut verdict).change.is_some() {
            break;
        }
        assert!(now < stamp + WINDOW_TIMEOUTS * TIMING.silent_ns, "a dead peer hides behind stalls");
    }
    assert_eq!(verdict.flags, VERDICT_STALL_BUDGET_SPENT);
    assert!(judge.stalls.count > 3);
}

#[test]
fn the_credit_returns_after_a_quiet_window() {
    let mut judge = JudgeRecord::zeroed();
    run(&mut judge, 1_000 * MS, 500 * MS);
    assert!(run(&mut judge, 1_100 * MS, 20 * MS).is_none_or(|stall| stall.budget_spent));
    assert_eq!(judge.stalls.exhausted, 1);
    let after = 1_000 * MS + WINDOW_TIMEOUTS * TIMING.silent_ns + 1;
    assert_eq!(run(&mut judge, after, 20 * MS), Some(LocalStall { length_ns: 20 * MS, budget_spent: false }));
    assert_eq!(judge.stalls.exhausted, 0);
}

#[test]
fn the_next_run_is_at_the_earliest_deadline_or_after_an_interval() {
    let mut judge = JudgeRecord::zeroed();
    assert_eq!(end_run(1_000, &TIMING, None, &mut judge), INTERVAL);
    assert_eq!(judge.due_ns, 1_000 + INTERVAL);
    assert_eq!(end_run(1_000, &TIMING, Some(1_000 + 3 * MS), &mut judge), 3 * MS);
    assert_eq!(end_run(10_000, &TIMING, Some(5), &mut judge), 1_000, "never zero: the judge would spin");
}

/// The judge on a machine that stands still from time to time: a run that is due during a stall happens at its end.
struct Machine {
    judge: JudgeRecord,
    verdict: VerdictRecord,
    now: u64,
}

impl Machine {
    fn new(now: u64) -> Self {
        let mut judge = JudgeRecord::zeroed();
        judge.due_ns = now;
        Self { judge, verdict: VerdictRecord::zeroed(), now }
    }

    /// Stands still for `stall_ns`, then works for `quiet_ns`. `stamp` gives the peer's newest stamp at a time. Returns
    /// when the peer was found silent.
    fn step(&mut self, stall_ns: u64, quiet_ns: u64, stamp: impl Fn(u64) -> u64) -> Option<u64> {
        let awake = self.now + stall_ns;
        let end = awake + quiet_ns;
        let mut silent = None;
        while self.judge.due_ns < end {
            let at = self.judge.due_ns.max(awake);
            begin_run(at, &TIMING, &mut self.judge);
            let heard = heard(stamp(at));
            let judgement = judge_peer(at, &TIMING, &self.judge.stalls, &heard, &mut self.verdict);
            if judgement.change == Some(Change::Bad) {
                silent = silent.or(Some(at));
            }
            end_run(at, &TIMING, judgement.deadline_ns, &mut self.judge);
        }
        self.now = end;
        silent
    }
}

proptest! {
    /// Whatever stalls happen: a peer whose heartbeats are stamped whenever the machine works is never accused, and a peer
    /// that is dead is noticed within two windows and two timeouts.
    #[test]
    fn bounded_both_ways(stalls in prop::collection::vec((0u64..80_000, 1u64..60_000), 1..400)) {
        let start = 2_000 * MS;
        let mut alive = Machine::new(start);
        let mut dead = Machine::new(start);
        let mut noticed = None;
        for (stall_us, quiet_us) in stalls {
            let (stall, quiet) = (stall_us * 1_000, quiet_us * 1_000);
            // The living peer's backlog is stamped when the machine works again, then its heartbeats come as sent.
            let silent = alive.step(stall, quiet, |at| at - (at % INTERVAL).min(MS));
            prop_assert_eq!(silent, None);
            noticed = noticed.or(dead.step(stall, quiet, |_at| start));
        }
        let bound = start + (2 * WINDOW_TIMEOUTS + 2) * TIMING.silent_ns;
        if dead.now > bound + 100 * MS {
            prop_assert!(noticed.is_some_and(|at| at <= bound + 100 * MS), "noticed {:?}, bound {}", noticed, bound);
        }
    }
}
