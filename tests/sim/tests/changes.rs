//! Configurations that change while the cluster runs, a witness that decides, and two machines with one id.

use heartbeat_membership::{
    Action, Arbiter, ControlMessage, CoreConfig, Detail, EventId, Identity, Incarnation, Input, Kind, MembershipInput,
    NetworkId, NextSequences, Node, NodeId, Settings, Staged,
};
use heartbeat_sim::machine::RECORD_LEASE_NS;
use heartbeat_sim::run;
use heartbeat_sim::world::{Happening, World};

const INTERVAL_NS: u64 = 100_000_000;
const SECOND_NS: u64 = 1_000_000_000;

fn pass(world: &mut World, length_ns: u64) {
    let end_ns = world.true_ns + length_ns;
    world.run_until(end_ns, |_| {});
    assert!(world.checker.violations.is_empty(), "{:?}\n{}", world.checker.violations, world.log.join("\n"));
}

fn members(world: &World, index: usize) -> Option<Vec<u16>> {
    let view = world.machines[index].view.as_ref()?;
    Some(view.members.keys().map(|id| id.0).collect())
}

fn told(world: &World, id: EventId) -> Vec<(u16, Detail)> {
    world
        .events
        .iter()
        .filter(|(_, _, event)| event.id == id)
        .map(|(_, by, event)| (by.0, event.detail.clone()))
        .collect()
}

fn split(world: &mut World, side: &[u16]) {
    let networks: Vec<_> = world.config.networks.iter().map(|network| network.id).collect();
    let ids: Vec<_> = world.machines.iter().map(|machine| machine.id).collect();
    for a in ids.iter().filter(|id| side.contains(&id.0)) {
        for b in ids.iter().filter(|id| !side.contains(&id.0)) {
            world.cut_pair(&networks, *a, *b, true);
        }
    }
}

#[test]
fn staged_on_half_of_the_nodes_for_an_hour_changes_nothing() {
    let mut world = run::formed(4, 10 * INTERVAL_NS, Arbiter::TieBreaker(None), 5);
    let before: Vec<_> = world.machines.iter().map(|machine| machine.view.clone()).collect();
    let staged = world.variant(1);
    world.stage(0, &staged);
    world.stage(2, &staged);
    let work = |world: &World| (world.sent.0, world.machines.iter().map(|machine| machine.beat).min());
    let (messages, beats) = work(&world);
    pass(&mut world, 3_600 * SECOND_NS);
    // An hour at an interval of a second: each has dealt with its own beats and three reports of the others in an interval.
    let (messages, beats) = (work(&world).0 - messages, work(&world).1.unwrap_or(0) - beats.unwrap_or(0));
    assert!(beats >= 3_500, "each core went on: {beats} inputs");
    assert!(messages > 0, "they went on reporting to their leader: {messages}");
    let after: Vec<_> = world.machines.iter().map(|machine| machine.view.clone()).collect();
    assert_eq!(before, after);
    assert_eq!(told(&world, EventId::ConfigStaged).len(), 2, "it was staged, and that is all");
    assert!(told(&world, EventId::ConfigInstalled).is_empty());
    world.stage(1, &staged);
    world.stage(3, &staged);
    pass(&mut world, 20 * SECOND_NS);
    let digests: Vec<_> = world.machines.iter().map(|machine| machine.digest).collect();
    assert_eq!(digests, vec![Some(staged.config.digest); 4]);
    assert_eq!(told(&world, EventId::ConfigInstalled).len(), 4);
    let views: Vec<_> = world.machines.iter().map(|machine| machine.view.clone()).collect();
    for (before, after) in before.iter().flatten().zip(views.iter().flatten()) {
        assert_eq!(before.members, after.members);
        assert!(after.id.number > before.id.number, "a regroup of all members installed it");
    }
    assert!(told(&world, EventId::NodeRemoved).is_empty() && told(&world, EventId::Suspended).is_empty());
}

#[test]
fn too_large_a_step_is_refused_and_says_why() {
    let mut world = run::formed(3, INTERVAL_NS, Arbiter::Majority, 6);
    let mut staged = world.variant(1);
    staged.config.nodes[1].votes += 1;
    world.stage(0, &staged);
    pass(&mut world, SECOND_NS);
    let refusals = told(&world, EventId::ConfigStaged);
    let Some((1, Detail::Staged { refused: Some(reason), .. })) = refusals.first() else { panic!("{refusals:?}") };
    assert!(reason.contains("2 votes"), "{reason}");
}

