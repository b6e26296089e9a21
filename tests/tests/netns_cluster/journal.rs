//! A node whose standard error is the journal: events arrive there with their fields, and no line goes to the stream.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::Path,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use heartbeat_tests::{cluster::Cluster, process::find_program, topology::TopologySpec};

use crate::nodes::{PATIENCE, spec, start_all};

type Entry = BTreeMap<String, String>;

/// As a service manager starts it: the journal's socket where it is known to be, and the name of the stream.
const WRAPPER: &str = r#"#!/bin/sh
exec unshare --mount sh -c '
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind DIRECTORY /run/systemd/journal || exit 9
JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec PROGRAM "$@"' sh "$@"
"#;

/// Native protocol of the journal: `KEY=value`, or the key, a line feed, the length as 8 bytes little endian and the value.
fn parse(mut datagram: &[u8]) -> Entry {
    let mut entry = Entry::new();
    while let Some(end) = datagram.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8(datagram[..end].to_vec()).unwrap();
        datagram = &datagram[end + 1..];
        let (key, value) = if let Some((key, value)) = line.split_once('=') {
            (key.to_owned(), value.to_owned())
        } else {
            let (length, rest) = datagram.split_at(8);
            let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
            let value = String::from_utf8(rest[..length].to_vec()).unwrap();
            datagram = &rest[length + 1..];
            (line, value)
        };
        assert!(entry.insert(key.clone(), value).is_none(), "{key} twice");
    }
    entry
}

/// Takes whatever comes, as the journal does: who logs would wait otherwise.
fn listen(socket: UnixDatagram) -> Receiver<Entry> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut datagram = vec![0; 256 * 1024];
        while let Ok(length) = socket.recv(&mut datagram) {
            if sender.send(parse(&datagram[..length])).is_err() {
                break;
            }
        }
    });
    receiver
}

fn read_until(journal: &Receiver<Entry>, what: &str, fits: impl Fn(&Entry) -> bool) -> Entry {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while let Ok(entry) = journal.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if fits(&entry) {
            return entry;
        }
        seen.push(entry);
    }
    panic!("no {what} in the journal: {seen:?}");
}

fn write_wrapper(place: &Path, journal: &Path) {
    let program = find_program().unwrap();
    let text = WRAPPER.replace("DIRECTORY", journal.to_str().unwrap()).replace("PROGRAM", program.to_str().unwrap());
    fs::write(place, text).unwrap();
    fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn events_go_to_the_journal_with_their_fields() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, wrapper) = (folder.path().join("journal"), folder.path().join("wrapper"));
    fs::create_dir(&directory).unwrap();
    let journal = listen(UnixDatagram::bind(directory.join("socket")).unwrap());
    write_wrapper(&wrapper, &directory);
    let spec = spec(Duration::from_millis(100));
    let mut cluster = Cluster::prepare(TopologySpec::new(2, 2), &spec, &wrapper).unwrap();
    start_all(&mut cluster);
    let is = |entry: &Entry, id: &str| {
        entry.get("HEARTBEAT_EVENT").is_some_and(|event| event == id)
            && entry.get("HEARTBEAT_NODE").is_some_and(|node| node == "1")
    };
    let restored = read_until(&journal, "1122", |entry| is(entry, "1122"));
    for (field, value) in
        [("PRIORITY", "5"), ("SYSLOG_IDENTIFIER", "heartbeat"), ("HEARTBEAT_PEER", "2"), ("HEARTBEAT_SEVERITY", "info")]
    {
        assert_eq!(restored.get(field).map(String::as_str), Some(value), "{field} in {restored:?}");
    }

    cluster.topology().cut(2, 1).unwrap();
    let lost = read_until(&journal, "1123", |entry| is(entry, "1123"));
    let told = cluster.events().wait_for(0, PATIENCE, "1123", |event| event.id() == 1123 && event.node() == 1).unwrap();
    assert_eq!(lost["PRIORITY"], "4", "{lost:?}");
    assert_eq!(lost["MESSAGE"], told.text());
    assert_eq!(Some(lost["HEARTBEAT_NETWORK"].as_str()), told.network());
    assert_eq!(lost["HEARTBEAT_NUMBER"], told.value()["number"].to_string());
    let detail: serde_json::Value = serde_json::from_str(&lost["HEARTBEAT_DETAIL"]).unwrap();
    assert_eq!(detail, *told.detail());

    let text = fs::read_to_string(cluster.node(1).files().log()).unwrap();
    assert!(!text.contains("(1122)") && !text.contains("(1123)"), "{text}");
}
