//! Two cores that talk to each other, one of them recorded.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use heartbeat_membership::{
    Action, ConfigDigest, ControlMessage, CoreConfig, Echo, EventId, Identity, Incarnation, Input, MembershipInput,
    NetworkConfig, NetworkId, NetworkRole, NextSequences, Node, NodeConfig, NodeId, Now, Restored, Timing,
    membership::Settings, quorum::Arbiter,
};
use rtrb::RingBuffer;

use super::{
    entry::{Encoder, frame_header},
    writer::Books,
    *,
};

const MS: u64 = 1_000_000;
const NETWORK: NetworkId = NetworkId(1);

fn built(local: u16, now: Now) -> Built {
    let node = |id: u16| NodeConfig { id: NodeId(id), name: format!("node{id}"), votes: 1, networks: vec![NETWORK] };
    Built {
        config: CoreConfig {
            local: NodeId(local),
            nodes: vec![node(1), node(2)],
            networks: vec![NetworkConfig { id: NETWORK, name: "private".to_owned(), role: NetworkRole::Internal }],
            timing: Timing {
                interval_ns: 100 * MS,
                late_after: 2,
                lost_after: 6,
                grace_ns: 600 * MS,
                hang_timeout_ns: 10_000 * MS,
            },
            digest: ConfigDigest([7; 32]),
            abi: 1,
        },
        settings: settings(),
        identity: Identity { incarnation: Incarnation(1_000 + u64::from(local)), adopted: Vec::new() },
        seed: [u8::try_from(local).unwrap(); 32],
        now,
    }
}

fn settings() -> Settings {
    let text = r#"{"arbiter":null,"stop_time_ns":1000000,"epoch":0,"resume":null}"#;
    let mut settings: serde_json::Value = serde_json::from_str(text).unwrap();
    settings["arbiter"] = serde_json::to_value(Arbiter::TieBreaker(Some(NodeId(1)))).unwrap();
    serde_json::from_value(settings).unwrap()
}

/// Both cores, and the messages between them.
struct Pair {
    cores: [Node; 2],
    sequence: u64,
    now: Now,
    /// Events that the recorded core raised.
    events: Vec<EventId>,
}

impl Pair {
    fn new(recorder: &mut Recorder) -> Self {
        let now = Now { mono_ns: 5_000 * MS, boot_ns: 5_000 * MS };
        recorder.built(&built(1, now));
        let core = |local| {
            let Built { config, settings, identity, seed, now } = built(local, now);
            Node::with_membership(config, settings, identity, seed, now).unwrap()
        };
        Self { cores: [core(1), core(2)], sequence: 0, now, events: Vec::new() }
    }

    fn feed(&mut self, recorder: &mut Recorder, index: usize, input: Input) {
        if index == 0 {
            recorder.input(self.now, &input);
        }
        self.cores[index].handle(self.now, input);
    }

    /// One step of 10 ms: time, heartbeats, and every message that follows.
    fn step(&mut self, recorder: &mut Recorder) {
        self.now.mono_ns += 10 * MS;
        self.now.boot_ns += 10 * MS;
        for index in 0..2 {
            let peer = NodeId(2 - u16::try_from(index).unwrap());
            let incarnation = Incarnation(1_000 + u64::from(peer.0));
            let echoes = vec![Echo { peer, incarnation, sent_ns: self.now.mono_ns - 2 * MS }];
            self.feed(recorder, index, Input::Membership(MembershipInput::Echoes { echoes }));
            self.feed(recorder, index, Input::Timer);
        }
        let mut pending = VecDeque::from([0, 1]);
        while let Some(index) = pending.pop_front() {
            while let Some(action) = self.cores[index].poll_action() {
                if index == 0 {
                    recorder.action(&action);
                }
                self.act(recorder, index, action, &mut pending);
            }
        }
    }

