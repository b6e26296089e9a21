//! From bytes to the next input.

use heartbeat_membership::{
    Arbiter, ConfigDigest, ControlMessage, Echo, Incarnation, Input, LateVerdict, LocalStall, MembershipInput,
    NetworkId, Newest, NextSequences, NodeId, Now, Restored, SilentVerdict, Staged, StallSource, WitnessAnswer,
    WitnessOutcome,
};
use heartbeat_model::Scope;

use super::phases::{NODE, Phase, SCOPE};
use crate::bytes::Bytes;

/// How many kinds of inputs [`next`] makes.
const KINDS: u8 = 14;

/// The next input, and how much later it comes.
pub(super) fn next(bytes: &mut Bytes<'_>, phase: &Phase, now: Now) -> (Input, u64) {
    // The upper bits move time: mostly not at all, else by up to 15 quarters of an interval.
    let choice = bytes.byte();
    let later_ns = u64::from(choice >> 4) * (Scope::INTERVAL_NS / 4);
    let time = |bytes: &mut Bytes<'_>| near(bytes, now.mono_ns);
    let input = match choice % KINDS {
        0 | 1 => Input::Control(real(bytes, phase)),
        2 => Input::Control(invented(bytes, phase)),
        3 => Input::Timer,
        4 => Input::Late(LateVerdict {
            peer: node(bytes),
            network: network(bytes),
            stamp_ns: time(bytes),
            deadline_ns: time(bytes),
            judged_ns: time(bytes),
            missed: u32::from(bytes.short()),
            never_heard: bytes.byte() & 1 == 1,
            marked_stall: bytes.byte() & 1 == 1,
        }),
        5 => Input::Silent(SilentVerdict {
            peer: node(bytes),
            stamp_ns: time(bytes),
            deadline_ns: time(bytes),
            judged_ns: time(bytes),
            marked_stall: bytes.byte() & 1 == 1,
        }),
        6 => Input::Restored(Restored {
            peer: node(bytes),
            network: network(bytes),
            stamp_ns: time(bytes),
            first: bytes.byte() & 1 == 1,
            previous_stamp_ns: time(bytes),
            sent_ns: time(bytes),
            previous_sent_ns: time(bytes),
            lost: bytes.long(),
        }),
        7 => Input::HeardAgain { peer: node(bytes), stamp_ns: time(bytes) },
        8 => Input::OtherIncarnation {
            peer: node(bytes),
            network: network(bytes),
            incarnation: incarnation(bytes, phase),
        },
        9 => Input::LocalStall(LocalStall {
            length_ns: bytes.long(),
            at_ns: time(bytes),
            source: match bytes.byte() % 3 {
                0 => StallSource::Machine,
                1 => StallSource::Controller,
                _ => StallSource::Clock,
            },
            budget_spent: bytes.byte() & 1 == 1,
        }),
        10 => Input::IncarnationTaken { incarnation: incarnation(bytes, phase) },
        11 => {
            let echo = |bytes: &mut Bytes<'_>| Echo {
                peer: node(bytes),
                incarnation: incarnation(bytes, phase),
                sent_ns: near(bytes, now.mono_ns),
            };
            Input::Membership(MembershipInput::Echoes { echoes: vec![echo(bytes), echo(bytes)] })
        }
        12 => Input::Membership(order(bytes, now)),
        _ => Input::Leave,
    };
    (input, later_ns)
}

fn order(bytes: &mut Bytes<'_>, now: Now) -> MembershipInput {
    match bytes.byte() % 10 {
        0 => MembershipInput::Bound {
            sequence: u64::from(bytes.byte()),
            newest: vec![Newest { peer: node(bytes), stamp_ns: near(bytes, now.mono_ns) }],
        },
        1 => MembershipInput::ClockStood { length_ns: bytes.long() },
        2 => MembershipInput::PeerHung { peer: node(bytes) },
        3 => MembershipInput::InterfaceBroken { network: network(bytes), broken: bytes.byte() & 1 == 1 },
        4 => MembershipInput::FormForced,
        5 => MembershipInput::ClearQuarantine { peer: node(bytes) },
        6 => MembershipInput::ConfirmFenced { peer: node(bytes) },
        7 => MembershipInput::ExternalHosts {
            network: network(bytes),
            answer: [None, Some(false), Some(true)][usize::from(bytes.byte() % 3)],
        },
        8 => MembershipInput::Witness(witness(bytes, now)),
        _ => MembershipInput::Stage { staged: staged(bytes) },
    }
}

