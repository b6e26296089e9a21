//! Runs the checker, and tells what it found.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::{cluster::Cluster, faults::Step, model::Scope};

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// States that were generated, known ones included.
    pub generated: usize,
    /// Different states.
    pub unique: usize,
    /// Longest path.
    pub depth: usize,
    /// Whether every state was visited.
    pub complete: bool,
    /// How long it took.
    pub took: Duration,
    /// Broken invariants, each with a path to it.
    pub broken: Vec<Counterexample>,
    /// Interesting states that no path led to.
    pub unreached: Vec<&'static str>,
}

/// A path to a broken invariant.
#[derive(Debug)]
pub struct Counterexample {
    /// Which invariant.
    pub invariant: u8,
    /// What happened.
    pub text: String,
    /// Every step, and what operators were told.
    pub story: String,
}

/// Explores until everything was visited, something is broken, or the time is up; on `threads`, at least two: the checker
/// looks at its watch only where threads share work.
#[must_use]
pub fn search(scope: Scope, limit: Duration, threads: usize) -> Found {
    let began = Instant::now();
    let checker = scope
        .checker()
        .threads(threads.max(2))
        .finish_when(HasDiscoveries::AnyFailures)
        .timeout(limit)
        .spawn_dfs()
        .join();
    let took = began.elapsed();
    let mut broken = Vec::new();
    let mut reached = Vec::new();
    for (name, path) in checker.discoveries() {
        let expected = scope.properties().into_iter().find(|property| property.name == name);
        if expected.is_some_and(|property| property.expectation == Expectation::Sometimes) {
            reached.push(name);
            continue;
        }
        broken.extend(tell(&scope, path.into_vec()));
    }
    let wanted = scope.properties().into_iter().filter(|property| property.expectation == Expectation::Sometimes);
    let unreached = wanted.map(|property| property.name).filter(|name| !reached.contains(name)).collect();
    let complete = broken.is_empty() && checker.is_done() && took < limit;
    Found {
        generated: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        complete,
        took,
        broken,
        unreached,
    }
}

/// The story of a path. It is walked once more: states do not remember what was told in them.
fn tell(scope: &Scope, path: Vec<(Cluster, Option<Step>)>) -> Option<Counterexample> {
    let mut state = path.first()?.0.clone();
    let mut story = format!("{state:?}\n");
    for step in path.into_iter().filter_map(|(_, step)| step) {
        state = scope.after(&state, step);
        let _ = writeln!(story, "{step:?}\n    {state:?}");
        for (id, _, text) in &state.told {
            let _ = writeln!(story, "    {id}: {text}");
        }
    }
    let violation = state.violation.clone()?;
    Some(Counterexample { invariant: violation.invariant, text: violation.text, story })
}
