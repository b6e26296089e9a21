//! What real nodes send while they find each other, form, and part.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use heartbeat_common::wire;
use heartbeat_tests::{
    cluster::Cluster, config::ClusterSpec, events::Event, namespace::Namespace, process::find_program,
    topology::TopologySpec,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::tshark::{run, script, tshark};

const PATIENCE: Duration = Duration::from_secs(30);
const VIEW_INSTALLED: u64 = 9007;
const NODE_LEFT: u64 = 9006;

/// Starts a capture of everything to port 3343 that passes an interface; it runs when this returns.
fn capture(namespace: &Namespace, interface: &str, file: &Path) -> Child {
    let mut command: Command = namespace.command("tcpdump").unwrap();
    command.args(["-i", interface, "--immediate-mode", "-U", "-w"]).arg(file).args([
        "--time-stamp-precision=nano",
        "udp",
        "port",
        "3343",
    ]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The head of the file is written once it listens.
    wait_until("tcpdump (package tcpdump) has begun", || fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0));
    child
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_real_nodes_send_is_named_throughout() {
    let spec = ClusterSpec::new("200ms");
    let mut cluster = Cluster::prepare(TopologySpec::new(3, 1), &spec, &find_program().unwrap()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture.pcap");
    // The end of alpha's cable in the switch: no program takes frames away there.
    let mut tcpdump = capture(cluster.topology().network(1), "alpha", &file);
    for node in [1, 2, 3] {
        cluster.start_node(node, &[]).unwrap();
    }
    let everybody_in = |event: &Event| {
        event.node() == 1
            && event.id() == VIEW_INSTALLED
            && event.detail()["members"].as_array().map(Vec::len) == Some(3)
    };
    cluster.events().wait_for(0, PATIENCE, "a view of all three", everybody_in).unwrap();
    let place = cluster.events().len();
    cluster.node_mut(3).terminate().unwrap();
    let left = |event: &Event| event.node() == 1 && event.id() == NODE_LEFT;
    cluster.events().wait_for(place, PATIENCE, "9006 at alpha", left).unwrap();
    let two = |event: &Event| event.node() == 1 && event.id() == VIEW_INSTALLED;
    cluster.events().wait_for(place, PATIENCE, "a view of the other two", two).unwrap();
    let leave = [wire::MAGIC.as_slice(), &[wire::VERSION, wire::KIND_LEAVE]].concat();
    wait_until("the leave is in the capture", || {
        fs::read(&file).is_ok_and(|bytes| bytes.windows(leave.len()).any(|window| window == leave))
    });
    kill(Pid::from_raw(tcpdump.id().cast_signed()), Signal::SIGTERM).unwrap();
    tcpdump.wait().unwrap();

    let mut everything = tshark(&script(), &file);
    everything.arg("-V");
    let shown = run(everything);
    let mistakes = [
        "Lua Error",
        "Ends before its last field",
        "Refused by receivers",
        "no name for",
        "of an unknown kind",
        "Unknown (",
    ];
    for mistake in mistakes {
        assert!(!shown.contains(mistake), "{mistake}:\n{}", crate::around(&shown, mistake));
    }
    let mut fields = tshark(&script(), &file);
    fields.args(["-T", "fields", "-E", "separator=/t", "-e", "clhb.kind", "-e", "clhb.round_trip_us"]);
    let lines = run(fields);
    let rows: Vec<(u8, Option<f64>)> = lines
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(kind, trip)| (kind.parse().unwrap(), trip.parse().ok()))
        .collect();
    let kinds: BTreeSet<u8> = rows.iter().map(|(kind, _)| *kind).collect();
    let wanted = [1, 16, 17, 18, 24, 29];
    assert!(wanted.iter().all(|kind| kinds.contains(kind)), "heartbeats, handshake, regroup, leave: {kinds:?}");
    let trips: Vec<f64> = rows.iter().filter_map(|(_, trip)| *trip).collect();
    assert!(trips.len() >= 3, "{trips:?}");
    // The kernels' clocks stamp both ends: no more than a rounding below 0, and far from an interval.
    assert!(trips.iter().all(|trip| (-1_000.0..200_000.0).contains(trip)), "{trips:?}");
}
