//! A machine whose clock stood still: what it does itself once it knows.

use heartbeat_membership::{Action, Arbiter, EventId, Input, MembershipInput, NodeId};
use heartbeat_sim::run;

const INTERVAL_NS: u64 = 100_000_000;

#[test]
fn it_is_suspended_at_once_and_goes_on_as_soon_as_a_quorum_has_echoed_again() {
    let mut world = run::formed(3, INTERVAL_NS, Arbiter::Majority, 11);
    // Longer than the grace since the view was installed: that is no excuse any more.
    world.run_until(world.true_ns + 30 * INTERVAL_NS, |_| {});
    let began = world.events.len();
    let view = world.machines[2].view.as_ref().map(|view| view.id.number);
    let incarnation = world.machines[2].incarnation();
    world.feed(2, Input::Membership(MembershipInput::ClockStood { length_ns: 4 * INTERVAL_NS }));
    let logged = |world: &heartbeat_sim::world::World| -> Vec<u16> {
        let own = world.events[began..].iter().filter(|(_, by, _)| *by == NodeId(3));
        own.map(|(_, _, event)| event.id.number()).collect()
    };
    assert_eq!(logged(&world), [9001, 9009], "told, and void at once");
    world.run_until(world.true_ns + 20 * INTERVAL_NS, |_| {});
    assert_eq!(logged(&world), [9001, 9009], "no more than that");
    assert!(world.events[began..].iter().all(|(_, by, _)| *by == NodeId(3)), "and nobody else has noticed");
    assert_eq!(world.machines[2].view.as_ref().map(|view| view.id.number), view);
    assert_eq!(world.machines[2].incarnation(), incarnation);
    assert!(world.checker.violations.is_empty(), "{:?}", world.checker.violations);
}

#[test]
fn it_is_told_between_two_lives_too() {
    let mut world = run::formed(3, INTERVAL_NS, Arbiter::Majority, 12);
    let machine = &mut world.machines[2];
    let core = machine.core.as_mut().unwrap();
    // Its lease and the grace are long over: it stops, and waits for its next incarnation.
    let now = machine.clock.at(world.true_ns + 1_000 * INTERVAL_NS);
    core.handle(now, Input::Timer);
    let mut stopped = Vec::new();
    while let Some(action) = core.poll_action() {
        stopped.push(action);
    }
    assert!(stopped.iter().any(|action| matches!(action, Action::TakeIncarnation { .. })), "{stopped:?}");
    core.handle(now, Input::Membership(MembershipInput::ClockStood { length_ns: 300 * INTERVAL_NS }));
    let told = std::iter::from_fn(|| core.poll_action());
    let told: Vec<EventId> =
        told.filter_map(|action| if let Action::Event(event) = action { Some(event.id) } else { None }).collect();
    assert_eq!(told, [EventId::LocalStall]);
}
