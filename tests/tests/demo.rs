//! `cargo xtask run`: the cluster that people meet first.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use heartbeat_tests::{
    events::{Event, LINK_RESTORED},
    naming::NAMESPACES,
    process::find_program,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// `cargo xtask run` without the building: the program is the one that the other tests use.
fn demo(arguments: &[&str]) -> Command {
    let heartbeat = find_program().unwrap();
    let xtask = heartbeat.with_file_name("xtask");
    assert!(xtask.is_file(), "no {}: `cargo xtask test` builds it", xtask.display());
    let mut command = Command::new(xtask);
    command.arg("run").arg("--program").arg(heartbeat).args(["--interval", "100ms"]).args(arguments);
    command
}

/// A demo that prints events, once it has printed one.
fn running() -> (Child, impl BufRead) {
    let mut child = demo(&["--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    Event::parse(&first).unwrap();
    (child, lines)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

fn namespace_exists(name: &str) -> bool {
    Path::new(NAMESPACES).join(name).exists()
}

/// Runs one for some seconds: success means that it says of every link that it is up.
fn every_link_is_reported(nodes: u64, arguments: &[&str]) {
    let output = demo(&["--json", "--duration", "4s"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let events = output.stdout.lines().map(|line| Event::parse(&line.unwrap()).unwrap());
    let restored = events.filter(|event| event.id() == LINK_RESTORED);
    let links: BTreeSet<(u64, u64, String)> =
        restored.map(|event| (event.node(), event.peer().unwrap(), event.network().unwrap().to_owned())).collect();
    let mut expected = BTreeSet::new();
    for node in 1..=nodes {
        for peer in (1..=nodes).filter(|peer| *peer != node) {
            expected.extend(["private", "public"].map(|network| (node, peer, network.to_owned())));
        }
    }
    assert_eq!(links, expected);
    assert!(!namespace_exists("hb-alpha"), "it removes what it made");
}

#[test]
fn three_nodes_report_every_link() {
    every_link_is_reported(3, &[]);
}

#[test]
fn eight_nodes_report_every_link() {
    every_link_is_reported(8, &["--nodes", "8"]);
}

#[test]
fn ctrl_c_ends_it_and_removes_everything() {
    let (mut child, _lines) = running();
    assert!(namespace_exists("hb-alpha"));
    signal(&child, Signal::SIGINT);
    assert!(child.wait().unwrap().success());
    for name in ["hb-alpha", "hb-bravo", "hb-charlie", "hb-net-private", "hb-net-public"] {
        assert!(!namespace_exists(name), "{name}");
    }
    assert!(!Path::new("/sys/fs/bpf/hb-alpha").exists());
}

#[test]
fn what_a_killed_one_left_is_removed_by_the_next() {
    let (mut child, _lines) = running();
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    assert!(namespace_exists("hb-alpha"), "nothing could remove it");
    every_link_is_reported(3, &[]);
}

#[test]
fn a_second_one_is_refused_and_the_first_goes_on() {
    let (mut child, _lines) = running();
    let output = demo(&["--duration", "1s"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.contains("another `cargo xtask run` is running"), "{stderr}");
    assert!(namespace_exists("hb-alpha"));
    signal(&child, Signal::SIGINT);
    assert!(child.wait().unwrap().success());
}