    fn act(&mut self, recorder: &mut Recorder, index: usize, action: Action, pending: &mut VecDeque<usize>) {
        let source = NodeId(u16::try_from(index).unwrap() + 1);
        if let Action::Send { network, kind, body, .. } = action {
            self.sequence += 1;
            let next = NextSequences { network, unicast: 1, multicast: 1, control: self.sequence };
            let message = ControlMessage {
                network,
                source,
                incarnation: 1_000 + u64::from(source.0),
                sequence: self.sequence,
                kind: kind.byte(),
                body,
                next: vec![next],
            };
            self.feed(recorder, 1 - index, Input::Control(message));
            pending.push_back(1 - index);
        } else if let Action::AcceptIncarnation { peer, .. } = action {
            let stamp_ns = self.now.mono_ns;
            let restored = Restored {
                peer,
                network: NETWORK,
                stamp_ns,
                first: true,
                previous_stamp_ns: 0,
                sent_ns: stamp_ns,
                previous_sent_ns: 0,
                lost: 0,
            };
            self.feed(recorder, index, Input::Restored(restored));
            pending.push_back(index);
        } else if let Action::Membership(heartbeat_membership::MembershipAction::Bind { sequence, .. }) = action {
            self.feed(recorder, index, Input::Membership(MembershipInput::Bound { sequence, newest: Vec::new() }));
            pending.push_back(index);
        } else if let (Action::Event(event), 0) = (action, index) {
            self.events.push(event.id);
        }
    }
}

/// Events that a replay shows.
fn replayed(path: &Path) -> Result<(Vec<EventId>, Outcome), ReplayError> {
    let mut events = Vec::new();
    let outcome = replay(path, |_, step| {
        if let Step::Action(Action::Event(event)) = step {
            events.push(event.id);
        }
    })?;
    Ok((events, outcome))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A run of two seconds, recorded; a whole core is asked for in the middle.
fn recorded(directory: &Path) -> Vec<EventId> {
    let (mut recorder, writer) = start(directory.to_owned(), "demo", 1).unwrap();
    let mut pair = Pair::new(&mut recorder);
    for step in 0..200 {
        pair.step(&mut recorder);
        if step == 100 {
            recorder.core(&pair.cores[0]);
        }
        recorder.flush();
    }
    drop(recorder);
    let statistics = Arc::clone(&writer.statistics);
    writer.wait();
    let counts = statistics.counts();
    assert_eq!((counts.lost, counts.failed, counts.last_error), (0, 0, None));
    assert!(counts.written > 400, "{}", counts.written);
    pair.events
}

#[test]
fn a_recorded_run_is_decided_the_same_way_again_from_each_of_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let events = recorded(directory.path());
    assert!(events.contains(&EventId::LinkRestored) && events.contains(&EventId::ViewInstalled), "{events:?}");
    let files = files(directory.path());
    assert_eq!(files.len(), 2, "{files:?}");
    let (first, outcome) = replayed(&files[0]).unwrap();
    assert_eq!(outcome.end, Some(End::Continued));
    assert!(outcome.inputs >= 200 && outcome.actions > 10, "{outcome:?}");
    let (second, outcome) = replayed(&files[1]).unwrap();
    assert_eq!(outcome.end, Some(End::Stopped));
    assert!(outcome.inputs >= 190, "{outcome:?}");
    assert_eq!([first, second].concat(), events);
}

#[test]
fn every_byte_that_is_flipped_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    recorded(directory.path());
    let path = &files(directory.path())[0];
    let whole = std::fs::read(path).unwrap();
    let other = directory.path().join("flipped");
    // Each byte of the first entries, and some of each that follow.
    for place in (0..400).chain((400..whole.len()).step_by(97)) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        std::fs::write(&other, &bytes).unwrap();
        let error = replayed(&other).expect_err("a flipped byte").to_string();
        let told = ["is damaged", "is cut off", "is no recording"].iter().any(|words| error.contains(words));
        assert!(told, "byte {place}: {error}");
    }
}

