//! One partition and heal of a large cluster, and what it cost.

use std::fmt;

use heartbeat_membership::{Arbiter, NodeId};

use crate::run;
use crate::world::{Happening, World};

const MS: u64 = 1_000_000;

/// The default interval: what a large cluster runs with.
const INTERVAL_NS: u64 = 1_200 * MS;

/// Up to this many nodes all that were cut off come back.
const FEW: u16 = 256;

/// What a phase cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Virtual time until all agreed.
    pub virtual_ns: u64,
    /// Control messages sent by all.
    pub messages: u64,
    /// Their bytes, headers and tags included, lower layers not.
    pub bytes: u64,
}

/// What a large run found.
#[derive(Debug)]
pub struct Report {
    nodes: u16,
    networks: usize,
    minority: u16,
    back: u16,
    /// From the start of the machines to one view of all.
    pub forming: Cost,
    /// From the cut to one view of the majority.
    pub removal: Cost,
    /// From the heal to a view with those that came back: all, or one where joins of all would take too long.
    pub rejoin: Cost,
    real_s: f64,
}

/// A cluster of `nodes` nodes on one or two networks, in one view, loses a hundredth of them, at least one, and gets them
/// back; or one of them.
///
/// # Errors
/// What did not come about, or an invariant that broke.
pub fn partition_and_heal(nodes: u16, networks: usize, seed: u64) -> Result<Report, String> {
    let began = std::time::Instant::now();
    let mut config = run::cluster(nodes, INTERVAL_NS);
    config.networks.truncate(networks);
    config.nodes.iter_mut().for_each(|node| node.networks.truncate(networks));
    let mut world = World::new(config, Arbiter::Majority, seed);
    for index in 0..world.machines.len() {
        let delay_ns = world.random.below(INTERVAL_NS);
        world.after(delay_ns, Happening::Start(index));
    }
    let everyone: Vec<NodeId> = world.machines.iter().map(|machine| machine.id).collect();
    let forming = until(&mut world, "formed", &everyone)?;
    let minority = (nodes / 100).max(1);
    let (stay, go) = everyone.split_at(usize::from(nodes - minority));
    let networks: Vec<_> = world.config.networks.iter().map(|network| network.id).collect();
    for network in &networks {
        for a in stay {
            for b in go {
                world.cuts.insert((*network, *a, *b));
                world.cuts.insert((*network, *b, *a));
            }
        }
    }
    let removal = until(&mut world, "removed the minority", stay)?;
    // Joins are one at a time, and each is a regroup from each to each.
    let back = if nodes > FEW { 1 } else { minority };
    let (members, _) = everyone.split_at(usize::from(nodes - minority + back));
    world.cuts.retain(|(_, a, b)| !(members.contains(a) && members.contains(b)));
    let rejoin = until(&mut world, "let them in again", members)?;
    Ok(Report {
        nodes,
        networks: networks.len(),
        minority,
        back,
        forming,
        removal,
        rejoin,
        real_s: began.elapsed().as_secs_f64(),
    })
}

/// Runs until all of `members` are in one view of exactly these.
fn until(world: &mut World, what: &str, members: &[NodeId]) -> Result<Cost, String> {
    let (began_ns, before) = (world.true_ns, world.sent);
    // Joins are one at a time, and each takes a few round trips; removed nodes first lose their lease and wait.
    let limit_ns = (members.len() as u64 + 200) * 4 * INTERVAL_NS;
    while world.true_ns < began_ns + limit_ns {
        let next_ns = world.true_ns + 100 * MS;
        world.run_until(next_ns, |_| {});
        if let Some(violation) = world.checker.violations.first() {
            return Err(format!("VIOLATION {violation}"));
        }
        let agreed = world.machines.iter().filter(|machine| members.contains(&machine.id)).all(|machine| {
            let view = machine.view.as_ref();
            view.is_some_and(|view| view.members.len() == members.len() && machine.leased(world.true_ns))
        });
        if agreed {
            let (messages, bytes) = (world.sent.0 - before.0, world.sent.1 - before.1);
            return Ok(Cost { virtual_ns: world.true_ns - began_ns, messages, bytes });
        }
    }
    Err(format!("not {what} after {} s of virtual time", limit_ns / 1_000_000_000))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, networks, minority, back, forming, removal, rejoin, real_s } = self;
        let line = |what: &str, cost: &Cost| {
            let per_node = |total: u64| total as f64 / f64::from(*nodes);
            format!(
                "{what}: {:.1} s of virtual time, {:.0} control messages and {:.0} kB a node\n",
                cost.virtual_ns as f64 / 1e9,
                per_node(cost.messages),
                per_node(cost.bytes) / 1e3,
            )
        };
        writeln!(
            f,
            "{nodes} nodes, networks: {networks}, interval {} ms; {minority} cut off, {back} of them back",
            INTERVAL_NS / MS
        )?;
        write!(
            f,
            "{}{}{}",
            line("start to one view of all", forming),
            line("cut to the view without them", removal),
            line("heal to the view with those that are back", rejoin)
        )?;
        write!(f, "{real_s:.0} s of real time")
    }
}
