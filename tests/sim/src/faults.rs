//! What goes wrong in a run, and when.

use heartbeat_membership::{Input, MembershipInput, NodeId};

use crate::world::{Happening, World};

/// Does one thing to the world, and schedules the next.
pub fn strike(world: &mut World, end_ns: u64) {
    let interval_ns = world.config.timing.interval_ns;
    let nodes = world.machines.len();
    let victim = world.random.index(nodes);
    match world.random.below(24) {
        0 => partition(world, true),
        1 => partition(world, false),
        2 => one_way(world),
        3 => isolate(world, victim),
        4 | 5 => {
            world.note(|| "everything heals".into());
            world.cuts.clear();
            world.control_cuts.clear();
        }
        6 | 7 if world.machines[victim].core.is_some() => {
            world.crash(victim);
            // At most a minority loses its disk: a majority without memory knows of no epoch.
            if world.random.chance(300) && victim < (nodes - 1) / 2 {
                world.machines[victim].disk = crate::machine::Disk::default();
            }
            if world.random.chance(500) {
                let true_ns = world.true_ns;
                world.machines[victim].clock.reboot(true_ns);
            }
            let pause_ns = world.random.below(20 * interval_ns);
            world.after(pause_ns, Happening::Start(victim));
        }
        8 | 9 => {
            let length_ns = world.random.below(20 * interval_ns);
            let mute = world.random.chance(500);
            world.freeze(victim, length_ns, mute);
        }
        10 => {
            world.loss = world.random.below(150);
            world.duplication = world.random.below(100);
        }
        11 => {
            world.delay_ns = 100_000 + world.random.below(interval_ns / 2);
        }
        12 if runs(world, victim) => {
            world.feed(victim, Input::Leave);
            let pause_ns = world.random.below(20 * interval_ns);
            world.after(pause_ns, Happening::Start(victim));
        }
        16 if world.machines[victim].core.is_some() => {
            let length_ns = 2 * interval_ns + world.random.below(18 * interval_ns);
            world.stun(victim, length_ns);
        }
        17 => {
            // As long as peers wait for a controller that hangs, and longer.
            let timeout_ns = world.config.timing.hang_timeout_ns;
            let length_ns = timeout_ns / 2 + world.random.below(timeout_ns);
            world.freeze(victim, length_ns, false);
        }
        18 => disturb_witness(world),
        21 | 22 => lose_control(world),
        19 | 20 => stage(world),
        13 | 14 if world.machines[victim].core.is_some() && runs(world, victim) => {
            let pause_ns = world.random.below(4 * interval_ns);
            world.kill(victim, pause_ns);
        }
        _ => replay(world),
    }
    let pause_ns = world.random.below(8 * interval_ns);
    if world.true_ns + pause_ns < end_ns {
        world.after(pause_ns, Happening::Fault);
    }
}

/// The end of all faults: everything works from here on.
pub fn heal(world: &mut World) {
    world.note(|| "the faults are over".into());
    world.cuts.clear();
    world.control_cuts.clear();
    world.checker.expect_few_restarts();
    world.loss = 0;
    world.duplication = 0;
    world.delay_ns = 200_000;
    world.witness.unreachable.clear();
    world.witness.delay_ns = 10_000_000;
    world.witness.stuck_ns = 0;
    for index in 0..world.machines.len() {
        if world.machines[index].core.is_none() {
            world.after(0, Happening::Start(index));
        }
    }
}

/// The operator lets everyone in again who was removed too often.
pub fn pardon(world: &mut World) {
    let ids: Vec<NodeId> = world.machines.iter().map(|machine| machine.id).collect();
    for index in 0..world.machines.len() {
        for peer in &ids {
            world.feed(index, Input::Membership(MembershipInput::ClearQuarantine { peer: *peer }));
        }
    }
    agree(world);
}

/// The operator puts the same file on all nodes, and restarts those that are in no view under another one.
fn agree(world: &mut World) {
    let original = world.variant(0);
    for index in 0..world.machines.len() {
        let machine = &world.machines[index];
        let digest = machine.digest.unwrap_or(world.config.digest);
        if machine.file.is_none() && digest == world.config.digest {
            continue;
        }
        let outside = machine.view.is_none() && machine.core.is_some() && digest != world.config.digest;
        world.stage(index, &original);
        if outside && runs(world, index) {
            world.crash(index);
            world.after(1, Happening::Start(index));
        }
    }
}

