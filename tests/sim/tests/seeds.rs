//! A few hundred runs with mixed faults, the same on every machine; `heartbeat-sim --runs N` makes more.

use heartbeat_sim::check::Tally;
use heartbeat_sim::run;

/// Seeds that once showed a rule to be wrong, and what it was.
const FOUND: [(u64, u16, &str); 9] = [
    (10, 5, "a joining node got a lease while a removed one that did not know it still had one"),
    (58, 5, "a new incarnation believed what others had said to the one before it"),
    (154, 5, "a new incarnation stayed bound against a node that an earlier one had left out"),
    (155, 5, "a new incarnation echoed what the one before it had heard"),
    (547, 5, "a decider could not obey its own decision, and decided for ever"),
    (1_567, 5, "a node joined, a member that had agreed but not installed kept its lease in the view before"),
    (2_403, 5, "attempts to form remembered who was unheard in an attempt before"),
    (39, 5, "two one-way cuts in a row cost the echoes of both"),
    (475, 5, "half of the verdicts of one partition were decided on without the other half"),
];

fn assert_sound(seed: u64, nodes: u16, why: &str) -> Tally {
    let outcome = run::mixed(seed, nodes);
    let log = outcome.log.join("\n");
    assert!(outcome.violations.is_empty(), "{log}\nseed {seed}, {nodes} nodes: {:?}\n{why}", outcome.violations);
    outcome.tally
}

#[test]
fn seeds_that_found_something() {
    for (seed, nodes, why) in FOUND {
        assert_sound(seed, nodes, why);
    }
}

#[test]
fn mixed_faults_break_no_invariant() {
    let mut total = Tally::default();
    for seed in 1..=20 {
        for nodes in 2..=6 {
            let tally = assert_sound(seed, nodes, "");
            total.views += tally.views;
            total.removals += tally.removals;
            total.safe += tally.safe;
            total.suspended += tally.suspended;
            total.joined += tally.joined;
        }
    }
    // Runs in which nothing happens would pass as well.
    assert!(total.views > 250 && total.removals > 150 && total.safe > 50, "{total:?}");
    assert!(total.suspended > 5 && total.joined > 250, "{total:?}");
}
