//! Each rule that prevents an accident is broken on purpose: the checkers must see the accident.

use heartbeat_membership::mutation::Mutation;
use heartbeat_sim::run::{self, Broken};

/// Seeds that are tried before a mutation counts as missed. Rare accidents begin near a seed that is known to have one.
const SEEDS: u64 = 200;

fn assert_caught(name: &str, first: u64, nodes: u16, broken: Broken, by: &[char]) {
    for seed in first..first + SEEDS {
        let outcome = run::broken(seed, nodes, broken);
        // Other invariants may break first in other runs: the accident that the rule prevents must be seen as such.
        let seen = outcome.violations.iter().find(|violation| violation.starts_with(by));
        if let Some(violation) = seen {
            println!("{name}: seed {seed}: {violation}");
            return;
        }
    }
    panic!("{name} was not noticed in {SEEDS} runs");
}

fn rule(rule: Mutation) -> Broken {
    Broken { rule: Some(rule), echo_after_binding: false }
}

#[test]
fn half_as_a_majority_is_noticed() {
    assert_caught("half is a majority", 1, 4, rule(Mutation::HalfIsMajority), &['1', '2', '3', '4', '5']);
}

#[test]
fn an_echo_after_pruning_is_noticed() {
    assert_caught("echo after pruning", 150, 5, Broken { rule: None, echo_after_binding: true }, &['1', '2', '4']);
}

#[test]
fn forming_without_the_wait_is_noticed() {
    assert_caught("no wait", 1, 5, rule(Mutation::NoWait), &['1', '2', '5']);
}

#[test]
fn no_binding_is_noticed() {
    assert_caught("no binding", 850, 5, rule(Mutation::NoBinding), &['2', '3', '4']);
}

#[test]
fn a_tie_breaker_that_forms_is_noticed() {
    assert_caught("tie-breaker forms", 1, 4, rule(Mutation::TieBreakerForms), &['2', '3', '5']);
}

#[test]
fn a_poison_without_incarnation_is_noticed() {
    assert_caught("any poison", 1, 5, rule(Mutation::AnyPoison), &['7']);
}
