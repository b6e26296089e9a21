//! Events of a core that is fed verdicts: once per episode, with their evidence, and none for who left in order.

mod pair;

use heartbeat_membership::{
    Action, AdoptedLink, AdoptedPeer, Cause, ControlMessage, Detail, Event, EventId, Identity, Incarnation, Input,
    LateVerdict, LinkState, LocalStall, NetworkId, Node, NodeId, Now, Refusal, Restored, SilentVerdict, StallSource,
};
use pair::{MS, NETWORKS, Pair};

const BRAVO: NodeId = NodeId(2);

fn proven() -> Pair {
    let mut pair = Pair::new();
    pair.settle();
    pair.advance(10 * MS);
    pair.heartbeats();
    for side in &mut pair.sides {
        assert_eq!(ids(&side.events), [EventId::LinkRestored; 2]);
        side.events.clear();
    }
    pair
}

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

fn late(network: NetworkId, stamp_ns: u64) -> Input {
    Input::Late(LateVerdict {
        peer: BRAVO,
        network,
        stamp_ns,
        deadline_ns: stamp_ns + 212 * MS,
        judged_ns: stamp_ns + 213 * MS,
        missed: 2,
        never_heard: false,
        marked_stall: false,
    })
}

fn silent(stamp_ns: u64) -> Input {
    Input::Silent(SilentVerdict {
        peer: BRAVO,
        stamp_ns,
        deadline_ns: stamp_ns + 612 * MS,
        judged_ns: stamp_ns + 613 * MS,
        marked_stall: false,
    })
}

fn restored(network: NetworkId, previous_stamp_ns: u64, stamp_ns: u64) -> Input {
    Input::Restored(Restored {
        peer: BRAVO,
        network,
        stamp_ns,
        first: false,
        previous_stamp_ns,
        sent_ns: stamp_ns + 5 * MS,
        previous_sent_ns: previous_stamp_ns + 5 * MS,
        lost: 3,
    })
}

fn states(pair: &Pair) -> Vec<LinkState> {
    pair.sides[0].core.snapshot().peers[0].links.iter().map(|link| link.state).collect()
}

#[test]
fn one_event_for_each_episode_and_edge() {
    let mut pair = proven();
    let stamp = pair.now_ns;
    pair.advance(213 * MS);
    pair.feed(0, late(NETWORKS[0], stamp));
    pair.feed(0, late(NETWORKS[0], stamp));
    assert_eq!(states(&pair), [LinkState::Late, LinkState::Up]);
    pair.advance(180 * MS);
    pair.feed(0, restored(NETWORKS[0], stamp, stamp + 400 * MS));
    pair.feed(0, restored(NETWORKS[0], stamp, stamp + 400 * MS));
    pair.feed(0, late(NETWORKS[0], stamp));
    assert_eq!(states(&pair), [LinkState::Up, LinkState::Up]);
    let events = &pair.sides[0].events;
    assert_eq!(ids(events), [EventId::LinkLost, EventId::LinkRestored]);
    assert_eq!((events[0].peer, events[0].network), (Some(BRAVO), Some(NETWORKS[0])));
    assert!(matches!(events[0].detail, Detail::Lost { missed: 2, .. }));
    let Detail::Restored { cause, previous_stamp_ns, .. } = events[1].detail else { panic!("{:?}", events[1]) };
    assert_eq!((cause, previous_stamp_ns), (Some(Cause::LostOnTheWay), stamp));
}

#[test]
fn silence_after_lateness_adds_no_event_and_heals_per_network() {
    let mut pair = proven();
    let stamp = pair.now_ns;
    pair.feed(0, late(NETWORKS[0], stamp));
    pair.feed(0, late(NETWORKS[1], stamp));
    pair.feed(0, silent(stamp));
    assert_eq!(states(&pair), [LinkState::Silent, LinkState::Silent]);
    pair.feed(0, restored(NETWORKS[1], stamp, stamp + 700 * MS));
    pair.feed(0, Input::HeardAgain { peer: BRAVO, stamp_ns: stamp + 700 * MS });
    assert_eq!(states(&pair), [LinkState::Late, LinkState::Up]);
    // The record of the silence, read a second time.
    pair.feed(0, silent(stamp));
    assert_eq!(states(&pair), [LinkState::Late, LinkState::Up]);
    let expected = [EventId::LinkLost, EventId::LinkLost, EventId::LinkRestored];
    assert_eq!(ids(&pair.sides[0].events), expected);
}

