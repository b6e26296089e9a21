//! A few hundred runs with mixed faults, the same on every machine; `heartbeat-sim --runs N` makes more.

use heartbeat_sim::check::Tally;
use heartbeat_sim::run;

fn assert_sound(seed: u64, nodes: u16) -> Tally {
    let outcome = run::mixed(seed, nodes);
    let log = outcome.log.join("\n");
    assert!(outcome.violations.is_empty(), "{log}\nseed {seed}, {nodes} nodes: {:?}", outcome.violations);
    outcome.tally
}

#[test]
fn mixed_faults_break_no_invariant() {
    let mut total = Tally::default();
    for seed in 1..=20 {
        for nodes in 2..=6 {
            let tally = assert_sound(seed, nodes);
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

/// Seeds and sizes of longer campaigns that found something once.
const FOUND: [(u64, u16); 7] = [
    // Three controllers that hang one after the other: each survivor started the regroup over for each of them.
    (25_261, 5),
    // A machine that was stunned woke after the controllers of two survivors had been restarted: they had forgotten that it
    // was removed, and echoed it.
    (3_008_540, 5),
    // A node joined, a member that had not installed that view was removed, and the next view came 1 ms later: the joined
    // node forgot that the removed one might still act.
    (5_006_124, 5),
    // A decider waited 42 s for a slow witness, and removed a node that had crashed before that: the checker had forgotten
    // the crash.
    (20_006_005, 5),
    (8_008_099, 5),
    // A member that missed the installation of a joining node's view, and did not hear that node, told it that it was removed.
    (60_004_790, 5),
    // A machine woke after a stun, and its controller was killed before it could notice: the simulated machine had noticed
    // all the same.
    (62_005_340, 5),
];

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, nodes) in FOUND {
        assert_sound(seed, nodes);
    }
}
