//! Each rule that prevents an accident is broken on purpose: the checkers must see the accident.

use heartbeat_membership::mutation::Mutation;
use heartbeat_membership::{Arbiter, NodeId};
use heartbeat_sim::run::{self, Broken};

/// Seeds that are tried before a mutation counts as missed; most show in the first hundred.
const SEEDS: u64 = 1_500;

fn assert_caught(name: &str, nodes: u16, broken: Broken, by: &[char]) {
    for seed in 1..=SEEDS {
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
    assert_caught("half is a majority", 4, rule(Mutation::HalfIsMajority), &['1', '2', '3', '4', '5']);
}

#[test]
fn an_echo_after_pruning_is_noticed() {
    assert_caught("echo after pruning", 5, Broken { rule: None, echo_after_binding: true }, &['1', '2', '4']);
}

#[test]
fn forming_without_the_wait_is_noticed() {
    assert_caught("no wait", 5, rule(Mutation::NoWait), &['1', '2', '5']);
}

/// {1, 2, 3} decide without {4, 5}, which only 3 hears; 1 and 2 install it; 3 has agreed, hears no more of 1 and 2, and
/// turns to 4 and 5. Control messages are lost where the accident needs it.
fn flip(mutation: Option<Mutation>) -> Vec<String> {
    let interval_ns = 100_000_000;
    let mut world = run::formed(5, interval_ns, Arbiter::Majority, 3);
    let id = |number: u16| NodeId(number);
    let both: Vec<_> = world.config.networks.iter().map(|network| network.id).collect();
    if let Some(mutation) = mutation {
        world.machines.iter_mut().filter_map(|machine| machine.core.as_mut()).for_each(|core| core.mutate(mutation));
    }
    for (a, b) in [(1, 4), (1, 5), (2, 4), (2, 5)] {
        world.cut_pair(&both, id(a), id(b), true);
    }
    let step = |world: &mut heartbeat_sim::world::World, until: &dyn Fn(&heartbeat_sim::world::World) -> bool| {
        for _ in 0..200_000 {
            if until(world) {
                return;
            }
            let next_ns = world.true_ns + 10_000;
            world.run_until(next_ns, |_| {});
        }
        panic!("{}", world.log.join("\n"));
    };
    let bound = |world: &heartbeat_sim::world::World| {
        world.machines[2].record.as_ref().is_some_and(|record| record.bound.is_some())
    };
    // 3 never learns that 2 has agreed, so it does not install; 4 and 5 do not learn of the decision.
    world.control_cuts.extend([(id(2), id(3)), (id(3), id(4)), (id(3), id(5))]);
    step(&mut world, &bound);
    world.control_cuts.insert((id(1), id(3)));
    for network in &both {
        world.cuts.insert((*network, id(1), id(3)));
        world.cuts.insert((*network, id(2), id(3)));
    }
    let sequence = world.machines[2].record.as_ref().map_or(0, |record| record.sequence);
    let restarted = |world: &heartbeat_sim::world::World| {
        let snapshot = world.machines[2].core.as_ref().and_then(|core| core.snapshot().membership);
        !world.checker.violations.is_empty()
            || snapshot.is_none_or(|state| state.sequence > sequence || state.view.is_none())
    };
    let installed = world.true_ns + 3 * interval_ns;
    world.run_until(installed, |_| {});
    assert_eq!(world.machines[0].view.as_ref().map(|view| view.members.len()), Some(3), "{}", world.log.join("\n"));
    step(&mut world, &restarted);
    world.control_cuts.clear();
    let end_ns = world.true_ns + 30 * interval_ns;
    world.run_until(end_ns, |_| {});
    world.checker.violations
}

#[test]
fn no_binding_is_noticed() {
    assert_eq!(flip(None), Vec::<String>::new());
    let violations = flip(Some(Mutation::NoBinding));
    assert!(violations.iter().any(|violation| violation.starts_with(['2', '3'])), "{violations:?}");
}

#[test]
fn no_binding_is_noticed_by_random_runs_too() {
    assert_caught("no binding", 5, rule(Mutation::NoBinding), &['1', '2', '3', '4']);
}

#[test]
fn a_tie_breaker_that_forms_is_noticed() {
    assert_caught("tie-breaker forms", 4, rule(Mutation::TieBreakerForms), &['2', '3', '5']);
}

#[test]
fn a_poison_without_incarnation_is_noticed() {
    assert_caught("any poison", 5, rule(Mutation::AnyPoison), &['7']);
}
