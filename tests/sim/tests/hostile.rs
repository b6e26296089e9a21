//! Bodies that no member would send, properly tagged and numbered: nothing panics, and the core goes on.

use heartbeat_membership::{Arbiter, ControlMessage, Input, Refusal, ViewId};
use heartbeat_sim::random::Random;
use heartbeat_sim::run;
use heartbeat_sim::world::Frame;

/// Body of a poison as the sender's own code writes it.
fn poison(incarnation: u64, view: ViewId) -> Vec<u8> {
    let parts = [&incarnation.to_be_bytes()[..], &view.number.to_be_bytes(), &view.digest.0];
    parts.concat()
}

/// A member that has not installed this node's view yet knows nothing of its join, and must not stop it.
#[test]
fn a_poison_from_an_older_view_stops_nobody() {
    for (older_by, stops) in [(1, false), (0, true)] {
        let mut world = run::formed(3, 100_000_000, Arbiter::Majority, 1);
        let own = |world: &heartbeat_sim::world::World| {
            let snapshot = world.machines[0].core.as_ref().map(heartbeat_membership::Node::snapshot);
            snapshot.expect("the node runs")
        };
        let before = own(&world);
        let membership = before.membership.as_ref();
        let mut view = membership.and_then(|membership| membership.view.as_ref()).expect("formed").id;
        view.number -= older_by;
        let network = world.config.networks[0].id;
        let local = world.machines[0].id;
        let machine = &mut world.machines[1];
        let (source, sequence) = (machine.id, machine.take_sequence(local, network, true));
        let incarnation = machine.incarnation().expect("the node runs").0;
        let body = poison(before.incarnation.0, view);
        let message = ControlMessage { network, source, incarnation, sequence, kind: 30, body, next: Vec::new() };
        world.feed(0, Input::Control(message));
        let after = own(&world);
        let refused = after.refused.get(&Refusal::OtherView).copied().unwrap_or_default();
        let refused_before = before.refused.get(&Refusal::OtherView).copied().unwrap_or_default();
        assert_eq!(refused > refused_before, !stops, "{older_by} views behind");
        let stopped = after.membership.is_some_and(|membership| !membership.quorate);
        assert_eq!(stopped, stops, "{older_by} views behind");
    }
}

const KINDS: [u8; 11] = [16, 17, 18, 20, 24, 28, 29, 30, 32, 21, 255];

#[test]
fn damaged_and_invented_bodies_never_panic() {
    for seed in 1..=40_u64 {
        let mut random = Random::new(seed);
        let mut world = run::formed(3, 100_000_000, Arbiter::Majority, seed);
        for _ in 0..300 {
            let from = 1 + random.index(2);
            let network = world.config.networks[random.index(2)].id;
            let real = world.captured.iter().filter_map(|(_, frame)| match frame {
                Frame::Control(message) => Some((message.kind, message.body.to_vec())),
                Frame::Heartbeat(_) => None,
            });
            let real: Vec<_> = real.collect();
            let invented = real.is_empty() || random.chance(300);
            let (kind, mut body) = if invented {
                let length = random.index(300);
                (KINDS[random.index(KINDS.len())], (0..length).map(|_| random.draw() as u8).collect())
            } else {
                real[random.index(real.len())].clone()
            };
            for _ in 0..random.below(4) {
                if !body.is_empty() {
                    let at = random.index(body.len());
                    body[at] = random.draw() as u8;
                }
            }
            if random.chance(200) {
                let length = random.index(body.len() + 1);
                body.truncate(length);
            }
            let to = world.machines[0].id;
            let machine = &mut world.machines[from];
            let Some(incarnation) = machine.incarnation() else { continue };
            let (source, sequence) = (machine.id, machine.take_sequence(to, network, true));
            let next = Vec::new();
            let message = ControlMessage { network, source, incarnation: incarnation.0, sequence, kind, body, next };
            world.feed(0, Input::Control(message));
            let pause_ns = world.true_ns + random.below(20_000_000);
            world.run_until(pause_ns, |_| {});
            // Members are trusted: what they say may stop this node. It must not stop answering.
            world.checker.violations.clear();
            let core = world.machines[0].core.as_ref().map(heartbeat_membership::Node::snapshot);
            assert!(core.is_some(), "seed {seed}");
        }
    }
}
