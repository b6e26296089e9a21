//! The rules as they are: every state that a fault can lead to, and nothing broken in any of them.

use std::time::Duration;

use heartbeat_model::{Broken, Scope, faults, search::search};

/// Far more than it takes; only a state space that does not close gets there.
const LIMIT: Duration = Duration::from_secs(100);

fn assert_closes(scope: Scope) {
    let found = search(scope, LIMIT, 1);
    println!("{} nodes, {} faults: {} states, {} generated", scope.nodes, scope.faults, found.unique, found.generated);
    if let Some(broken) = found.broken.first() {
        panic!("invariant {} is broken: {}\n{}", broken.invariant, broken.text, broken.story);
    }
    assert!(found.complete, "not all states were visited: {found:?}");
    assert!(scope.faults == 0 || found.unreached.is_empty(), "never seen: {:?}", found.unreached);
}

/// With every fault, at every moment.
fn scope(nodes: u16, faults: u8) -> Scope {
    let broken = Broken::default();
    Scope { nodes, faults, strikes: faults::any, broken, within_intervals: true, recovery: true }
}

#[test]
fn without_faults_everyone_comes_in_whatever_their_number() {
    for nodes in 2..=5 {
        assert_closes(scope(nodes, 0));
    }
}

#[test]
fn one_fault_at_any_moment_breaks_nothing() {
    assert_closes(scope(3, 1));
}
