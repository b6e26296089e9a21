//! Controllers that hang while their kernels go on beating.

use heartbeat_membership::{Arbiter, EventId, Node, NodeId};
use heartbeat_sim::run;
use heartbeat_sim::world::World;

const INTERVAL_NS: u64 = 100_000_000;

fn sequence(world: &World, index: usize) -> u64 {
    let membership = world.machines[index].core.as_ref().map(Node::snapshot).and_then(|state| state.membership);
    membership.map_or(0, |membership| membership.sequence)
}

#[test]
fn survivors_do_not_start_over_for_a_member_that_the_regroup_leaves_out_already() {
    for seed in 1..=10 {
        let mut world = run::formed(7, INTERVAL_NS, Arbiter::Majority, seed);
        let timeout_ns = world.config.timing.hang_timeout_ns;
        let (before, place) = (sequence(&world, 0), world.events.len());
        for index in 4..7 {
            world.freeze(index, 3 * timeout_ns, false);
        }
        world.run_until(world.true_ns + 2 * timeout_ns, |_| {});
        assert!(world.checker.violations.is_empty(), "seed {seed}: {:?}", world.checker.violations);
        let told = world.events[place..].iter().filter(|(_, _, event)| event.id == EventId::ControllerHung);
        assert!(told.count() >= 4 * 3, "seed {seed}: each of the four has told of each of the three");
        let rose = sequence(&world, 0) - before;
        assert!((1..=3).contains(&rose), "seed {seed}: {rose} sequences for three that hang");
        for index in 0..4 {
            let view = world.machines[index].view.as_ref().map(|view| view.set().iter().collect::<Vec<_>>());
            assert_eq!(view, Some((1..=4).map(NodeId).collect()), "seed {seed}, node {}", index + 1);
        }
    }
}

#[test]
fn a_controller_that_hangs_again_is_told_again() {
    // The tie-breaker of two: the other one alone has no quorum, so it stays a member.
    let mut world = run::formed(2, INTERVAL_NS, Arbiter::TieBreaker(None), 3);
    let timeout_ns = world.config.timing.hang_timeout_ns;
    let view = world.machines[1].view.as_ref().map(|view| view.id);
    let told = |world: &World| {
        let hung = world.events.iter().filter(|(_, by, event)| *by == NodeId(2) && event.id == EventId::ControllerHung);
        hung.count()
    };
    for times in 1..=2 {
        world.freeze(0, timeout_ns + 20 * INTERVAL_NS, false);
        world.run_until(world.true_ns + timeout_ns + 10 * INTERVAL_NS, |_| {});
        assert_eq!(told(&world), times);
        world.run_until(world.true_ns + 20 * INTERVAL_NS, |_| {});
        assert_eq!(told(&world), times, "once each time");
        assert_eq!(world.machines[1].view.as_ref().map(|view| view.id), view);
    }
    assert!(world.checker.violations.is_empty(), "{:?}", world.checker.violations);
}