#[test]
fn a_file_that_is_cut_says_so_or_ends_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    recorded(directory.path());
    let path = &files(directory.path())[1];
    let whole = std::fs::read(path).unwrap();
    let other = directory.path().join("cut");
    let (mut silent, mut told) = (0, 0);
    for length in (whole.len() - 2_000)..whole.len() {
        std::fs::write(&other, &whole[..length]).unwrap();
        match replayed(&other) {
            Ok((_, outcome)) => {
                assert_eq!(outcome.end, None, "at {length}");
                silent += 1;
            }
            Err(ReplayError::Record(RecordError::CutOff { .. })) => told += 1,
            Err(error) => panic!("at {length}: {error}"),
        }
    }
    assert!(silent > 5 && told > 1_900, "{silent} cuts between entries, {told} within");
    assert!(replayed(Path::new("/nowhere")).unwrap_err().to_string().contains("cannot be read"));
    std::fs::write(&other, "{\"time\":\"2026\"}\n").unwrap();
    assert!(replayed(&other).unwrap_err().to_string().contains("is no recording"));
}

#[test]
fn what_a_full_queue_lost_is_a_gap_and_the_next_file_goes_on_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let statistics = Arc::new(RecordStatistics::default());
    let (producer, consumer) = RingBuffer::new(64 << 10);
    let mut recorder = Recorder::new(producer, Arc::clone(&statistics), std::thread::current());
    let mut pair = Pair::new(&mut recorder);
    // Nobody writes meanwhile.
    let mut steps = 0;
    while statistics.counts().lost < 10 {
        pair.step(&mut recorder);
        steps += 1;
        assert!(steps < 10_000, "the queue is bounded");
    }
    assert!(!recorder.wants_core(), "there is no room for it");
    let events = pair.events.len();
    let writer = std::thread::spawn({
        let (place, statistics) = (directory.path().to_owned(), Arc::clone(&statistics));
        move || Books::new(place, "demo", 1, statistics).run(consumer)
    });
    while !recorder.wants_core() {
        std::thread::yield_now();
    }
    recorder.core(&pair.cores[0]);
    for _ in 0..100 {
        pair.step(&mut recorder);
    }
    drop(recorder);
    writer.join().unwrap();
    let files = files(directory.path());
    assert_eq!(files.len(), 2, "{files:?}");
    let lost = statistics.counts().lost;
    match replayed(&files[0]) {
        Err(ReplayError::Gap { lost: told, .. }) => assert_eq!(told, lost),
        other => panic!("{other:?}"),
    }
    let (after, outcome) = replayed(&files[1]).unwrap();
    assert_eq!((after.as_slice(), outcome.end), (&pair.events[events..], Some(End::Stopped)));
    assert!(outcome.inputs >= 200, "{outcome:?}");
}

#[test]
fn a_decision_that_is_not_the_recorded_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    recorded(directory.path());
    let mut reader = Reader::open(&files(directory.path())[0]).unwrap();
    let mut bytes = Vec::new();
    let mut head = Vec::new();
    Encoder(&mut head).head(reader.head());
    bytes.extend([&frame_header(&head)[..], &head].concat());
    let mut changed = false;
    while let Some(entry) = reader.next().unwrap() {
        let mut content = reader.content().to_vec();
        if let Entry::Action(Action::Event(mut event)) = entry
            && event.id == EventId::ViewInstalled
        {
            event.text = "Another view.".to_owned();
            content = encode_action(&Action::Event(event)).unwrap();
            changed = true;
        }
        bytes.extend([&frame_header(&content)[..], &content].concat());
    }
    assert!(changed);
    let other = directory.path().join("changed");
    std::fs::write(&other, bytes).unwrap();
    let error = replayed(&other).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ReplayError::Differs(_)), "{text}");
    assert!(text.contains("Another view.") && text.contains("is installed."), "{text}");
}

#[test]
fn a_disk_that_refuses_is_counted_and_costs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("blocked");
    std::fs::write(&blocked, "a file").unwrap();
    let (mut recorder, writer) = start(blocked, "demo", 1).unwrap();
    let mut pair = Pair::new(&mut recorder);
    for _ in 0..100 {
        pair.step(&mut recorder);
    }
    drop(recorder);
    let statistics = Arc::clone(&writer.statistics);
    writer.wait();
    let counts = statistics.counts();
    assert_eq!((counts.written, counts.lost), (0, 0));
    assert!(counts.failed > 200, "{counts:?}");
    assert!(counts.last_error.unwrap().contains("blocked"));
    assert!(!statistics.wants_core.load(Ordering::Relaxed), "it is not asked for at once");
}
