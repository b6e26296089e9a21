//! What the documents say, compared with the code.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeMap, path::Path};

use heartbeat_common::{
    auth::{HeartbeatKey, tag_bytes},
    reject::Reject,
    wire::{self, Heartbeat},
};
use heartbeat_membership::message::{
    Answer, Hello, Join, Kind, Leave, NextSequences, Poison,
    connectivity::{Connectivity, NetworkStates},
    hello::Statement,
    regroup::{self, Regroup},
};
use heartbeat_membership::network_state::{NetworkReport, NetworkState};
use heartbeat_membership::{ConfigDigest, Incarnation, NetworkId, NodeId, NodeSet, Stage, ViewId};
use heartbeat_user::{
    control::{BODY_LENGTH_MAX, Envelope, Signer},
    dataplane::object::MAPS,
    keys::{DerivedKeys, Secret, cluster_id},
};

const PROTOCOL: &str = include_str!("../../docs/protocol.md");
const BPFTOOL: &str = include_str!("../../docs/bpftool.md");
const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");

/// Cells of the rows of the table under a heading, up to the next heading.
fn rows(document: &'static str, heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = document.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let section = section.split("\n#").next().unwrap_or(section);
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .skip(1)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "no table under {heading}");
    rows
}

/// Offset and size of each field of the table under a heading, as far as they are numbers.
fn fields(heading: &str) -> Vec<(usize, usize)> {
    rows(PROTOCOL, heading).iter().filter_map(|row| Some((row[0].parse().ok()?, row[1].parse().ok()?))).collect()
}

/// Fields lie one behind the other, and end where the heading says.
fn assert_gapless(heading: &str, length: usize) {
    let end = fields(heading).into_iter().fold(0, |end, (offset, size)| {
        assert_eq!(offset, end, "{heading}: a gap or an overlap before {offset}");
        offset + size
    });
    assert_eq!(end, length, "{heading}");
}

fn example() -> (DerivedKeys, Signer) {
    let secret: [u8; 32] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let keys = Secret::from_bytes(secret).derive(cluster_id("demo"));
    let signer = Signer {
        cluster_id: cluster_id("demo"),
        node: 1,
        key_id: 1,
        heartbeat_key: HeartbeatKey::from_bytes(keys.heartbeat_key),
        control_key: keys.control_key,
    };
    (keys, signer)
}

fn envelope(kind: u8, sequence: u64) -> Envelope {
    let incarnation = 1_700_000_000_000_000_000;
    Envelope { kind, destination: 2, network: 1, incarnation, sequence, sent_ns: 123_456_789, view: 7 }
}

/// The hexadecimal lines of the document without their indentation and line breaks.
fn printed(bytes: &[u8]) -> bool {
    let digits: String = PROTOCOL.lines().filter_map(|line| line.strip_prefix("    ")).map(str::trim).collect();
    digits.contains(&hex::encode(bytes))
}

#[test]
fn the_test_vectors_are_what_the_code_computes() {
    let (keys, signer) = example();
    assert!(printed(&cluster_id("demo")) && printed(&keys.heartbeat_key) && printed(&keys.control_key));

    let mut heartbeat = Heartbeat {
        header: signer.header(&envelope(wire::KIND_HEARTBEAT, 42), 0, 96),
        echo_sent_ns: 987_654_321_u64.to_be_bytes(),
        echo_hold_us: 250_u32.to_be_bytes(),
        controller_age_ms: 3_u32.to_be_bytes(),
        controller_beat: 99_u64.to_be_bytes(),
        tag: [0; 16],
    };
    let tagged: &[u8; wire::HEARTBEAT_TAGGED_LENGTH] = heartbeat.as_bytes().first_chunk().unwrap();
    heartbeat.tag = tag_bytes(signer.heartbeat_key, tagged).to_bytes();
    assert!(printed(heartbeat.as_bytes()), "heartbeat: {}", hex::encode(heartbeat.as_bytes()));

    let body = Leave { incarnation: Incarnation(1_700_000_000_000_000_000) }.encode();
    let mut message = Vec::new();
    signer.seal(&envelope(wire::KIND_LEAVE, 5), &body, &mut message).unwrap();
    assert!(printed(&message), "control message: {}", hex::encode(&message));
}

#[test]
fn exactly_the_kinds_that_exist_are_listed() {
    let listed: Vec<u8> = rows(PROTOCOL, "## Kinds").iter().map(|row| row[0].parse().unwrap()).collect();
    let existing: Vec<u8> = std::iter::once(wire::KIND_HEARTBEAT)
        .chain((wire::KIND_CONTROL_FIRST..=u8::MAX).filter(|kind| Kind::from_byte(*kind).is_some()))
        .collect();
    assert_eq!(listed, existing);
    for row in rows(PROTOCOL, "## Kinds").iter().skip(1) {
        let sequenced = row[0].parse::<u8>().unwrap() >= wire::KIND_SEQUENCED_FIRST;
        assert_eq!(row[2] != "no", sequenced, "{row:?}");
    }
}

