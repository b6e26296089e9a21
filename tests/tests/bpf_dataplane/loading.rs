//! Loading: what operators see of the maps, and of a failure.

use std::{collections::BTreeSet, io, process::Command, time::Duration};

use aya::programs::ProgramError;
use aya_obj::VerifierLog;
use bytemuck::Zeroable as _;
use heartbeat_common::{
    ids::{MAX_NETWORK, MAX_NODE, link_index},
    notice::{NOTICE_LOCAL_STALL, Notice},
    records::{ACTIVE_COUNTING, ACTIVE_LAST, ActiveRecord, PeerRecord, STATE_LATE, STATE_SILENT, TimingRecord},
    reject::Reject,
    specimen::{
        Frame, World,
        world::{PEER, PLAIN},
    },
};
use heartbeat_tests::clock::monotonic_ns;
use heartbeat_user::dataplane::{
    kernel::Kernel,
    memory::Sizes,
    object::{self, Entries, LoadError, MAPS},
};

use crate::rig::{Action, IFINDEX, PATIENCE, PinFolder, Rig, deliver, sizes, timing, wait_for_scans};

fn dump(pins: &PinFolder, map: &str) -> String {
    let output = Command::new("bpftool").args(["map", "dump", "pinned"]).arg(pins.path().join(map)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The value of a field where it is not 0: other elements and processors hold zeros.
fn has(dump: &str, field: &str, value: u64) -> bool {
    dump.lines().any(|line| line.trim().trim_end_matches(',') == format!("\"{field}\": {value}"))
}

#[test]
fn bpftool_shows_links_with_the_names_of_their_fields() {
    let pins = PinFolder::new();
    let mut rig = Rig::load(Some(pins.path()));
    for sequence in [10, 11, 14, 13, 13] {
        rig.deliver(&Frame::heartbeat(PLAIN, sequence).to_bytes());
    }
    let link = rig.link(PEER, PLAIN);
    let dump = dump(&pins, "LINKS");
    for (field, value) in [
        ("lock", link.lock),
        ("epoch", link.epoch),
        ("incarnation", link.incarnation),
        ("stamp_ns", link.stamp_ns),
        ("sent_ns", link.sent_ns),
        ("previous_stamp_ns", link.previous_stamp_ns),
        ("view", link.view),
        ("echo_sent_ns", link.echo_sent_ns),
        ("echo_stamp_ns", link.echo_stamp_ns),
        ("echo_hold_us", link.echo_hold_us.into()),
        ("controller_age_ms", link.controller_age_ms.into()),
        ("controller_beat", link.controller_beat),
        ("flags", link.flags.into()),
        ("received", 4),
        ("lost", 1),
        ("duplicates", 1),
        ("reordered", 1),
        ("longest_gap_ns", link.longest_gap_ns),
        ("acknowledged_episode", 0),
        ("arrival_cursor", 4),
        ("newest", 14),
    ] {
        assert!(has(&dump, field, value), "no \"{field}\": {value} in\n{dump}");
    }
}

#[test]
fn bpftool_shows_rejects_with_the_names_of_the_reasons() {
    let pins = PinFolder::new();
    let mut rig = Rig::load(Some(pins.path()));
    let mut frame = Frame::heartbeat(PLAIN, 1);
    frame.time_to_live = 64;
    rig.deliver_often(&frame.to_bytes(), 77);
    let dump = dump(&pins, "REJECTS");
    for reason in Reject::ALL {
        assert!(dump.contains(&format!("\"{}\":", reason.name())), "no {} in\n{dump}", reason.name());
    }
    assert!(has(&dump, "ttl", 77), "{dump}");
}

#[test]
fn every_map_of_the_object_is_pinned_with_the_size_that_was_asked_for() {
    let pins = PinFolder::new();
    let mut rig = Rig::load(Some(pins.path()));
    let listed: BTreeSet<String> = MAPS.iter().map(|(name, _, _)| (*name).to_owned()).collect();
    let pinned: BTreeSet<String> = std::fs::read_dir(pins.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(pinned, listed);
    // The two that a rig takes out of the object to read them are in the list above.
    let loaded: BTreeSet<String> = rig.kernel.object_mut().maps().map(|(name, _)| name.to_owned()).collect();
    assert!(loaded.is_subset(&listed), "{loaded:?}");
    for (name, entries, value_size) in MAPS {
        let info = aya::maps::MapInfo::from_pin(pins.path().join(name)).unwrap();
        assert_eq!(info.value_size(), value_size, "{name}");
        let expected = match entries {
            Entries::Fixed => continue,
            Entries::Links => sizes().links,
            Entries::Nodes => sizes().nodes,
        };
        assert_eq!(info.max_entries(), expected, "{name}");
    }
}

/// `cargo xtask run --trace` runs another build of the program, with the same outcome for every frame.
#[test]
fn the_trace_build_loads_and_books() {
    let mut kernel = Kernel::load(sizes(), None, true).unwrap();
    let (memory, world) = (kernel.memory(sizes()).unwrap(), World::new(IFINDEX));
    kernel.set_keys(&world.keys).unwrap();
    kernel.set_networks(&world.networks).unwrap();
    memory.node.write(0, &world.node);
    for (link, peer) in (0..).zip(&world.peers) {
        memory.peers.write(link, peer);
    }
    let heartbeat = Frame::heartbeat(PLAIN, 1).to_bytes();
    assert_eq!(deliver(kernel.receiver().unwrap(), &heartbeat, 3), Action::Drop);
    let other = Frame { destination_port: 53, ..Frame::heartbeat(PLAIN, 2) }.to_bytes();
    assert_eq!(deliver(kernel.receiver().unwrap(), &other, 1), Action::Pass);
    let link = memory.links.read_locked(link_index(PEER, PLAIN)).unwrap();
    assert_eq!((link.received, link.duplicates), (1, 2));
}

/// 1,024 nodes on 8 networks: everything that the limits allow.
#[test]
fn the_largest_cluster_fits_and_is_judged() {
    let sizes = Sizes::for_nodes_up_to(MAX_NODE);
    let mut kernel = Kernel::load(sizes, None, false).unwrap();
    let (memory, counts) = (kernel.memory(sizes).unwrap(), kernel.take_counts().unwrap());
    let mut ring = kernel.take_ring().unwrap();
    let since_ns = monotonic_ns();
    let mut active = Vec::new();
    for node in 2..=MAX_NODE {
        for network in 1..=MAX_NETWORK {
            let link = link_index(node, network);
            let record =
                PeerRecord { incarnation: 1, epoch: 1, unicast_start: 1, since_ns, present: 1, ..PeerRecord::zeroed() };
            memory.peers.write(link, &record);
            let last = if network == MAX_NETWORK { ACTIVE_LAST } else { 0 };
            active.push(ActiveRecord { link, flags: ACTIVE_COUNTING | last });
        }
    }
    let interval = Duration::from_millis(100);
    let timing = TimingRecord { active_links: active.len() as u64, ..timing(interval) };
    kernel.set_judging(&timing, &active).unwrap();
    kernel.start_judge().unwrap();

    let (peers, links) = (u64::from(MAX_NODE) - 1, active.len() as u64);
    let end_ns = monotonic_ns() + PATIENCE.as_nanos() as u64;
    while memory.peer_verdicts.read(MAX_NODE.into()).unwrap().state != STATE_SILENT {
        assert!(monotonic_ns() < end_ns, "{:#?}", memory.judge.read(0));
        wait_for_scans(&memory, 1);
    }
    for node in 2..=MAX_NODE {
        assert_eq!(memory.peer_verdicts.read(node.into()).unwrap().state, STATE_SILENT, "node {node}");
        for network in 1..=MAX_NETWORK {
            let state = memory.verdicts.read(link_index(node, network)).unwrap().state;
            assert_eq!(state, STATE_LATE, "node {node}, network {network}");
        }
    }
    // What nobody read in time is counted: more changes than the ring has room for.
    let mut told = 0;
    while let Some(item) = ring.next() {
        let notice = *bytemuck::from_bytes::<Notice>(&item);
        told += u64::from(notice.kind != NOTICE_LOCAL_STALL);
    }
    let (_, counters) = counts.read().unwrap();
    let stalls = memory.judge.read(0).unwrap().stalls.count;
    let lost = counters.ring_full;
    assert!((peers + links..=peers + links + stalls).contains(&(told + lost)), "{told} told, {lost} lost");
    assert!(lost > 0, "room for everything: the ring's size and its reason do not agree");
}

#[test]
fn a_refused_program_shows_the_end_of_the_verifier_s_log() {
    let lines: Vec<String> = (0..5_000).map(|line| format!("{line}: (bf) r{} = r{}\n", line % 10, line % 7)).collect();
    let log = format!("{}\n\nR1 invalid mem access 'scalar'\nprocessed 5000 insns\n\n", lines.concat());
    let refused = ProgramError::LoadError {
        io_error: io::Error::from_raw_os_error(libc::EACCES),
        verifier_log: VerifierLog::new(log),
    };
    let text = object::program_error("heartbeat", &refused).to_string();
    assert!(text.contains("`heartbeat`") && text.contains("Permission denied"), "{text}");
    assert!(text.ends_with("R1 invalid mem access 'scalar'\nprocessed 5000 insns"), "{text}");
    assert!(text.contains("4999: ") && !text.contains("4900: "), "{text}");
    assert!(text.lines().count() <= 25 && text.lines().all(|line| !line.trim().is_empty()), "{text}");
}

#[test]
fn a_short_log_is_shown_whole_and_another_error_as_it_is() {
    let refused = ProgramError::LoadError {
        io_error: io::Error::from_raw_os_error(libc::EPERM),
        verifier_log: VerifierLog::new("one\ntwo".to_owned()),
    };
    assert!(object::program_error("judge", &refused).to_string().ends_with("\none\ntwo"));
    let LoadError::Program { program, reason, log } = object::program_error("judge", &ProgramError::NotLoaded) else {
        panic!("an error of a program is of a program");
    };
    assert_eq!((program, log.as_str()), ("judge", ""));
    assert!(!reason.is_empty());
}
