//! Each rule that prevents an accident is broken on purpose: the model must find the accident.

use std::time::Duration;

use heartbeat_membership::mutation::Mutation;
use heartbeat_model::{Broken, Scope, Step, faults, search::search};

/// Each is found within seconds; a machine that does other things may need longer.
const LIMIT: Duration = Duration::from_secs(100);

fn assert_found(nodes: u16, faults: u8, broken: Broken, by: &[u8]) {
    let scope = Scope { nodes, faults, strikes: faults::any, broken, within_intervals: true, recovery: false };
    assert_found_in(scope, by);
}

fn assert_found_in(scope: Scope, by: &[u8]) {
    let found = search(scope, LIMIT, 1);
    let accident = found.broken.first().unwrap_or_else(|| panic!("nothing found: {found:?}"));
    println!("after {} states: invariant {}: {}", found.unique, accident.invariant, accident.text);
    assert!(by.contains(&accident.invariant), "found only another one:\n{}", accident.story);
}

fn rule(rule: Mutation) -> Broken {
    Broken { rule: Some(rule), echo_after_binding: false }
}

#[test]
fn half_as_a_majority_is_found() {
    assert_found(4, 1, rule(Mutation::HalfIsMajority), &[1, 2, 3, 4, 5]);
}

#[test]
fn forming_without_the_wait_is_found() {
    assert_found(3, 1, rule(Mutation::NoWait), &[1, 2, 5]);
}

#[test]
fn no_binding_is_found() {
    assert_found(3, 1, rule(Mutation::NoBinding), &[1, 2, 3, 4]);
}

#[test]
fn a_tie_breaker_that_forms_is_found() {
    assert_found(4, 1, rule(Mutation::TieBreakerForms), &[2, 3, 5]);
}

#[test]
fn an_echo_after_pruning_is_found() {
    assert_found(3, 2, Broken { rule: None, echo_after_binding: true }, &[1, 2, 4]);
}

/// A node dies, comes back in a new life, and then an old heartbeat of its earlier one turns up somewhere.
#[test]
fn a_poison_without_incarnation_is_found() {
    let strikes = |step| match step {
        Step::Crash(group) => group.count_ones() == 1,
        Step::Stale(..) => true,
        Step::Tick
        | Step::Deliver
        | Step::Lose
        | Step::Postpone
        | Step::Cut(..)
        | Step::CutPair(..)
        | Step::Mute(..)
        | Step::Partition(_)
        | Step::Restart(_)
        | Step::Freeze(..)
        | Step::Mend
        | Step::Start(_)
        | Step::Thaw(_) => false,
    };
    let broken = rule(Mutation::AnyPoison);
    let scope = Scope { nodes: 3, faults: 2, strikes, broken, within_intervals: false, recovery: false };
    assert_found_in(scope, &[7]);
}
