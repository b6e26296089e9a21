//! The program as its users meet it: arguments in; output, messages and exit codes out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod node;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use heartbeat_user::event::{Draft, Event, kind};

use crate::node::Node;

const CONFIG: &str = r#"
[cluster]
name = "demo"
send_key = 1
key = [{ id = 1, file = "key" }]

[timing]
interval = "100ms"

[[network]]
id = 1
name = "private"
role = "internal"

[[node]]
id = 1
name = "alpha"
addresses = { private = "127.0.0.1" }

[[node]]
id = 2
name = "bravo"
addresses = { private = "127.0.0.2" }

[local]
node = "alpha"
dataplane = "socket"
"#;

fn heartbeat(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_heartbeat")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

/// Runs the program beside the node.
fn ask(node: &Node, arguments: &[&str]) -> Output {
    heartbeat(&[&["--socket", node.socket().to_str().unwrap()], arguments].concat())
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory with a key and a configuration.
fn configured(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    assert_eq!(code(&heartbeat(&["keygen", "--out", key.to_str().unwrap()])), 0);
    let path = directory.path().join("heartbeat.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

#[test]
fn usage_errors_exit_2() {
    for arguments in [
        &[][..],
        &["dance"],
        &["run"],
        &["check-config"],
        &["status", "--jason"],
        &["events", "--since", "yesterday"],
        &["events", "--id", "one"],
        &["run", "--config", "x", "--dataplane", "fast"],
    ] {
        let output = heartbeat(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {output:?}");
        assert_ne!(stderr(&output), "", "{arguments:?}");
    }
    assert_eq!(code(&heartbeat(&["--help"])), 0);
    assert!(stdout(&heartbeat(&["run", "--help"])).contains("nsenter"));
}

#[test]
fn keygen_makes_a_private_file_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let arguments = ["keygen", "--out", path.to_str().unwrap()];
    assert_eq!(code(&heartbeat(&arguments)), 0);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let before = std::fs::read_to_string(&path).unwrap();
    let again = heartbeat(&arguments);
    assert_eq!(code(&again), 1);
    assert!(stderr(&again).contains("is not overwritten"), "{again:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    let printed = stdout(&heartbeat(&["keygen"]));
    assert_eq!((printed.len(), printed == before), (65, false));
}

#[test]
fn check_config_prints_effective_values_and_detection_times() {
    let (_directory, path) = configured(CONFIG);
    let output = heartbeat(&["check-config", path.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{output:?}");
    let text = stdout(&output);
    for words in [
        "is correct",
        "demo (id 2a97516c354b6884)",
        "alpha (id 1)",
        "2 intervals + 12.5ms slack = 212.5ms",
        "6 intervals + 12.5ms slack = 612.5ms",
        "hang_timeout  10s",
        "/var/lib/heartbeat",
        "private 127.0.0.2",
        "by address",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    let here = heartbeat(&["check-config", "--here", path.to_str().unwrap()]);
    assert_eq!(code(&here), 0, "{here:?}");
    assert!(stdout(&here).contains(" lo\n"), "{here:?}");
}

#[test]
fn a_witness_that_is_not_mounted_is_told_before_the_start() {
    let witness = tempfile::tempdir().unwrap();
    let quorum = format!("[quorum]\nwitness = \"{}\"\n[local]", witness.path().display());
    let (_directory, path) = configured(&CONFIG.replacen("[local]", &quorum, 1));
    let check = || heartbeat(&["check-config", "--here", path.to_str().unwrap()]);
    let without = check();
    assert_eq!(code(&without), 1, "{without:?}");
    for words in ["do without the vote of the witness", "heartbeat-witness"] {
        assert!(stderr(&without).contains(words), "{words:?} is not in {without:?}");
    }
    std::fs::write(witness.path().join("heartbeat-witness"), "").unwrap();
    let with = check();
    assert_eq!(code(&with), 0, "{with:?}");
}

#[test]
fn bad_configurations_exit_2_and_name_the_place() {
    for (old, new, expected) in [
        ("100ms", "100", "heartbeat.toml:8: [timing] interval: `100` has no unit"),
        ("interval", "intervall", "heartbeat.toml:8: [timing] intervall: unknown key"),
        ("id = 2", "id = 1", "heartbeat.toml:21: [[node]] id: 1 is already the id of node `alpha`"),
    ] {
        let (_directory, path) = configured(&CONFIG.replace(old, new));
        for command in [&["check-config"][..], &["run", "--config"]] {
            let output = heartbeat(&[command, &[path.to_str().unwrap()]].concat());
            assert_eq!(code(&output), 2, "{output:?}");
            assert!(stderr(&output).contains(expected), "{expected:?} is not in {output:?}");
        }
    }
    let output = heartbeat(&["check-config", "/nowhere/heartbeat.toml"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("/nowhere/heartbeat.toml: cannot be read"), "{output:?}");
}

#[test]
fn run_refuses_what_the_machine_does_not_have_with_exit_2() {
    for (old, new, expected) in [
        ("dataplane = \"socket\"", "bpf_dir = \"/proc\"", "not on a BPF file system"),
        ("dataplane", "interfaces = { private = \"nonesuch0\" }\ndataplane", "no interface `nonesuch0`"),
        ("127.0.0.1", "192.0.2.1", "no interface here has the address 192.0.2.1"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let dirs = format!("[local]\nstate_dir = \"{0}/s\"\nrun_dir = \"{0}/r\"", state.path().display());
        let (_directory, path) = configured(&CONFIG.replacen(old, new, 1).replace("[local]", &dirs));
        for command in [&["check-config", "--here"][..], &["run", "--config"]] {
            let output = heartbeat(&[command, &[path.to_str().unwrap()]].concat());
            assert_eq!(code(&output), 2, "{command:?}: {output:?}");
            assert!(stderr(&output).contains(expected), "{expected:?} is not in {output:?}");
        }
    }
}

#[test]
fn without_a_node_the_message_says_where_it_was_looked_for() {
    for command in [
        &["status"][..],
        &["links"],
        &["events"],
        &["nodes"],
        &["networks"],
        &["interfaces"],
        &["why"],
        &["leave"],
        &["form", "--force"],
        &["confirm-fenced", "3"],
        &["quarantine", "clear", "3"],
    ] {
        let output = heartbeat(&[&["--socket", "/nowhere/heartbeat.sock"], command].concat());
        assert_eq!(code(&output), 1, "{output:?}");
        let text = stderr(&output);
        assert!(text.contains("is the node running?") && text.contains("/nowhere/heartbeat.sock"), "{text}");
    }
}

#[test]
fn status_exits_3_unless_quorate() {
    for (quorate, expected) in [(true, 0), (false, 3)] {
        let node = Node::start(quorate);
        for arguments in [&["status"][..], &["status", "--json"]] {
            assert_eq!(code(&ask(&node, arguments)), expected, "{arguments:?}");
        }
        assert_eq!(code(&ask(&node, &["links"])), 0);
    }
}

#[test]
fn orders_say_what_came_of_them() {
    let node = Node::start(true);
    for (arguments, expected) in [
        (&["form", "--force"][..], "FormForced"),
        (&["confirm-fenced", "3"], "ConfirmFenced(Id(3))"),
        (&["quarantine", "clear", "charlie"], "ClearQuarantine(Name(\"charlie\"))"),
    ] {
        let output = ask(&node, arguments);
        assert_eq!(code(&output), 0, "{output:?}");
        assert!(stdout(&output).starts_with(expected), "{output:?}");
        let json: serde_json::Value =
            serde_json::from_str(&stdout(&ask(&node, &[arguments, &["--json"]].concat()))).unwrap();
        assert_eq!(json["view"]["number"], 5, "{json}");
    }
    let refused = ask(&node, &["confirm-fenced", "9"]);
    assert_eq!(code(&refused), 1, "{refused:?}");
    assert_eq!(stderr(&refused), "heartbeat: there is no node 9 (known: alpha (1))\n");
}

#[test]
fn forming_needs_the_operators_word() {
    let node = Node::start(false);
    let output = ask(&node, &["form"]);
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(stderr(&output).contains("say so with --force"), "{output:?}");
    assert_eq!(stdout(&output), "", "nothing was ordered");
}

#[test]
fn every_table_has_its_json() {
    let node = Node::start(true);
    let status: serde_json::Value = serde_json::from_str(&stdout(&ask(&node, &["status", "--json"]))).unwrap();
    assert_eq!(status["node"]["name"], "alpha");
    for command in ["nodes", "networks", "interfaces", "links"] {
        let json: serde_json::Value = serde_json::from_str(&stdout(&ask(&node, &[command, "--json"]))).unwrap();
        assert_eq!(json, status[command], "{command}");
        let table = stdout(&ask(&node, &[command]));
        assert!(table.lines().count() >= 2, "{command}: {table}");
        assert!(!table.contains('\x1b'), "no colours where there is no terminal: {table:?}");
    }
    assert!(stdout(&ask(&node, &["links"])).contains("bravo  private  up"));
}

#[test]
fn the_last_arrivals_of_a_link_are_told() {
    let node = Node::start(true);
    let table = stdout(&ask(&node, &["links", "--history", "bravo"]));
    assert!(table.starts_with("bravo on private, interval 100ms\n"), "{table}");
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.contains("1.00") && !table.contains('\x1b'), "{table:?}");
    let json = stdout(&ask(&node, &["links", "--history", "bravo", "--network", "private", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["arrivals"][2]["sequence"], 3);
    let refused = ask(&node, &["links", "--history", "charlie"]);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("known: bravo on private"), "{}", stderr(&refused));
    assert_eq!(code(&ask(&node, &["links", "--network", "private"])), 2, "of the history only");
}

#[test]
fn events_are_filtered_and_followed() {
    let node = Node::start(true);
    node.source.events.record(Draft::new(&kind::LINK_LOST, 5, "bravo is late"));
    node.source.events.record(Draft::new(&kind::LINK_RESTORED, 5, "bravo is back"));
    let all = stdout(&ask(&node, &["events"]));
    assert_eq!(all.lines().count(), 2, "{all}");
    assert!(all.contains("Z warning  1123 bravo is late\n"), "{all}");
    let one = stdout(&ask(&node, &["events", "--id", "1122", "--json"]));
    let event: Event = serde_json::from_str(one.trim()).unwrap();
    assert_eq!(event.text, "bravo is back");
    assert_eq!(stdout(&ask(&node, &["events", "--limit", "0"])), "");

    let mut follower = Command::new(env!("CARGO_BIN_EXE_heartbeat"))
        .args(["events", "--follow", "--json", "--socket", node.socket().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Event>(&lines.next().unwrap().unwrap()).unwrap().text;
    assert_eq!([next(), next()], ["bravo is late", "bravo is back"]);
    node.source.events.record(Draft::new(&kind::LINK_LOST, 6, "bravo is late again"));
    assert_eq!(next(), "bravo is late again");
    let socket = node.socket();
    drop(node);
    let end = follower.wait_with_output().unwrap();
    assert_eq!(code(&end), 1);
    assert!(stderr(&end).contains("has ended"), "{end:?}");
    assert!(!Path::new(&socket).exists());
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    let node = Node::start(true);
    for number in 0..2_000 {
        node.source.events.record(Draft::new(&kind::LINK_LOST, 5, format!("{number} {}", "x".repeat(100))));
    }
    let mut program = Command::new(env!("CARGO_BIN_EXE_heartbeat"))
        .args(["events", "--socket", node.socket().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(program.stdout.take());
    let output = program.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{output:?}");
}
