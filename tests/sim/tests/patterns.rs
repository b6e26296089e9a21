//! All 1,024 ways in which the ten pairs of five nodes can be up or down.

use heartbeat_membership::regroup::connectivity::Graph;
use heartbeat_membership::{Arbiter, NodeId, NodeSet, Votes};
use heartbeat_sim::run;

const NODES: u16 = 5;
const INTERVAL_NS: u64 = 100_000_000;

fn pairs() -> Vec<(u16, u16)> {
    (1..=NODES).flat_map(|a| (a + 1..=NODES).map(move |b| (a, b))).collect()
}

fn is_up(pattern: u32, a: u16, b: u16) -> bool {
    let pair = (a.min(b), a.max(b));
    pairs().iter().position(|candidate| *candidate == pair).is_some_and(|index| pattern & (1 << index) != 0)
}

/// The documented ranking by brute force: most votes, most nodes, then the smallest list of ids.
fn expected(pattern: u32) -> Option<Vec<u16>> {
    let groups =
        (1_u32..1 << NODES).map(|mask| (1..=NODES).filter(|id| mask & (1 << (id - 1)) != 0).collect::<Vec<_>>());
    let connected = groups.filter(|group| {
        group.len() > usize::from(NODES) / 2
            && group.iter().all(|a| group.iter().all(|b| a == b || is_up(pattern, *a, *b)))
    });
    connected.min_by_key(|group| (std::cmp::Reverse(group.len()), group.clone()))
}

#[test]
fn the_search_finds_the_best_group_or_nobody() {
    let config = run::cluster(NODES, INTERVAL_NS);
    let votes = Votes::new(&config, Arbiter::Majority);
    let everyone: NodeSet = (1..=NODES).map(NodeId).collect();
    let mut nobody = 0;
    for pattern in 0..1_u32 << 10 {
        let row =
            |id: u16| (1..=NODES).filter(|other| *other == id || is_up(pattern, id, *other)).map(NodeId).collect();
        let graph = Graph::from_rows(&(1..=NODES).map(|id| (NodeId(id), row(id))).collect());
        let found = graph.best_group(&everyone, &votes, |set| votes.quorum(set, false).holds());
        let found = found.map(|set| set.iter().map(|id| id.0).collect::<Vec<_>>());
        assert_eq!(found, expected(pattern), "pattern {pattern:010b}");
        nobody += u32::from(found.is_none());
    }
    assert_eq!(nobody, 388);
}

/// Real cores: every pair that is down is cut at one moment, in both directions, on both networks.
#[test]
fn all_nodes_agree_on_the_best_group_or_all_stop() {
    let mut wrong = Vec::new();
    for pattern in 0..1_u32 << 10 {
        let mut world = run::formed(NODES, INTERVAL_NS, Arbiter::Majority, u64::from(pattern) + 1);
        let networks: Vec<_> = world.config.networks.iter().map(|network| network.id).collect();
        for (a, b) in pairs().into_iter().filter(|(a, b)| !is_up(pattern, *a, *b)) {
            for network in &networks {
                world.cuts.insert((*network, NodeId(a), NodeId(b)));
                world.cuts.insert((*network, NodeId(b), NodeId(a)));
            }
        }
        // Silence, a regroup, and the lease and grace of those who learn nothing; less than the wait before forming.
        let end_ns = world.true_ns + 30 * INTERVAL_NS;
        world.run_until(end_ns, |_| {});
        assert!(world.checker.violations.is_empty(), "pattern {pattern:010b}: {:?}", world.checker.violations);
        let views: Vec<Option<Vec<u16>>> = world
            .machines
            .iter()
            .map(|machine| machine.view.as_ref().map(|view| view.members.keys().map(|id| id.0).collect()))
            .collect();
        let expected = expected(pattern);
        let agreed = (1..=NODES).zip(&views).all(|(id, view)| match &expected {
            Some(group) if group.contains(&id) => view.as_ref() == Some(group),
            Some(_) | None => view.is_none(),
        });
        if !agreed {
            wrong.push((pattern, views, expected));
        }
    }
    let first: Vec<_> = wrong.iter().take(5).collect();
    assert!(wrong.is_empty(), "{} patterns: {first:?}", wrong.len());
}
