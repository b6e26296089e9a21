//! What operators see in well-known situations: interfaces, networks, membership.

use std::collections::BTreeMap;

use heartbeat_membership::{Arbiter, Input, InterfaceState, MembershipInput, NetworkId, NetworkState, NodeId};
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

    fn cut(&mut self, networks: &[NetworkId], a: u16, b: u16) {
        self.world.cut_pair(networks, NodeId(a), NodeId(b), true);
    }

    fn split(&mut self, left: &[u16], right: &[u16]) {
        left.iter().for_each(|a| right.iter().for_each(|b| self.cut(&BOTH, *a, *b)));
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

    fn network(&self, seen_by: u16, network: u8) -> (NetworkState, Vec<InterfaceState>) {
        let core = self.world.machines[usize::from(seen_by) - 1].core.as_ref().expect("the node lives");
        let membership = core.snapshot().membership.expect("the core has membership");
        let report = membership.networks[&NetworkId(network)].clone();
        (report.state, report.interfaces.into_values().collect())
    }
}

#[test]
fn one_cable_is_one_failed_interface_and_nothing_else() {
    use InterfaceState::{Failed, Up};
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.cut(&[NetworkId(2)], 1, 2);
    scene.cut(&[NetworkId(2)], 1, 3);
    scene.pass(15);
    for node in 1..=3 {
        assert_eq!(scene.logged(node), BTreeMap::from([(1127, 1)]), "{}", scene.world.log.join("\n"));
        assert_eq!(scene.network(node, 2), (NetworkState::Up, vec![Failed, Up, Up]));
        assert_eq!(scene.network(node, 1), (NetworkState::Up, vec![Up, Up, Up]));
        assert_eq!(scene.view(node), Some(vec![1, 2, 3]));
    }
    scene.world.cuts.clear();
    scene.pass(10);
    assert_eq!(scene.logged(2), BTreeMap::from([(1127, 1), (1125, 1)]));
    assert_eq!(scene.network(2, 2), (NetworkState::Up, vec![Up, Up, Up]));
}

#[test]
fn a_dead_switch_is_a_network_down_and_nobody_moves() {
    use InterfaceState::Unreachable;
    let mut scene = Scene::new(3, Arbiter::Majority);
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        scene.cut(&[NetworkId(2)], a, b);
    }
    scene.pass(15);
    for node in 1..=3 {
        assert_eq!(scene.logged(node), BTreeMap::from([(1126, 3), (1130, 1)]));
        assert_eq!(scene.network(node, 2), (NetworkState::Down, vec![Unreachable; 3]));
        assert_eq!(scene.view(node), Some(vec![1, 2, 3]));
    }
}

#[test]
fn one_broken_pair_partitions_the_network_and_prunes_nobody_while_another_joins_them() {
    use InterfaceState::{Unreachable, Up};
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.cut(&[NetworkId(1)], 1, 2);
    scene.pass(15);
    for node in 1..=3 {
        assert_eq!(scene.logged(node), BTreeMap::from([(1126, 2), (1129, 1)]));
        assert_eq!(scene.network(node, 1), (NetworkState::Partitioned, vec![Unreachable, Unreachable, Up]));
        assert_eq!(scene.view(node), Some(vec![1, 2, 3]));
    }
}

#[test]
fn one_pair_broken_everywhere_prunes_exactly_one() {
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.cut(&BOTH, 1, 2);
    scene.pass(15);
    assert_eq!((scene.view(1), scene.view(3)), (Some(vec![1, 3]), Some(vec![1, 3])));
    assert_eq!(scene.view(2), None);
    assert_eq!(scene.logged(2).get(&1006), Some(&1));
    assert_eq!((scene.logged(1).get(&1135), scene.logged(3).get(&1135)), (Some(&1), Some(&1)));
    assert_eq!(scene.logged(2).get(&1135), None);
}

#[test]
fn a_crash_is_one_removal_on_every_survivor_and_no_failed_interface() {
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.world.crash(2);
    scene.pass(12);
    for node in 1..=2 {
        let logged = scene.logged(node);
        assert_eq!((logged.get(&1135), logged.get(&9007)), (Some(&1), Some(&1)), "{logged:?}");
        assert_eq!((logged.get(&1127), logged.get(&1129), logged.get(&1130)), (None, None, None), "{logged:?}");
        assert_eq!(scene.links(node, 1123), 2);
        assert_eq!(scene.view(node), Some(vec![1, 2]));
        assert_eq!(scene.network(node, 1).0, NetworkState::Up);
    }
    // Takeover is safe once the lease, drift, interval, grace and stop time are over, and not before.
    assert_eq!(scene.logged(1).get(&9008), None);
    scene.pass(15);
    assert_eq!((scene.logged(1).get(&9008), scene.logged(2).get(&9008)), (Some(&1), Some(&1)));
}

#[test]
fn a_short_glitch_is_lost_and_restored_and_nothing_else() {
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.cut(&BOTH, 1, 2);
    scene.cut(&BOTH, 1, 3);
    scene.pass(3);
    scene.world.cuts.clear();
    scene.pass(15);
    for node in 1..=3 {
        let expected = if node == 1 { 4 } else { 2 };
        assert_eq!((scene.links(node, 1123), scene.links(node, 1122)), (expected, expected));
        assert_eq!(scene.logged(node), BTreeMap::new());
        assert_eq!(scene.view(node), Some(vec![1, 2, 3]));
    }
}