#[test]
fn fields_lie_where_the_layouts_put_them() {
    assert_gapless("## Common header, 56 bytes", wire::HEADER_LENGTH);
    assert_gapless("## Heartbeat (1), 96 bytes", wire::HEARTBEAT_LENGTH);
    let header: Vec<(usize, usize)> = fields("## Common header, 56 bytes");
    for (name, offset) in [
        ("length", std::mem::offset_of!(wire::Header, length)),
        ("sequence", std::mem::offset_of!(wire::Header, sequence)),
        ("view", std::mem::offset_of!(wire::Header, view)),
    ] {
        let row = rows(PROTOCOL, "## Common header, 56 bytes").iter().position(|row| row[2] == name).unwrap();
        assert_eq!(header[row].0, offset, "{name}");
    }
    assert_gapless(
        "### Poison (30), 32 bytes",
        Poison { incarnation: Incarnation(1), view: ViewId::NONE }.encode().len(),
    );
    assert_gapless("### Leave (29), 8 bytes", Leave { incarnation: Incarnation(1) }.encode().len());

    let statement = Statement {
        incarnation: Incarnation(1),
        receiver: 0,
        highest: 0,
        abi: 1,
        in_view: false,
        duplicate: false,
        digest: ConfigDigest([0; 32]),
        staged: None,
    };
    assert_gapless("### Hello (16), 112 bytes", Hello { challenge: [0; 16], statement }.encode().len());
    let next = NextSequences { network: NetworkId(1), unicast: 1, multicast: 1, control: 1 };
    let answer =
        |networks| Answer { challenge: [0; 16], answer: [0; 16], statement, next: vec![next; networks] }.encode();
    assert_gapless("### Hello-ack (17) and hello-done (18), 136 bytes and 32 for each network", answer(0).len());
    assert_eq!(answer(1).len(), 136 + 32);

    let rows = BTreeMap::new();
    assert_gapless(
        "### Connectivity (20), 24 bytes, 2 + m for each network, and 32",
        Connectivity { view: 1, version: 1, rows, ..Connectivity::default() }.encode(3).len() - 32,
    );
    let rows = [(NetworkId(1), (NodeSet::EMPTY, false))].into();
    assert_eq!(Connectivity { view: 1, version: 1, rows, ..Connectivity::default() }.encode(3).len(), 24 + 2 + 3 + 32);
    let networks = BTreeMap::new();
    assert_gapless(
        "### Network states (32), 24 bytes and 2 + 3m for each network",
        NetworkStates { view: 1, version: 1, networks }.encode(3).len(),
    );
    let report = NetworkReport { state: NetworkState::Up, interfaces: BTreeMap::new() };
    let networks = [(NetworkId(1), report)].into();
    assert_eq!(NetworkStates { view: 1, version: 1, networks }.encode(3).len(), 24 + 2 + 3 * 3);

    let join = Join { incarnation: Incarnation(1), sequence: 0, epoch: 0, hears: NodeSet::EMPTY };
    assert_gapless("### Join (28), 24 bytes and a mask", join.encode(3).len() - 3);
    let regroup = Regroup {
        sequence: 1,
        base: ViewId::NONE,
        stage: Stage::Activate,
        reason: regroup::Reason::Form,
        reply: false,
        trigger: None,
        joiner: None,
        epoch: 0,
        bound: 0,
        reached: [NodeSet::EMPTY; 4],
        left: NodeSet::EMPTY,
        may_form: NodeSet::EMPTY,
        decision: None,
        ages: Vec::new(),
        heard_on: Vec::new(),
        rows: Vec::new(),
        weak: Vec::new(),
    };
    assert_gapless("### Regroup (24)", regroup.encode(1).len() - 32);
    let with_row = Regroup { rows: vec![(NodeId(1), NodeSet::EMPTY)], ..regroup };
    assert_eq!(with_row.encode(5).len(), 96 + 2 + 5 + 32);
    assert_eq!((BODY_LENGTH_MAX, regroup::MAX_BODY), (1348, 1348));
    assert_eq!(wire::MESSAGE_LENGTH_MAX, 1452);
}

#[test]
fn every_reason_for_refusal_has_its_row_in_the_order_of_the_checks() {
    let mut listed = Vec::new();
    for row in rows(PROTOCOL, "## Acceptance") {
        let name = row[1].trim_matches('`');
        assert!(Reject::ALL.iter().any(|reason| reason.name() == name), "{name} is no reason");
        if !listed.contains(&name) {
            listed.push(name);
        }
    }
    let existing: Vec<&str> = Reject::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(listed, existing);
}

#[test]
fn every_map_is_described() {
    let described: Vec<&str> = rows(BPFTOOL, "## The maps").iter().map(|row| row[0].trim_matches('`')).collect();
    let existing: Vec<&str> = MAPS.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(described, existing);
}

/// Every file and folder that the architecture names in a code map exists.
#[test]
fn the_code_map_leads_to_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (_, map) = ARCHITECTURE.split_once("\n## Code map\n").unwrap();
    let map = map.split("\n## ").next().unwrap();
    let mut folder = "";
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for line in map.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            folder = heading.trim_matches('`');
            assert!(root.join(folder).is_dir(), "no folder {folder}");
        }
        let Some(cell) = line.strip_prefix("| ").and_then(|row| row.split('|').next()) else { continue };
        for name in cell.split('`').skip(1).step_by(2) {
            assert!(root.join(folder).join(name).exists(), "{folder}/{name} does not exist");
            *found.entry(folder).or_default() += 1;
        }
    }
    assert!(found.len() >= 6, "{found:?}");
}