/// Three nodes become four: the fourth starts with the new file, is refused while only some have it, and joins then.
#[test]
fn a_node_is_added_to_a_running_cluster() {
    let mut world = World::new(run::cluster(4, INTERVAL_NS), Arbiter::Majority, 7);
    let four = world.config.clone();
    world.config.nodes.pop();
    world.config.digest = heartbeat_membership::ConfigDigest([3; 32]);
    world.checker = heartbeat_sim::check::Checker::new(&world.config, Arbiter::Majority);
    for index in 0..3 {
        world.after(index as u64, Happening::Start(index));
    }
    pass(&mut world, 3 * SECOND_NS);
    assert_eq!(members(&world, 0), Some(vec![1, 2, 3]));
    let staged = Staged { config: four, arbiter: Arbiter::Majority, record_lease_ns: RECORD_LEASE_NS };
    world.machines[3].file = Some(staged.clone());
    world.after(1, Happening::Start(3));
    world.stage(0, &staged);
    pass(&mut world, 3 * SECOND_NS);
    assert_eq!(members(&world, 3), None);
    // Those that have not staged it do not know the node; the one that has hears it, and lets nobody in alone.
    assert_eq!(members(&world, 0), Some(vec![1, 2, 3]));
    world.stage(1, &staged);
    world.stage(2, &staged);
    pass(&mut world, 5 * SECOND_NS);
    for index in 0..4 {
        assert_eq!(members(&world, index), Some(vec![1, 2, 3, 4]), "{}", world.log.join("\n"));
    }
    assert!(told(&world, EventId::NodeRemoved).is_empty());
}

#[test]
fn a_node_whose_file_differs_is_refused_with_both_digests() {
    let mut world = run::formed(3, INTERVAL_NS, Arbiter::Majority, 8);
    world.crash(2);
    pass(&mut world, 3 * SECOND_NS);
    world.machines[2].file = Some(world.variant(1));
    world.after(1, Happening::Start(2));
    pass(&mut world, 30 * SECOND_NS);
    assert_eq!(members(&world, 0), Some(vec![1, 2]));
    assert_eq!(members(&world, 2), None);
    let differs = told(&world, EventId::ConfigDiffers);
    let by_first: Vec<_> = differs.iter().filter(|(by, _)| *by == 1).collect();
    let [(_, Detail::ConfigDiffers { ours, theirs, .. })] = by_first[..] else { panic!("once a minute: {differs:?}") };
    assert_eq!((*ours, *theirs), (world.config.digest, world.variant(1).config.digest));
    let refused = world.machines[0].core.as_ref().map(|core| core.snapshot().refused).unwrap_or_default();
    assert!(refused.get(&heartbeat_membership::Refusal::ConfigDiffers).is_some_and(|count| *count > 5), "{refused:?}");
}

/// 2 + 2: the side of the leader, which holds the record, goes on; the other one stops.
#[test]
fn with_a_witness_the_side_that_holds_it_goes_on() {
    let mut world = run::formed(4, INTERVAL_NS, Arbiter::Witness, 9);
    pass(&mut world, 3 * SECOND_NS);
    split(&mut world, &[1, 2]);
    pass(&mut world, 30 * SECOND_NS);
    assert_eq!([members(&world, 0), members(&world, 1)], [Some(vec![1, 2]), Some(vec![1, 2])]);
    assert_eq!([members(&world, 2), members(&world, 3)], [None, None]);
    assert!(world.machines[0].leased(world.true_ns) && world.machines[1].leased(world.true_ns));
    assert!(told(&world, EventId::Suspended).iter().all(|(by, _)| *by > 2), "{}", world.log.join("\n"));
}