fn runs(world: &World, index: usize) -> bool {
    let machine = &world.machines[index];
    machine.frozen_until_ns <= world.true_ns && machine.stunned_until_ns == 0
}

/// Cuts some off from the witness, and makes it slow; or has one write take up to a minute.
fn disturb_witness(world: &mut World) {
    for index in 0..world.machines.len() {
        if world.random.chance(300) {
            world.witness.unreachable.insert(index);
        } else {
            world.witness.unreachable.remove(&index);
        }
    }
    world.witness.delay_ns = 1_000_000 + world.random.below(2_000_000_000);
    world.witness.stuck_ns = world.random.below(60_000_000_000);
    world.note(|| "the witness is slow, and not there for all".into());
}

/// The operator puts one of a few configurations on some nodes, or on all.
fn stage(world: &mut World) {
    let number = u8::try_from(world.random.below(4)).unwrap_or(0);
    // 0 is the one that the world began with; 3 has another grace, the others another vote.
    let staged = world.variant(if number == 3 { World::LONGER_GRACE } else { number });
    let all = world.random.chance(500);
    for index in 0..world.machines.len() {
        if all || world.random.chance(500) {
            world.stage(index, &staged);
        }
    }
}

/// Cuts the nodes in two at random, on all networks or on one.
pub fn partition(world: &mut World, everywhere: bool) {
    let side: Vec<bool> = world.machines.iter().map(|_| world.random.chance(500)).collect();
    let ids: Vec<NodeId> = world.machines.iter().map(|machine| machine.id).collect();
    let networks: Vec<_> = world.config.networks.iter().map(|network| network.id).collect();
    let only = networks[world.random.index(networks.len())];
    world.note(|| format!("partition {side:?} everywhere: {everywhere}"));
    for network in networks.into_iter().filter(|network| everywhere || *network == only) {
        for (a, from) in ids.iter().enumerate() {
            for (b, to) in ids.iter().enumerate() {
                if side[a] != side[b] {
                    world.cuts.insert((network, *from, *to));
                }
            }
        }
    }
}

/// Control messages are lost on some ways, and heartbeats are not.
fn lose_control(world: &mut World) {
    let (ids, true_ns) = (world.machines.iter().map(|machine| machine.id).collect::<Vec<_>>(), world.true_ns);
    let often = world.random.below(600);
    for from in &ids {
        for to in &ids {
            if from != to && world.random.chance(often) {
                world.control_cuts.insert((*from, *to));
                world.checker.disturb(*from, true_ns);
                world.checker.disturb(*to, true_ns);
            }
        }
    }
    world.note(|| "control messages are lost on some ways".into());
}

fn one_way(world: &mut World) {
    let from = world.random.index(world.machines.len());
    let to = world.random.index(world.machines.len());
    let (from, to) = (world.machines[from].id, world.machines[to].id);
    world.note(|| format!("nothing arrives from {from} at {to}"));
    let networks: Vec<_> = world.config.networks.iter().map(|network| network.id).collect();
    for network in networks {
        world.cuts.insert((network, from, to));
    }
}

fn isolate(world: &mut World, victim: usize) {
    let id = world.machines[victim].id;
    let receive_only = world.random.chance(300);
    world.note(|| format!("node {id} is cut off; it still hears: {receive_only}"));
    let ids: Vec<NodeId> = world.machines.iter().map(|machine| machine.id).collect();
    let networks: Vec<_> = world.config.networks.iter().map(|network| network.id).collect();
    for network in networks {
        for other in &ids {
            world.cuts.insert((network, id, *other));
            if !receive_only {
                world.cuts.insert((network, *other, id));
            }
        }
    }
}

fn replay(world: &mut World) {
    for _ in 0..8 {
        if world.captured.is_empty() {
            return;
        }
        let index = world.random.index(world.captured.len());
        let (to, frame) = world.captured[index].clone();
        let delay_ns = world.random.below(world.config.timing.interval_ns);
        world.after(delay_ns, Happening::Arrive(to, frame));
    }
}
