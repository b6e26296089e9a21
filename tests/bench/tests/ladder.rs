//! The ladder in short: five seconds a rung at 50 ms. No false verdict under load, and with a guard taken away the same
//! rung fails.

use heartbeat_bench::ladder::{Demotion, Outcome, Plan, Rung, climb};

/// The CPUs of shared machines stop now and then. What overlaps such a stop is not counted, so a machine that stops all
/// the time shows nothing: a rung of which more than this part was stopped fails as not measured.
const MOST_STOPPED: f64 = 0.5;

/// From the kill of a controller to the word of the last survivor: `hang_timeout` is 10 s, the rest is for the load.
const KILL_TOLD_NS: u64 = 15_000_000_000;

fn plan() -> Plan {
    Plan { nodes: 3, sender: None, interval_ms: 50, seconds: 5, seed: 1, removals: 1, demotion: None }
}

#[track_caller]
fn tells_the_truth(rung: Rung) -> Outcome {
    let outcome = climb(&plan(), rung).expect("a rung that can be climbed");
    assert_eq!(outcome.verdicts.accusations.total(), 0, "{outcome:#?}");
    assert!(outcome.verdicts.error.count >= 5, "the link that was cut gave too few verdicts: {outcome:#?}");
    assert_eq!(outcome.removals.len(), 1, "a node that was cut off was not removed: {outcome:#?}");
    assert!(stopped(&outcome) < MOST_STOPPED, "the CPUs stood still: {outcome:#?}");
    outcome
}

/// Part of the time in which the CPU that stopped longest stood still.
fn stopped(outcome: &Outcome) -> f64 {
    let cpus = outcome.stops.iter().map(|stop| stop.cpu).max().map_or(0, |cpu| cpu + 1);
    let of_cpu = |cpu| {
        let stops = outcome.stops.iter().filter(|stop| stop.cpu == cpu);
        stops.map(|stop| stop.to_ns - stop.from_ns).sum::<u64>() as f64 / 1e9
    };
    (0..cpus).map(of_cpu).fold(0.0, f64::max) / outcome.seconds
}

#[test]
fn idle() {
    tells_the_truth(Rung::Idle);
}

#[test]
fn stress() {
    let outcome = tells_the_truth(Rung::Stress);
    assert!(outcome.witness.busy_percent > 90.0, "there was no load: {outcome:#?}");
    assert!(outcome.kill_told_ns.is_some_and(|ns| ns < KILL_TOLD_NS), "a killed peer was not told: {outcome:#?}");
}

#[test]
fn bursts_above_every_plain_thread() {
    let outcome = tells_the_truth(Rung::Bursts);
    assert!(outcome.witness.hog_busy_ns > 4_000_000_000, "there was no load: {outcome:#?}");
    assert!(outcome.witness.plain_gap_ns > 100_000_000, "a plain thread did not notice: {outcome:#?}");
    assert!(outcome.kill_told_ns.is_some_and(|ns| ns < KILL_TOLD_NS), "a killed peer was not told: {outcome:#?}");
}

#[test]
fn one_cpu_taken_by_the_highest_priority() {
    let outcome = tells_the_truth(Rung::Hog);
    assert!(outcome.witness.hog_busy_ns > 2_000_000_000, "there was no load: {outcome:#?}");
}

#[test]
fn garbage_at_the_port() {
    let outcome = tells_the_truth(Rung::Garbage);
    let witness = &outcome.witness;
    assert!(witness.frames_sent > 300_000, "there was no load: {outcome:#?}");
    // All but what the interface's ring lost on the way, and what was under way at the end.
    assert!(witness.frames_refused > witness.frames_sent / 2, "it did not arrive: {outcome:#?}");
}

#[test]
fn a_controller_that_is_stopped_again_and_again() {
    let outcome = climb(&plan(), Rung::Stopped).expect("a rung that can be climbed");
    assert_eq!(outcome.witness.faults, 10, "{outcome:#?}");
    assert_eq!(outcome.verdicts.accusations.total(), 0, "{outcome:#?}");
}