/// An answer that nobody asked for: there is no witness here.
fn witness(bytes: &mut Bytes<'_>, now: Now) -> WitnessAnswer {
    let started_ns = near(bytes, now.mono_ns);
    let epoch = u64::from(bytes.byte());
    let outcome = match bytes.byte() % 3 {
        0 => WitnessOutcome::Standing { epoch, holder: None },
        1 => WitnessOutcome::Won { epoch },
        _ => WitnessOutcome::Failed,
    };
    WitnessAnswer { started: Now { mono_ns: started_ns, boot_ns: started_ns }, outcome }
}

/// Another configuration, with one vote or one node changed or with nonsense; or none any more.
fn staged(bytes: &mut Bytes<'_>) -> Option<Box<Staged>> {
    let mut config = SCOPE.config(NODE);
    config.digest = ConfigDigest([bytes.byte(); 32]);
    match bytes.byte() % 5 {
        0 => return None,
        1 => config.nodes.truncate(2),
        2 => config.nodes[usize::from(bytes.byte() % 3)].votes = u32::from(bytes.byte()),
        3 => config.nodes[0].id = node(bytes),
        _ => {}
    }
    let arbiter = if bytes.byte() & 1 == 1 { Arbiter::TieBreaker(Some(node(bytes))) } else { SCOPE.arbiter() };
    Some(Box::new(Staged { config, arbiter, record_lease_ns: bytes.long() }))
}

/// A message that some node sent, with bytes of its body changed, or its end cut off.
fn real(bytes: &mut Bytes<'_>, phase: &Phase) -> ControlMessage {
    let index = usize::from(bytes.byte());
    let Some(mut message) = phase.messages.get(index % phase.messages.len().max(1)).cloned() else {
        return invented(bytes, phase);
    };
    let changes = bytes.byte();
    // 0 in the lower bits: as it is.
    for _ in 0..changes & 7 {
        let position = usize::from(bytes.short());
        let length = message.body.len().max(1);
        if let Some(byte) = message.body.get_mut(position % length) {
            *byte ^= bytes.byte();
        }
    }
    if changes & 8 != 0 {
        message.body.truncate(usize::from(bytes.short()) % (message.body.len() + 1));
    }
    if changes & 16 != 0 {
        message.body.extend_from_slice(bytes.run());
    }
    if changes & 32 != 0 {
        message.incarnation = incarnation(bytes, phase).0;
    }
    if changes & 64 != 0 {
        // Otherwise it comes once and every repetition is a duplicate.
        message.sequence = message.sequence.wrapping_add(u64::from(bytes.byte()));
    }
    message.next = next_sequences(bytes, changes);
    message
}

fn invented(bytes: &mut Bytes<'_>, phase: &Phase) -> ControlMessage {
    ControlMessage {
        network: network(bytes),
        source: node(bytes),
        incarnation: incarnation(bytes, phase).0,
        sequence: bytes.long(),
        kind: bytes.byte(),
        body: bytes.run().to_vec(),
        next: next_sequences(bytes, 128),
    }
}

fn next_sequences(bytes: &mut Bytes<'_>, changes: u8) -> Vec<NextSequences> {
    if changes & 128 == 0 {
        return vec![NextSequences { network: NetworkId(1), unicast: 1, multicast: 1, control: 1 }];
    }
    vec![NextSequences {
        network: network(bytes),
        unicast: bytes.long(),
        multicast: u64::from(bytes.byte()),
        control: u64::from(bytes.byte()),
    }]
}

/// Mostly a node that exists.
fn node(bytes: &mut Bytes<'_>) -> NodeId {
    match bytes.byte() {
        small @ ..=250 => NodeId(1 + u16::from(small % 4)),
        _ => NodeId(bytes.short()),
    }
}

/// Mostly the network that exists.
fn network(bytes: &mut Bytes<'_>) -> NetworkId {
    match bytes.byte() {
        ..=250 => NetworkId(1),
        large => NetworkId(large),
    }
}

/// Mostly one that some node has or had, or one next to it.
fn incarnation(bytes: &mut Bytes<'_>, phase: &Phase) -> Incarnation {
    let choice = bytes.byte();
    if choice == 255 {
        return Incarnation(bytes.long());
    }
    let known =
        phase.messages.get(usize::from(choice) % phase.messages.len().max(1)).map_or(1, |known| known.incarnation);
    Incarnation(known.saturating_add(u64::from(bytes.byte() % 3)).saturating_sub(1))
}

/// Mostly within 16 intervals of now, 0, or anything.
fn near(bytes: &mut Bytes<'_>, now_ns: u64) -> u64 {
    match bytes.byte() {
        255 => bytes.long(),
        254 => 0,
        ahead @ 240.. => now_ns + u64::from(ahead - 240) * (Scope::INTERVAL_NS / 8),
        age => now_ns - u64::from(age) * (Scope::INTERVAL_NS / 8),
    }
}