/// The leader dies with another, or loses the witness: the others take the record once it was unchanged for its lease.
#[test]
fn with_a_witness_the_others_go_on_when_its_holder_is_gone() {
    for cut_off_only in [false, true] {
        let mut world = run::formed(4, INTERVAL_NS, Arbiter::Witness, 10);
        pass(&mut world, 3 * SECOND_NS);
        if cut_off_only {
            world.witness.unreachable.extend([0, 1]);
            split(&mut world, &[1, 2]);
        } else {
            world.crash(0);
            world.crash(1);
        }
        let created = world.witness.created;
        pass(&mut world, 4 * SECOND_NS);
        assert_eq!(world.witness.created, created, "nobody takes it before its lease is over");
        pass(&mut world, 26 * SECOND_NS);
        assert!(world.witness.created > created);
        assert_eq!(
            [members(&world, 2), members(&world, 3)],
            [Some(vec![3, 4]), Some(vec![3, 4])],
            "{}",
            world.log.join("\n")
        );
        assert_eq!([members(&world, 0), members(&world, 1)], [None, None]);
        assert!(world.machines[2].leased(world.true_ns) && world.machines[3].leased(world.true_ns));
    }
}

/// A write that is stuck for a minute overwrites nothing, and is worth nothing when it is answered.
#[test]
fn a_claim_that_is_a_minute_late_changes_nothing() {
    let mut world = run::formed(2, INTERVAL_NS, Arbiter::Witness, 11);
    pass(&mut world, 3 * SECOND_NS);
    world.witness.stuck_ns = 60 * SECOND_NS;
    pass(&mut world, 2 * SECOND_NS);
    assert_eq!(world.witness.stuck_ns, 0, "a claim is under way");
    split(&mut world, &[1]);
    pass(&mut world, 90 * SECOND_NS);
    assert!(world.witness.lost > 0, "the late claim found a newer epoch");
    assert_eq!([members(&world, 0), members(&world, 1)], [None, Some(vec![2])], "{}", world.log.join("\n"));
}

/// A clone of node 3 starts elsewhere, with a later incarnation, while node 3 goes on.
#[test]
fn the_later_of_two_machines_with_one_id_is_refused_and_both_are_told() {
    let mut world = run::formed(3, INTERVAL_NS, Arbiter::Majority, 12);
    let view = world.machines[0].view.clone();
    let config = CoreConfig { local: NodeId(3), ..world.config.clone() };
    let settings = Settings {
        arbiter: Arbiter::Majority,
        stop_time_ns: 0,
        epoch: 0,
        record_lease_ns: RECORD_LEASE_NS,
        config_is_new: false,
        resume: None,
    };
    let later = Incarnation(u64::MAX / 2);
    let identity = Identity { incarnation: later, adopted: Vec::new() };
    let mut clock = world.machines[2].now(world.true_ns);
    let mut clone = Node::with_membership(config, settings, identity, [9; 32], clock).expect("a sound configuration");
    world.tap = Some(2);
    let (mut sequence, mut warnings) = (0, 0);
    for _ in 0..60 {
        while let Some(action) = clone.poll_action() {
            match action {
                Action::Send { peer: NodeId(1), network, kind, body } => {
                    sequence += 1;
                    let message = message(NodeId(3), later, network, kind, sequence, body);
                    world.feed(0, Input::Control(message));
                }
                Action::Event(event) => warnings += u32::from(event.id == EventId::DuplicateId),
                Action::Send { .. }
                | Action::AcceptIncarnation { .. }
                | Action::ClearIncarnation { .. }
                | Action::TakeIncarnation { .. }
                | Action::Membership(_)
                | Action::Stop => {}
            }
        }
        for mut heard in std::mem::take(&mut world.tapped).into_iter().filter(|heard| heard.source == NodeId(1)) {
            heard.next = next();
            clone.handle(clock, Input::Control(heard));
        }
        pass(&mut world, INTERVAL_NS);
        clock = world.machines[2].now(world.true_ns);
        clone.handle(clock, Input::Timer);
    }
    assert_eq!(world.machines[0].view, view, "{}", world.log.join("\n"));
    let told_by: Vec<_> = told(&world, EventId::DuplicateId);
    let running = world.machines[2].incarnation().expect("it runs");
    assert!(told_by.contains(&(1, Detail::Duplicate { running, refused: later })), "{told_by:?}");
    assert!(told_by.iter().any(|(by, _)| *by == 3), "the running one is told as well: {told_by:?}");
    assert!(warnings > 0, "the later one is told");
    assert_eq!(told_by.iter().filter(|(by, _)| *by == 1).count(), 1, "at most once a minute");
}