#[test]
fn a_controller_that_is_killed_and_started_again_and_again() {
    let outcome = climb(&plan(), Rung::Killed).expect("a rung that can be climbed");
    let Outcome { witness, .. } = &outcome;
    assert_eq!(witness.faults, 10, "{outcome:#?}");
    assert!(witness.late_starts < witness.faults, "none came back within its lease: {outcome:#?}");
    assert_eq!(outcome.verdicts.accusations.total(), 0, "{outcome:#?}");
}

/// All of it: what overlaps a stop of a CPU too, because stops are what this rung is about.
fn accused(outcome: &Outcome) -> usize {
    outcome.verdicts.accusations.total() + outcome.verdicts.over_stops.total()
}

#[test]
fn a_machine_that_stands_still_accuses_nobody() {
    let outcome = climb(&plan(), Rung::Held).expect("a rung that can be climbed");
    assert!(outcome.witness.hog_busy_ns > 500_000_000, "the CPUs were not held: {outcome:#?}");
    assert!(outcome.judge_latest_ns > 50_000_000, "the judge did not notice: {outcome:#?}");
    assert_eq!(accused(&outcome), 0, "{outcome:#?}");
}

/// The same, but stalls excuse nobody.
#[test]
fn without_credit_for_stalls_a_machine_that_stands_still_makes_false_verdicts() {
    let outcome = climb(&Plan { demotion: Some(Demotion::StallCredit), ..plan() }, Rung::Held).unwrap();
    assert!(outcome.judge_latest_ns > 50_000_000, "the judge did not notice: {outcome:#?}");
    assert!(accused(&outcome) > 0, "{outcome:#?}");
}

/// Credit is bounded: a peer that is dead is removed although the machine stalls all the time.
#[test]
fn stalls_again_and_again_do_not_hide_a_dead_peer() {
    let outcome = climb(&plan(), Rung::Stutter).expect("a rung that can be climbed");
    assert!(outcome.witness.hog_busy_ns > 4_000_000_000, "the CPUs were not held: {outcome:#?}");
    assert!(outcome.judge_latest_ns > 10_000_000, "the judge did not notice: {outcome:#?}");
    // The time itself, two timeouts of credit, one stall and its floor beyond them, and what the stalls cost the regroup.
    let silent_ns = 3 * outcome.interval_ns + outcome.interval_ns / 8;
    assert!(outcome.told.count == 1 && outcome.told.max_ns < 5 * silent_ns, "{outcome:#?}");
}

/// The same bursts, but the senders are threads like any other.
#[test]
fn without_a_real_time_sender_bursts_make_false_verdicts() {
    // The kernel's own sender would not notice.
    let sender = Some("realtime".to_owned());
    let outcome = climb(&Plan { demotion: Some(Demotion::Sender), sender, ..plan() }, Rung::Bursts).unwrap();
    assert!(accused(&outcome) > 0, "{outcome:#?}");
}

/// The same bursts, but the reactors are threads like any other: they go on with the regroup when the hog lets them, or
/// stop because they could not renew their leases. A removal may fall between two bursts, so there are several.
#[test]
fn without_a_real_time_reactor_bursts_delay_the_view() {
    let intervals = |outcome: &Outcome| outcome.agreed.max_ns as f64 / outcome.interval_ns as f64;
    let guarded = climb(&plan(), Rung::Bursts).unwrap();
    assert!(guarded.agreed.count == 1 && intervals(&guarded) < 2.0, "{guarded:#?}");
    let without = Plan { demotion: Some(Demotion::Reactor), removals: 6, ..plan() };
    let demoted = climb(&without, Rung::Bursts).unwrap();
    let stuck = demoted.agreed.count < 6;
    assert!(accused(&demoted) > 0 || stuck || intervals(&demoted) > 2.0, "{demoted:#?}");
}

/// A controller that is stopped, and tests its lease before it reads what its kernel booked meanwhile.
#[test]
fn without_reading_what_the_kernel_booked_a_stopped_controller_gives_up() {
    let outcome = climb(&Plan { demotion: Some(Demotion::Catching), ..plan() }, Rung::Stopped).unwrap();
    assert!(outcome.witness.faults > 0, "{outcome:#?}");
    assert!(accused(&outcome) > 0, "{outcome:#?}");
}