#[test]
fn a_silence_whose_late_records_were_lost_is_announced() {
    let mut pair = proven();
    let stamp = pair.now_ns;
    pair.feed(0, silent(stamp));
    pair.feed(0, silent(stamp));
    pair.feed(0, late(NETWORKS[0], stamp));
    assert_eq!(ids(&pair.sides[0].events), [EventId::LinkLost, EventId::LinkLost]);
}

#[test]
fn who_leaves_in_order_is_not_reported_lost() {
    let mut pair = proven();
    let stamp = pair.now_ns;
    pair.feed(1, Input::Leave);
    assert!(pair.sides[1].stopped);
    pair.settle();
    pair.feed(0, late(NETWORKS[0], stamp));
    pair.feed(0, silent(stamp));
    assert_eq!(ids(&pair.sides[0].events), [EventId::NodeLeft]);
    assert_eq!(states(&pair), [LinkState::Init, LinkState::Init]);
    assert_eq!(pair.sides[0].accepting.incarnation, None);
    let snapshot = pair.sides[0].core.snapshot();
    assert!(snapshot.peers[0].left && !snapshot.peers[0].proven);
    // Nobody calls a node that is gone, nor its last heartbeats.
    let incarnation = pair.sides[1].core.incarnation();
    pair.feed(0, Input::OtherIncarnation { peer: BRAVO, network: NETWORKS[0], incarnation });
    pair.advance(5_000 * MS);
    assert!(pair.flying.is_empty());
}

#[test]
fn who_left_comes_back_with_1122_on_each_network() {
    let mut pair = proven();
    pair.feed(1, Input::Leave);
    pair.settle();
    pair.sides[0].events.clear();
    pair.restart(1, true);
    pair.settle();
    pair.assert_proven();
    pair.advance(10 * MS);
    pair.heartbeats();
    assert_eq!(ids(&pair.sides[0].events), [EventId::LinkRestored; 2]);
    assert!(!pair.sides[0].core.snapshot().peers[0].left);
}

#[test]
fn a_restart_within_the_limits_gives_1122_and_no_1123() {
    let mut pair = proven();
    pair.restart(1, true);
    pair.settle();
    pair.advance(10 * MS);
    pair.heartbeats();
    assert_eq!(ids(&pair.sides[0].events), [EventId::LinkRestored; 2]);
}

#[test]
fn a_leave_counts_only_from_the_accepted_incarnation_and_once() {
    let mut pair = proven();
    pair.feed(1, Input::Leave);
    let leave = pair.flying[0].clone();
    pair.flying.clear();
    let forged = |incarnation, sequence, body: Vec<u8>| {
        Input::Control(ControlMessage {
            network: leave.network,
            source: leave.source,
            incarnation,
            sequence,
            kind: leave.kind.byte(),
            body,
            next: Vec::new(),
        })
    };
    for (input, refusal) in [
        (forged(leave.incarnation - 1, leave.sequence, leave.body.clone()), Refusal::NotAccepted),
        (forged(leave.incarnation + 1, leave.sequence, leave.body.clone()), Refusal::NotAccepted),
        (forged(leave.incarnation, 1, leave.body.clone()), Refusal::Duplicate),
        (forged(leave.incarnation, leave.sequence + 1, vec![0; 7]), Refusal::Malformed),
        (forged(leave.incarnation, leave.sequence + 2, vec![1; 8]), Refusal::IncarnationMismatch),
        (forged(leave.incarnation, leave.sequence + 2, leave.body.clone()), Refusal::Duplicate),
    ] {
        pair.feed(0, input);
        let snapshot = pair.sides[0].core.snapshot();
        assert!(snapshot.refused.contains_key(&refusal), "{refusal:?}: {:?}", snapshot.refused);
        assert!(snapshot.peers[0].proven);
    }
    pair.feed(0, forged(leave.incarnation, leave.sequence, leave.body.clone()));
    pair.feed(0, forged(leave.incarnation, leave.sequence, leave.body.clone()));
    assert_eq!(ids(&pair.sides[0].events), [EventId::NodeLeft]);
}

