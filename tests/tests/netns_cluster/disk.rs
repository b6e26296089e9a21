//! A state directory that is full, or read-only: a node that runs goes on and says so, one that starts refuses.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use heartbeat_tests::{events::Event, topology::TopologySpec};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use serde_json::json;

use crate::nodes::{PATIENCE, prepared, spec, start_all, status};

const INTERVAL: Duration = Duration::from_millis(100);
const STORAGE_FAILING: u64 = 9031;
const STORAGE_RESTORED: u64 = 9032;

/// Mounts of this thread, and of the programs that it starts, are nobody else's from here on.
fn have_own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
}

/// A disk of half a MiB; gone when this is dropped, which has to be before the folder that it is mounted on is removed.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mounted(place: &Path, options: MsFlags) -> Self {
        mount(Some("small"), place, Some("tmpfs"), options, Some("size=512k,mode=0700")).unwrap();
        Self(place.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nodes that still run hold it open; it is out of sight at once.
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

/// Writes until nothing more fits.
fn fill(place: &Path) -> File {
    let mut filler = OpenOptions::new().create(true).append(true).open(place.join("filler")).unwrap();
    for size in [4_096, 1] {
        let bytes = vec![b'x'; size];
        loop {
            match filler.write_all(&bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    filler
}

#[test]
fn a_full_disk_is_told_and_costs_no_membership_and_its_end_is_told_too() {
    have_own_mounts();
    let mut cluster = prepared(TopologySpec::new(3, 2), &spec(INTERVAL));
    let place = cluster.node(1).files().state_directory();
    let _disk = SmallDisk::mounted(&place, MsFlags::empty());
    start_all(&mut cluster);
    let before = status(&cluster, 1);

    let began = cluster.events().len();
    let filler = fill(&place);
    let is = |id: u64| move |event: &Event| event.id() == id && event.node() == 1;
    let failing = cluster.events().wait_for(began, Duration::from_secs(30), "9031", is(STORAGE_FAILING)).unwrap();
    let reason = failing.detail()["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("No space left") && reason.contains("record"), "{reason}");

    // Events go on in memory and over the socket, and are missing on disk.
    let cut = cluster.events().len();
    cluster.topology().cut(1, 2).unwrap();
    let late = |event: &Event| event.id() == 1123 && event.node() == 1;
    cluster.events().wait_for(cut, PATIENCE, "1123 with a full disk", late).unwrap();
    cluster.topology().heal(1, 2).unwrap();
    // A few events more fit into the block that the log has already; each order is one.
    let deadline = Instant::now() + PATIENCE;
    while status(&cluster, 1)["event_log"]["failed"] == 0 {
        assert!(Instant::now() < deadline, "no event is missing on a full disk");
        cluster.node(1).request(&json!({"request": "clear_quarantine", "node": 2})).unwrap();
    }
    let now = status(&cluster, 1);
    assert_eq!((&now["view"]["number"], &now["view"]["quorate"]), (&before["view"]["number"], &true.into()));
    assert!(now["recording"]["last_error"].as_str().unwrap().contains("No space left"), "{}", now["recording"]);
    let received = |status: &serde_json::Value| status["counters"]["accepted"].as_u64().unwrap();
    assert!(received(&now) > received(&before), "heartbeats went on meanwhile");

    drop(filler);
    fs::remove_file(place.join("filler")).unwrap();
    let restored = Duration::from_secs(30);
    cluster.events().wait_for(began, restored, "9032 once there is room", is(STORAGE_RESTORED)).unwrap();
    let after = status(&cluster, 1);
    assert!(after["recording"]["last_error"].is_null(), "{}", after["recording"]);
    assert_eq!(after["view"]["number"], before["view"]["number"]);
    let log = fs::read_to_string(place.join("events.jsonl")).unwrap();
    assert!(log.contains("storage_restored"), "it is written down again");
    assert!(cluster.node_mut(1).terminate().unwrap().success());
}

#[test]
fn without_a_place_for_its_incarnation_a_node_does_not_start() {
    have_own_mounts();
    let mut cluster = prepared(TopologySpec::new(2, 1), &spec(INTERVAL));
    let place = cluster.node(1).files().state_directory();
    for options in [MsFlags::MS_RDONLY, MsFlags::empty()] {
        let disk = SmallDisk::mounted(&place, options);
        let is_full = options.is_empty();
        let filler = is_full.then(|| fill(&place));
        cluster.start_node(1, &[]).unwrap();
        let ended = cluster.node_mut(1).wait(PATIENCE).unwrap();
        assert_eq!(ended.code(), Some(1), "{}", cluster.node(1).log_tail(20));
        let said = cluster.node(1).log_tail(20);
        let expected = if is_full { "cannot be persisted" } else { "must not start" };
        assert!(said.contains(expected) && said.contains("state"), "{said}");
        drop(filler);
        drop(disk);
    }
    // With the disk as it was there is nothing in the way.
    start_all(&mut cluster);
}
