//! One run from one seed.

use heartbeat_membership::mutation::Mutation;
use heartbeat_membership::{
    Arbiter, ConfigDigest, CoreConfig, NetworkConfig, NetworkId, NetworkRole, NodeConfig, NodeId, Timing,
};

use crate::check::Tally;
use crate::faults;
use crate::random::Random;
use crate::world::{Happening, World};

const MS: u64 = 1_000_000;

/// What a run found.
#[derive(Debug)]
pub struct Outcome {
    /// Violations, in words; none in a good run.
    pub violations: Vec<String>,
    /// What happened, for people.
    pub log: Vec<String>,
    /// What was exercised.
    pub tally: Tally,
    /// Virtual time of the run.
    pub virtual_ns: u64,
}

/// A cluster of `nodes` nodes on two networks.
#[must_use]
pub fn cluster(nodes: u16, interval_ns: u64) -> CoreConfig {
    let networks = [NetworkId(1), NetworkId(2)];
    let node = |id: u16| NodeConfig { id: NodeId(id), name: format!("n{id}"), votes: 1, networks: networks.to_vec() };
    let network = |id: NetworkId, role| NetworkConfig { id, name: format!("net{id}"), role };
    CoreConfig {
        local: NodeId(1),
        nodes: (1..=nodes).map(node).collect(),
        networks: vec![network(networks[0], NetworkRole::Internal), network(networks[1], NetworkRole::Mixed)],
        timing: Timing {
            interval_ns,
            late_after: 2,
            lost_after: 6,
            grace_ns: 6 * interval_ns,
            hang_timeout_ns: (50 * interval_ns).max(10_000 * MS),
        },
        digest: ConfigDigest([1; 32]),
        abi: 1,
    }
}

/// What is broken on purpose in a run, so that the checkers prove that they notice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Broken {
    /// A rule of the core.
    pub rule: Option<Mutation>,
    /// The driver binds without clearing the kernel.
    pub echo_after_binding: bool,
}

/// Runs the mixed faults of this seed for about a minute, then heals and waits until all are in.
#[must_use]
pub fn mixed(seed: u64, nodes: u16) -> Outcome {
    broken(seed, nodes, Broken::default())
}

/// The same with something broken on purpose.
#[must_use]
pub fn broken(seed: u64, nodes: u16, broken: Broken) -> Outcome {
    let mut random = Random::new(seed ^ 0x5eed);
    let interval_ns = [300 * MS, 600 * MS, 1_200 * MS][random.index(3)];
    let arbiter = match random.index(3) {
        0 if broken.rule.is_none() => Arbiter::Witness,
        _ if nodes.is_multiple_of(2) => Arbiter::TieBreaker(None),
        _ => Arbiter::Majority,
    };
    let config = cluster(nodes, interval_ns);
    let mut world = World::new(config, arbiter, seed);
    world.mutation = broken.rule;
    world.echo_after_binding = broken.echo_after_binding;
    for index in 0..world.machines.len() {
        let delay_ns = world.random.below(4 * interval_ns);
        world.after(delay_ns, Happening::Start(index));
    }
    let faults_end_ns = 50 * interval_ns;
    world.after(10 * interval_ns, Happening::Fault);
    world.run_until(faults_end_ns, |world| faults::strike(world, faults_end_ns));
    if world.checker.violations.is_empty() {
        faults::heal(&mut world);
        settle(&mut world);
    }
    let virtual_ns = world.true_ns;
    Outcome { violations: world.checker.violations, log: world.log, tally: world.checker.tally, virtual_ns }
}

/// A cluster that has formed, with everyone in, and the true time at which that was so.
///
/// # Panics
/// If it does not form: then nothing that follows means anything.
#[must_use]
pub fn formed(nodes: u16, interval_ns: u64, arbiter: Arbiter, seed: u64) -> World {
    let mut world = World::new(cluster(nodes, interval_ns), arbiter, seed);
    for index in 0..world.machines.len() {
        let delay_ns = world.random.below(interval_ns);
        world.after(delay_ns, Happening::Start(index));
    }
    settle(&mut world);
    assert!(world.checker.violations.is_empty(), "{:?}\n{}", world.checker.violations, world.log.join("\n"));
    world
}

/// Invariant 8: once everything works, everyone is in one view, with a lease, within a bound.
fn settle(world: &mut World) {
    let timing = world.config.timing;
    let nodes = world.machines.len() as u64;
    // Frozen controllers (20), silence, the wait before forming, then for each node a restart and a join.
    let bound_ns = timing.interval_ns * (20 + 2 * u64::from(timing.lost_after) + 30)
        + 2 * timing.grace_ns
        + timing.hang_timeout_ns
        + nodes * 2 * (4 * timing.interval_ns).max(1_000 * MS);
    let end_ns = world.true_ns + bound_ns;
    while world.true_ns < end_ns && world.checker.violations.is_empty() {
        let until_ns = world.true_ns + timing.interval_ns;
        world.run_until(until_ns, |_| {});
        faults::pardon(world);
        if all_in(world) {
            return;
        }
    }
    if world.checker.violations.is_empty() {
        let cores: Vec<_> = world
            .machines
            .iter()
            .filter_map(|machine| machine.core.as_ref().map(heartbeat_membership::Node::snapshot))
            .map(|state| {
                format!(
                    "{} {:?} {:?}\n  {:?}",
                    state.local,
                    state.membership,
                    state.refused,
                    state
                        .peers
                        .iter()
                        .map(|peer| (
                            peer.id,
                            peer.accepted,
                            peer.links.iter().map(|link| link.state).collect::<Vec<_>>()
                        ))
                        .collect::<Vec<_>>()
                )
            })
            .collect();
        world.checker.violations.push(format!("8: not all are in after {bound_ns} ns:\n{}", cores.join("\n")));
    }
}

fn all_in(world: &World) -> bool {
    let standings = world.standings();
    let Some(first) = standings.first().and_then(|standing| standing.view.as_ref()) else { return false };
    standings.iter().all(|standing| standing.leased && standing.view.as_ref() == Some(first))
        && first.members.len() == standings.len()
        && standings.iter().all(|standing| first.has(standing.life.0, standing.life.1))
}