fn message(
    source: NodeId,
    incarnation: Incarnation,
    network: NetworkId,
    kind: Kind,
    sequence: u64,
    body: Vec<u8>,
) -> ControlMessage {
    ControlMessage { network, source, incarnation: incarnation.0, sequence, kind: kind.byte(), body, next: next() }
}

fn next() -> Vec<NextSequences> {
    [1, 2].map(|id| NextSequences { network: NetworkId(id), unicast: 1, multicast: 1, control: 1 }).to_vec()
}

/// Two nodes that do not hear each other on a network that clients use ask hosts outside of the cluster.
#[test]
fn with_two_nodes_hosts_outside_tell_which_interface_has_failed() {
    let mut world = run::formed(2, INTERVAL_NS, Arbiter::TieBreaker(None), 13);
    pass(&mut world, 2 * SECOND_NS);
    let public = NetworkId(2);
    world.outside.extend([((public, NodeId(1)), true), ((public, NodeId(2)), false)]);
    world.cut_pair(&[public], NodeId(1), NodeId(2), true);
    pass(&mut world, 5 * SECOND_NS);
    let failed: Vec<_> = world.events.iter().filter(|(_, _, event)| event.id == EventId::InterfaceFailed).collect();
    assert!(!failed.is_empty() && failed.iter().all(|(_, _, event)| event.peer == Some(NodeId(2))), "{failed:?}");
    assert!(told(&world, EventId::NetworkDown).is_empty() && told(&world, EventId::NodeRemoved).is_empty());
    let shown = |index: usize| {
        let snapshot = world.machines[index].core.as_ref().map(|core| core.snapshot());
        snapshot.and_then(|snapshot| snapshot.membership).map(|membership| membership.networks)
    };
    assert_eq!(shown(0), shown(1), "every node shows what the leader judged");
}

#[test]
fn what_a_removal_rests_on_is_told_with_it() {
    let mut world = run::formed(3, INTERVAL_NS, Arbiter::Majority, 14);
    world.crash(2);
    pass(&mut world, 5 * SECOND_NS);
    let removals = told(&world, EventId::NodeRemoved);
    let Some((1, Detail::Removed { survivors, links, stages, votes, newest_ns, .. })) =
        removals.iter().find(|(by, _)| *by == 1)
    else {
        panic!("{removals:?}")
    };
    assert_eq!(survivors.iter().map(|it| (it.node.0, it.reported)).collect::<Vec<_>>(), [(1, true), (2, true)]);
    assert_eq!(survivors.iter().map(|it| it.newest_ns).max(), Some(*newest_ns));
    assert_eq!(links.len(), 2);
    assert!(
        links.iter().all(|link| link.verdict.is_some_and(|verdict| verdict.missed >= 2 && verdict.stamp_ns > 0)),
        "{links:?}"
    );
    assert!(stages.windows(2).all(|pair| pair[0].at_ns <= pair[1].at_ns) && stages.len() >= 3, "{stages:?}");
    assert_eq!((votes.own, votes.total, votes.witness), (2, 3, false));
}

/// Three removals in a row.
#[test]
fn quarantine_is_told_when_it_begins_when_it_refuses_and_when_it_ends() {
    let mut world = run::formed(5, INTERVAL_NS, Arbiter::Majority, 15);
    for _ in 0..3 {
        world.crash(4);
        pass(&mut world, 3 * SECOND_NS);
        world.after(1, Happening::Start(4));
        pass(&mut world, 6 * SECOND_NS);
    }
    assert!(!told(&world, EventId::Quarantined).is_empty(), "{}", world.log.join("\n"));
    assert!(told(&world, EventId::QuarantineRefused).iter().any(|(by, _)| *by == 1));
    assert_eq!(members(&world, 4), None);
    for index in 0..4 {
        world.feed(index, Input::Membership(MembershipInput::ClearQuarantine { peer: NodeId(5) }));
    }
    pass(&mut world, 3 * SECOND_NS);
    assert!(told(&world, EventId::QuarantineReleased).contains(&(1, Detail::Released { by_operator: true })));
    assert_eq!(members(&world, 4), Some(vec![1, 2, 3, 4, 5]));
}
