//! Bodies that no member would send, properly tagged and numbered: nothing panics, and the core goes on.

use heartbeat_membership::{Arbiter, ControlMessage, Input};
use heartbeat_sim::random::Random;
use heartbeat_sim::run;
use heartbeat_sim::world::Frame;

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
