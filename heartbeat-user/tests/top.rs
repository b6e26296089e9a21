//! `heartbeat top` on a real terminal: what is drawn, how it ends, and that the terminal is as before afterwards.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod node;
mod terminal;

use std::process::Command;

use heartbeat_user::event::{Draft, kind};
use nix::sys::signal::Signal;

use crate::node::Node;
use crate::terminal::Terminal;

fn top(node: &Node) -> Terminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
    command.arg("--socket").arg(node.socket()).arg("top");
    Terminal::start(command, 24, 80)
}

#[test]
fn keys_and_signals_end_it_and_the_terminal_is_as_before() {
    let node = Node::start(true);
    type End = (&'static str, fn(&mut Terminal));
    let ends: [End; 5] = [
        ("q", |terminal| terminal.press(b"q")),
        ("Ctrl-C", |terminal| terminal.press(b"\x03")),
        ("SIGTERM", |terminal| terminal.signal(Signal::SIGTERM)),
        ("SIGHUP", |terminal| terminal.signal(Signal::SIGHUP)),
        ("SIGINT", |terminal| terminal.signal(Signal::SIGINT)),
    ];
    for (name, end) in ends {
        let mut terminal = top(&node);
        terminal.wait_for("cluster demo, node alpha (1)");
        assert!(terminal.is_in_use(), "{name}");
        end(&mut terminal);
        assert_eq!(terminal.end(), Some(0), "{name}");
        assert!(!terminal.is_in_use(), "{name}");
        assert_eq!(terminal.shown().trim(), "", "{name}: what stood there before stands there again");
    }
}

#[test]
fn it_fills_a_terminal_that_grows_and_shrinks() {
    let node = Node::start(true);
    for number in 0..60 {
        node.source.events.record(Draft::new(&kind::LINK_LOST, 5, format!("event {number}.")));
    }
    let mut terminal = top(&node);
    terminal.wait_for("event 59.");
    assert!(!terminal.shown().contains("event 39."), "{}", terminal.shown());
    terminal.resize(50, 200);
    terminal.wait_until("more events, down to the last line", |shown| {
        shown.contains("event 39.") && shown.lines().last().is_some_and(|line| line.ends_with("event 59."))
    });
    terminal.resize(12, 40);
    terminal.wait_for("gap 10.0ms;~");
    terminal.press(b"q");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn without_a_node_it_says_so_and_finds_it_when_it_comes() {
    let nowhere = tempfile::tempdir().unwrap();
    let socket = nowhere.path().join("heartbeat.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
    command.arg("--socket").arg(&socket).arg("top");
    let mut terminal = Terminal::start(command, 24, 80);
    terminal.wait_for("NO ANSWER: ");
    terminal.wait_for("running?");
    assert!(!terminal.shown().contains("is old"), "{}", terminal.shown());
    let node = Node::start(true);
    std::os::unix::fs::symlink(node.socket(), &socket).unwrap();
    terminal.wait_for("cluster demo, node alpha (1)");
    assert!(!terminal.shown().contains("NO ANSWER"), "{}", terminal.shown());
    drop(node);
    terminal.wait_for("NO ANSWER, what is below is old: ");
    terminal.press(b"q");
    assert_eq!(terminal.end(), Some(0));
}