#[test]
fn a_stall_is_reported_once_and_named_as_the_cause() {
    let mut pair = proven();
    let stamp = pair.now_ns;
    let stall =
        LocalStall { length_ns: 380 * MS, at_ns: stamp + 390 * MS, source: StallSource::Machine, budget_spent: false };
    pair.feed(0, late(NETWORKS[0], stamp));
    pair.feed(0, Input::LocalStall(stall));
    pair.feed(0, Input::LocalStall(stall));
    pair.feed(0, restored(NETWORKS[0], stamp, stamp + 400 * MS));
    let events = &pair.sides[0].events;
    assert_eq!(ids(events), [EventId::LinkLost, EventId::LocalStall, EventId::LinkRestored]);
    assert!(matches!(events[2].detail, Detail::Restored { cause: Some(Cause::HandledLateHere), .. }));
    assert!(events[1].text.contains("380 ms"), "{}", events[1].text);
}

#[test]
fn control_messages_that_do_not_belong_here_are_counted() {
    let mut pair = proven();
    let before = pair.sides[0].core.snapshot().peers;
    let message = |source, network, kind| {
        Input::Control(ControlMessage {
            network: NetworkId(network),
            source: NodeId(source),
            incarnation: 2_000,
            sequence: 99,
            kind,
            body: vec![0; 300],
            next: Vec::new(),
        })
    };
    for (input, refusal) in [
        (message(3, 1, 16), Refusal::UnknownPeer),
        (message(1, 1, 16), Refusal::UnknownPeer),
        (message(0, 1, 16), Refusal::UnknownPeer),
        (message(2, 3, 16), Refusal::UnknownNetwork),
        (message(2, 1, 19), Refusal::UnknownKind),
        (message(2, 1, 255), Refusal::UnknownKind),
        (message(2, 1, 16), Refusal::Malformed),
    ] {
        let count = |pair: &Pair| pair.sides[0].core.snapshot().refused.get(&refusal).copied().unwrap_or(0);
        let earlier = count(&pair);
        pair.feed(0, input);
        assert_eq!(count(&pair), earlier + 1, "{refusal:?}");
    }
    assert_eq!(pair.sides[0].core.snapshot().peers, before);
    assert!(pair.sides[0].events.is_empty());
}

#[test]
fn an_adopted_core_reports_nothing_and_accepts_nothing_anew() {
    let now = Now { mono_ns: 9_000 * MS, boot_ns: 9_000 * MS };
    let link = |network, state| AdoptedLink { network, state, stamp_ns: 8_900 * MS };
    let adopted = AdoptedPeer {
        peer: BRAVO,
        incarnation: Incarnation(2_000),
        links: vec![link(NETWORKS[0], LinkState::Up), link(NETWORKS[1], LinkState::Late)],
    };
    let identity = Identity { incarnation: Incarnation(1_000), adopted: vec![adopted] };
    let mut core = Node::new(pair::config(1), identity, [3; 32], now).expect("configuration is sound");
    let snapshot = core.snapshot();
    assert_eq!(snapshot.peers[0].accepted, Some(Incarnation(2_000)));
    assert_eq!(snapshot.peers[0].links[1].state, LinkState::Late);
    core.handle(now, restored(NETWORKS[0], 8_800 * MS, 8_900 * MS));
    let mut events = Vec::new();
    while let Some(action) = core.poll_action() {
        match &action {
            Action::Send { .. } => {}
            Action::Event(event) => events.push(event.clone()),
            Action::AcceptIncarnation { .. }
            | Action::ClearIncarnation { .. }
            | Action::TakeIncarnation { .. }
            | Action::Membership(_)
            | Action::Stop => panic!("{action:?}"),
        }
    }
    assert_eq!(events, []);
}

#[test]
fn inputs_actions_and_snapshots_survive_json() {
    let mut pair = proven();
    let stamp = pair.now_ns;
    let inputs = [late(NETWORKS[0], stamp), silent(stamp), Input::Timer, Input::Leave];
    let now = Now { mono_ns: stamp + 1, boot_ns: stamp + 1 };
    for input in inputs {
        let text = serde_json::to_string(&input).expect("inputs serialise");
        assert_eq!(serde_json::from_str::<Input>(&text).expect("and come back"), input);
        pair.sides[0].core.handle(now, input);
    }
    let mut count = 0;
    while let Some(action) = pair.sides[0].core.poll_action() {
        let text = serde_json::to_string(&action).expect("actions serialise");
        assert_eq!(serde_json::from_str::<Action>(&text).expect("and come back"), action);
        count += 1;
    }
    assert!(count > 3);
    let snapshot = pair.sides[0].core.snapshot();
    let text = serde_json::to_string(&snapshot).expect("snapshots serialise");
    assert_eq!(serde_json::from_str::<heartbeat_membership::Snapshot>(&text).expect("and come back"), snapshot);
}
