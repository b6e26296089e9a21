//! Recordings are checked by the same rules as runs: of sound runs nothing is found, of broken ones the accident is.

use heartbeat_membership::Arbiter;
use heartbeat_membership::mutation::Mutation;
use heartbeat_sim::check::recorded::{Findings, Recorded};
use heartbeat_sim::faults;
use heartbeat_sim::run;
use heartbeat_sim::world::{Happening, World};

const INTERVAL_NS: u64 = 300_000_000;

/// What was recorded of a run, and whether the run itself broke an invariant.
fn recorded(seed: u64, nodes: u16, mutation: Option<Mutation>) -> (Findings, Vec<String>) {
    let mut world = World::new(run::cluster(nodes, INTERVAL_NS), Arbiter::TieBreaker(None), seed);
    world.mutation = mutation;
    world.recording = Some(Vec::new());
    for index in 0..world.machines.len() {
        world.after(index as u64 * 50_000_000, Happening::Start(index));
    }
    let end_ns = 60 * INTERVAL_NS;
    for strike in 1..12 {
        world.after(strike * 4 * INTERVAL_NS, Happening::Fault);
    }
    world.run_until(end_ns, |world| match world.random.below(3) {
        0 => faults::partition(world, true),
        1 => world.cuts.clear(),
        _ => {
            let victim = world.random.index(world.machines.len());
            world.crash(victim);
            world.after(3 * INTERVAL_NS, Happening::Start(victim));
        }
    });
    let entries = world.recording.take().unwrap_or_default();
    let stop_time_ns = 2 * INTERVAL_NS;
    (Recorded::new(&world.config, Arbiter::TieBreaker(None), stop_time_ns).check(entries), world.checker.violations)
}

#[test]
fn of_sound_runs_nothing_is_found() {
    let (mut entries, mut views, mut safe) = (0, 0, 0);
    for seed in 1..=20 {
        let (findings, violations) = recorded(seed, 4, None);
        assert!(violations.is_empty(), "seed {seed}: {violations:?}");
        assert!(findings.violations.is_empty(), "seed {seed}: {:?}", findings.violations);
        entries += findings.entries;
        views += findings.tally.views;
        safe += findings.tally.safe;
    }
    assert!(entries > 10_000 && views > 40 && safe > 5, "{entries} entries, {views} views, {safe} takeovers");
}

#[test]
fn of_broken_runs_the_accident_is_found() {
    let found = (1..=200).find_map(|seed| {
        let (findings, _) = recorded(seed, 4, Some(Mutation::HalfIsMajority));
        findings.violations.into_iter().find(|violation| violation.starts_with(['1', '2', '3', '5']))
    });
    println!("{}", found.expect("no accident in 200 runs in which half is a majority"));
}
