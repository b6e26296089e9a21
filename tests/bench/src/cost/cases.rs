//! The datagrams, and the programs that they go through.

use heartbeat_common::{ids, records::PeerRecord, reject::Reject};
use heartbeat_user::dataplane::memory::Memory;

use crate::frames::{self, Beat};

/// Peers of the node under test, by what their heartbeats are for.
pub(super) const PEERS: [u16; 3] = [ACCEPTED, REPEATED, FORGOTTEN];
const ACCEPTED: u16 = 2;
const REPEATED: u16 = 3;
const FORGOTTEN: u16 = 4;
/// Not in the configuration.
const STRANGER: u16 = 5;
const NETWORK: u8 = 1;
/// A slot without a key.
const EMPTY_KEY_SLOT: u8 = 3;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// Names of baselines.
pub(super) const EMPTY: &str = "empty program";
pub(super) const FRESH_EMPTY: &str = "new heartbeat made, then the empty program";

/// Which program runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    /// The one that nodes attach.
    DataPlane,
    /// One of the benchmark's.
    Bench(&'static str),
}

/// How it has to end; checked in every pass.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Verdict(u32),
    AnyVerdict,
    Accepted,
    Refused(Reject),
}

/// One row of the table.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) group: Group,
    pub(super) subject: Subject,
    pub(super) frame: Vec<u8>,
    pub(super) expected: Expected,
    /// Case whose time is taken off.
    pub(super) baseline: Option<&'static str>,
    /// Most that the difference should be.
    pub(super) target: Option<i64>,
    /// The heartbeat that the frame holds, where each pass needs a later one.
    advancing: Option<Beat>,
}

/// Which table a case stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Baseline,
    DataPlane,
    Step,
}

impl Case {
    /// The next pass goes on where this one ended.
    pub(super) fn advance(&mut self, repeat: u32) {
        if let Some(beat) = &mut self.advancing {
            beat.sequence += u64::from(repeat);
            beat.sent_ns += u64::from(repeat) * 1_000_000;
            self.frame = frames::heartbeat(MAC, *beat).to_vec();
        }
    }
}

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Makes the incarnation of one peer another one than its heartbeats carry.
pub(super) fn forget_incarnation(memory: &Memory) {
    let index = ids::link_index(FORGOTTEN, NETWORK);
    if let Some(record) = memory.peers.read(index) {
        memory.peers.write(index, &PeerRecord { incarnation: record.incarnation + 1, ..record });
    }
}

/// All cases; baselines stand before what refers to them.
pub(super) fn all() -> Vec<Case> {
    let mut cases = vec![
        case(Group::Baseline, EMPTY, Subject::Bench("empty"), good(REPEATED), Expected::Verdict(XDP_DROP), None),
        fresh(FRESH_EMPTY, "fresh_empty", Expected::Verdict(XDP_DROP), Group::Baseline, None, None),
    ];
    cases.extend(passed_on());
    cases.extend(refused());
    cases.push(fresh(
        "heartbeat accepted",
        "fresh_subject",
        Expected::Accepted,
        Group::DataPlane,
        Some(FRESH_EMPTY),
        Some(150),
    ));
    cases.extend(steps());
    cases
}

fn passed_on() -> Vec<Case> {
    let passed = |name, edit: &dyn Fn(&mut [u8])| {
        let frame = edited(good(REPEATED), edit);
        case(Group::DataPlane, name, Subject::DataPlane, frame, Expected::Verdict(XDP_PASS), Some(12))
    };
    vec![
        passed("TCP", &|frame| frame[frames::PROTOCOL] = frames::TCP),
        passed("UDP to another port", &|frame| frame[frames::PORT] ^= 1),
        passed("UDP 3343 to another address", &|frame| frame[frames::DESTINATION_LAST] = 99),
    ]
}

fn refused() -> Vec<Case> {
    const SOURCE: usize = frames::PAYLOAD + 17;
    const DESTINATION: usize = frames::PAYLOAD + 19;
    const CLUSTER: usize = frames::PAYLOAD + 8;
    let refused = |name, reason, frame, target| {
        case(Group::DataPlane, name, Subject::DataPlane, frame, Expected::Refused(reason), target)
    };
    let altered = |offset: usize| edited(good(REPEATED), &move |frame| frame[offset] ^= 0xff);
    let empty_slot = Beat { key_id: EMPTY_KEY_SLOT, ..Beat::first(REPEATED, NETWORK) };
    vec![
        refused("bad magic", Reject::Malformed, altered(frames::PAYLOAD), Some(15)),
        refused("another cluster", Reject::Cluster, altered(CLUSTER), None),
        refused("another destination", Reject::Destination, altered(DESTINATION), None),
        refused(
            "unknown peer",
            Reject::UnknownPeer,
            edited(good(REPEATED), &|frame| frame[SOURCE] = STRANGER.to_le_bytes()[0]),
            None,
        ),
        refused("TTL 64", Reject::Ttl, edited(good(REPEATED), &|frame| frame[frames::TIME_TO_LIVE] = 64), None),
        refused("empty key slot", Reject::UnknownKey, frames::heartbeat(MAC, empty_slot).to_vec(), None),
        refused("bad tag", Reject::BadTag, altered(frames::LENGTH - 1), Some(100)),
        refused("another incarnation", Reject::WrongIncarnation, good(FORGOTTEN), None),
        refused("duplicate", Reject::Duplicate, good(REPEATED), None),
    ]
}

fn steps() -> Vec<Case> {
    let step =
        |name, program, frame| case(Group::Step, name, Subject::Bench(program), frame, Expected::AnyVerdict, None);
    let empty_slot = Beat { key_id: EMPTY_KEY_SLOT, ..Beat::first(REPEATED, NETWORK) };
    vec![
        step("parse Ethernet, IP, UDP", "step_parse", good(REPEATED)),
        step("+ addressed to us?", "step_ingress", good(REPEATED)),
        step("+ common header", "step_header", good(REPEATED)),
        step("+ node, peer, key", "step_verify", frames::heartbeat(MAC, empty_slot).to_vec()),
        step("+ tag, fields read", "step_verify", good(REPEATED)),
        step("alone: the tag", "step_tag", good(REPEATED)),
        step("alone: the clock", "step_clock", good(REPEATED)),
    ]
}

fn good(node: u16) -> Vec<u8> {
    frames::heartbeat(MAC, Beat::first(node, NETWORK)).to_vec()
}

fn edited(mut frame: Vec<u8>, edit: &dyn Fn(&mut [u8])) -> Vec<u8> {
    edit(&mut frame);
    frame
}

fn case(
    group: Group,
    name: &'static str,
    subject: Subject,
    frame: Vec<u8>,
    expected: Expected,
    target: Option<i64>,
) -> Case {
    let baseline = (name != EMPTY).then_some(EMPTY);
    Case { name, group, subject, frame, expected, baseline, target, advancing: None }
}

fn fresh(
    name: &'static str,
    program: &'static str,
    expected: Expected,
    group: Group,
    baseline: Option<&'static str>,
    target: Option<i64>,
) -> Case {
    let beat = Beat::first(ACCEPTED, NETWORK);
    Case {
        name,
        group,
        subject: Subject::Bench(program),
        frame: frames::heartbeat(MAC, beat).to_vec(),
        expected,
        baseline,
        target,
        advancing: Some(beat),
    }
}
