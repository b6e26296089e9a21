//! What the language of `tests/scripts` has no words for: a lease that is looked at ten times an interval, flags of a
//! view, a rule that no configuration has.

use std::collections::BTreeMap;

use heartbeat_membership::{Arbiter, Input, MembershipInput, NetworkId, NodeId};
use heartbeat_sim::run;
use heartbeat_sim::world::{Happening, World};

const INTERVAL_NS: u64 = 100_000_000;
const BOTH: [NetworkId; 2] = [NetworkId(1), NetworkId(2)];

struct Scene {
    world: World,
    began_ns: u64,
}

impl Scene {
    fn new(nodes: u16, arbiter: Arbiter) -> Self {
        let mut world = run::formed(nodes, INTERVAL_NS, arbiter, 7);
        // First states are announced, and nothing is left of how the cluster came up.
        let end_ns = world.true_ns + 20 * INTERVAL_NS;
        world.run_until(end_ns, |_| {});
        let began_ns = world.true_ns;
        Self { world, began_ns }
    }

    fn pass(&mut self, intervals: u64) {
        let end_ns = self.world.true_ns + intervals * INTERVAL_NS;
        self.world.run_until(end_ns, |_| {});
        let violations = &self.world.checker.violations;
        assert!(violations.is_empty(), "{violations:?}\n{}", self.world.log.join("\n"));
    }

    fn split(&mut self, left: &[u16], right: &[u16]) {
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            self.world.cut_pair(&BOTH, NodeId(a), NodeId(b), true);
        }
    }

    /// How often `node` logged each event since the scene began, events about links aside.
    fn logged(&self, node: u16) -> BTreeMap<u16, usize> {
        let mut counts = BTreeMap::new();
        for (at_ns, by, event) in &self.world.events {
            let number = event.id.number();
            if *at_ns >= self.began_ns && *by == NodeId(node) && ![1122, 1123].contains(&number) {
                *counts.entry(number).or_default() += 1;
            }
        }
        counts
    }

    fn links(&self, node: u16, number: u16) -> usize {
        let events = self.world.events.iter().filter(|(at_ns, by, _)| *at_ns >= self.began_ns && *by == NodeId(node));
        events.filter(|(_, _, event)| event.id.number() == number).count()
    }

    fn view(&self, node: u16) -> Option<Vec<u16>> {
        let view = self.world.machines[usize::from(node) - 1].view.as_ref()?;
        Some(view.members.keys().map(|id| id.0).collect())
    }
}

#[test]
fn two_and_two_without_a_tie_breaker_leaves_nobody() {
    let mut scene = Scene::new(4, Arbiter::Majority);
    scene.split(&[1, 2], &[3, 4]);
    scene.pass(15);
    assert!((1..=4).all(|node| scene.view(node).is_none() && scene.logged(node).get(&1177) == Some(&1)));
}

#[test]
fn a_controller_that_is_killed_and_adopts_is_noticed_by_nobody() {
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.world.kill(1, INTERVAL_NS / 2);
    let incarnation = scene.world.machines[1].incarnation();
    let mut leased = true;
    for _ in 0..200 {
        let next_ns = scene.world.true_ns + INTERVAL_NS / 10;
        scene.world.run_until(next_ns, |_| {});
        leased &= scene.world.machines[1].leased(scene.world.true_ns);
    }
    assert!(leased, "the lease lapsed\n{}", scene.world.log.join("\n"));
    assert_eq!(scene.world.machines[1].incarnation(), incarnation);
    for node in 1..=3 {
        assert_eq!((scene.links(node, 1123), scene.links(node, 1122)), (0, 0), "{}", scene.world.log.join("\n"));
        assert_eq!(scene.logged(node), BTreeMap::new(), "{}", scene.world.log.join("\n"));
        assert_eq!(scene.view(node), Some(vec![1, 2, 3]));
    }
}

#[test]
fn one_node_goes_on_alone_on_the_operators_word_and_the_others_join_it() {
    let mut scene = Scene::new(5, Arbiter::Majority);
    for index in 1..5 {
        scene.world.crash(index);
    }
    scene.pass(60);
    assert_eq!(scene.view(1), None);
    scene.world.feed(0, Input::Membership(MembershipInput::FormForced));
    scene.pass(10);
    assert_eq!(scene.view(1), Some(vec![1]), "{}", scene.world.log.join("\n"));
    assert!(scene.world.machines[0].leased(scene.world.true_ns));
    for (index, members) in [(1, vec![1, 2]), (2, vec![1, 2, 3]), (3, vec![1, 2, 3, 4])] {
        scene.world.after(1, Happening::Start(index));
        scene.pass(15);
        assert_eq!(scene.view(1), Some(members), "{}", scene.world.log.join("\n"));
        assert!(scene.world.machines[0].leased(scene.world.true_ns));
        let forced = scene.world.machines[0].view.as_ref().map(|view| view.forced);
        assert_eq!(forced, Some(index < 2), "three of five are a majority again");
    }
    // In a view: there is nothing to force.
    scene.world.feed(0, Input::Membership(MembershipInput::FormForced));
    scene.pass(5);
    assert_eq!(scene.view(1), Some(vec![1, 2, 3, 4]));
}