#[test]
fn two_and_two_leaves_the_side_of_the_tie_breaker() {
    let mut scene = Scene::new(4, Arbiter::TieBreaker(None));
    scene.split(&[1, 2], &[3, 4]);
    scene.pass(15);
    assert_eq!((scene.view(1), scene.view(2)), (Some(vec![1, 2]), Some(vec![1, 2])));
    assert_eq!((scene.view(3), scene.view(4)), (None, None));
    assert_eq!((scene.logged(3).get(&1177), scene.logged(4).get(&1177)), (Some(&1), Some(&1)));
}

#[test]
fn two_and_two_without_a_tie_breaker_leaves_nobody() {
    let mut scene = Scene::new(4, Arbiter::Majority);
    scene.split(&[1, 2], &[3, 4]);
    scene.pass(15);
    assert!((1..=4).all(|node| scene.view(node).is_none() && scene.logged(node).get(&1177) == Some(&1)));
}

#[test]
fn three_and_two_leaves_the_three() {
    let mut scene = Scene::new(5, Arbiter::Majority);
    scene.split(&[1, 2], &[3, 4, 5]);
    scene.pass(15);
    assert!((3..=5).all(|node| scene.view(node) == Some(vec![3, 4, 5])));
    assert!((1..=2).all(|node| scene.view(node).is_none() && scene.logged(node).get(&1177) == Some(&1)));
}

#[test]
fn five_single_nodes_leave_nobody() {
    let mut scene = Scene::new(5, Arbiter::Majority);
    for a in 1..=5 {
        (a + 1..=5).for_each(|b| scene.cut(&BOTH, a, b));
    }
    scene.pass(15);
    assert!((1..=5).all(|node| scene.view(node).is_none() && scene.logged(node).get(&1177) == Some(&1)));
}

#[test]
fn two_nodes_leave_the_tie_breaker_whichever_way_the_cut_is() {
    for ways in [vec![(1, 2)], vec![(2, 1)], vec![(1, 2), (2, 1)]] {
        let mut scene = Scene::new(2, Arbiter::TieBreaker(None));
        for (from, to) in &ways {
            for network in BOTH {
                scene.world.cuts.insert((network, NodeId(*from), NodeId(*to)));
            }
        }
        scene.pass(40);
        assert_eq!((scene.view(1), scene.view(2)), (Some(vec![1]), None), "{ways:?}\n{}", scene.world.log.join("\n"));
    }
}

#[test]
fn a_removed_node_comes_back_by_itself() {
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.split(&[1], &[2, 3]);
    scene.pass(15);
    assert_eq!((scene.view(1), scene.view(2)), (None, Some(vec![2, 3])));
    scene.world.cuts.clear();
    scene.pass(30);
    assert!((1..=3).all(|node| scene.view(node) == Some(vec![1, 2, 3])), "{}", scene.world.log.join("\n"));
    assert_eq!(scene.logged(2).get(&9005), Some(&1));
}

#[test]
fn a_paused_node_stops_when_it_resumes_and_joins_again() {
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.world.freeze(2, 18 * INTERVAL_NS, true);
    scene.pass(17);
    assert_eq!((scene.view(1), scene.view(2)), (Some(vec![1, 2]), Some(vec![1, 2])));
    scene.pass(40);
    assert!((1..=3).all(|node| scene.view(node) == Some(vec![1, 2, 3])), "{}", scene.world.log.join("\n"));
    let logged = scene.logged(3);
    assert_eq!(logged.get(&1135), None, "the paused node blames nobody: {logged:?}");
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
fn who_left_in_order_is_neither_lost_nor_removed() {
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.world.feed(2, Input::Leave);
    scene.pass(30);
    for node in 1..=2 {
        assert_eq!(scene.links(node, 1123), 0);
        assert_eq!(scene.logged(node), BTreeMap::from([(9006, 1), (9007, 1)]));
        assert_eq!(scene.view(node), Some(vec![1, 2]));
    }
}

#[test]
fn a_node_that_is_declared_off_is_safe_to_replace_at_once() {
    let mut scene = Scene::new(3, Arbiter::Majority);
    scene.world.crash(2);
    scene.pass(10);
    assert_eq!(scene.logged(1).get(&9008), None);
    scene.world.feed(0, Input::Membership(MembershipInput::ConfirmFenced { peer: NodeId(3) }));
    assert_eq!(scene.logged(1).get(&9008), Some(&1));
    scene.pass(30);
    assert_eq!(scene.logged(1).get(&9008), Some(&1));
}

#[test]
fn a_node_that_flaps_three_times_is_kept_out_until_the_operator_lets_it_in() {
    let mut scene = Scene::new(3, Arbiter::Majority);
    for _ in 0..3 {
        assert_eq!(scene.view(1), Some(vec![1, 2, 3]));
        scene.split(&[3], &[1, 2]);
        scene.pass(12);
        scene.world.cuts.clear();
        scene.pass(60);
    }
    assert_eq!((scene.view(1), scene.view(3)), (Some(vec![1, 2]), None));
    let core = scene.world.machines[0].core.as_ref().expect("the node lives");
    let membership = core.snapshot().membership.expect("the core has membership");
    assert_eq!(membership.quarantined.into_keys().collect::<Vec<_>>(), [NodeId(3)]);
    scene.world.feed(0, Input::Membership(MembershipInput::ClearQuarantine { peer: NodeId(3) }));
    scene.pass(20);
    assert_eq!(scene.view(3), Some(vec![1, 2, 3]));
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
