//! docs/quickstart.md, followed literally on three machines.

use std::{fs, path::Path};

use heartbeat_tests::topology::{Topology, TopologySpec};
use serde_json::Value;

use crate::{
    deb,
    machine::{Machine, boot_all, on_all},
};

const QUICKSTART: &str = include_str!("../../../docs/quickstart.md");

/// Stands for the network file copy, which needs a server on the other machine: what is copied, and where to, is kept for
/// the test to carry over.
const SCP: &str = r#"#!/bin/sh
set -eu
[ "$1" = -p ]
shift
for last; do :; done
host=${last%%:*}
mkdir -p "/srv/exchange/${host#root@}${last#*:}"
while [ $# -gt 1 ]; do cp -p "$1" "/srv/exchange/${host#root@}${last#*:}"; shift; done
"#;

/// Blocks of commands: where, and what.
fn blocks() -> Vec<(&'static str, String)> {
    let mut blocks: Vec<(&str, String)> = Vec::new();
    let mut is_block = false;
    for line in QUICKSTART.lines() {
        match line.strip_prefix("    ") {
            Some(code) => match code.strip_prefix("# on ") {
                Some(place) => {
                    blocks.push((place, String::new()));
                    is_block = true;
                }
                // What a command prints has no such line above it.
                None if is_block => {
                    let (_, script) = blocks.last_mut().unwrap();
                    script.push_str(code);
                    script.push('\n');
                }
                None => {}
            },
            None => is_block = false,
        }
    }
    blocks
}

fn status(machine: &Machine) -> Option<Value> {
    let output = machine.try_run("heartbeat status --json");
    let value: Value = serde_json::from_slice(&output.stdout).ok()?;
    output.status.success().then_some(value)
}

/// In one view of these nodes, and it may act.
pub(crate) fn is_member(machine: &Machine, members: &[u16]) -> Option<()> {
    let status = status(machine)?;
    (status["view"]["quorate"] == true && status["view"]["members"] == serde_json::json!(members)).then_some(())
}

/// What alpha has put down for another machine.
fn carry_over(exchange: &Path, machine: &Machine) {
    if exchange.join(machine.name()).is_dir() {
        machine.run(&format!("cp -a /srv/exchange/{0}/. / && rm -r /srv/exchange/{0}", machine.name()));
    }
}

/// Types a block, when what the document says before it has come about.
fn follow(machine: &Machine, script: &str) {
    if script.contains("heartbeat status") {
        machine.wait_for("a view of all three", || is_member(machine, &[1, 2, 3]));
    }
    if script.contains("--id 9006") {
        machine.wait_for("9006", || machine.run(script).contains("9006").then_some(()));
    }
    let printed = machine.run(script);
    assert!(!script.contains("heartbeat status") || printed.contains("quorate"), "{printed}");
}

#[test]
fn the_quickstart_makes_a_cluster() {
    let topology = Topology::build(TopologySpec::new(3, 2)).unwrap();
    let exchange = topology.prefix().directory().join("exchange");
    fs::create_dir_all(&exchange).unwrap();
    deb::make(&exchange, 1);
    let blocks = blocks();
    assert!(blocks.len() >= 9, "{blocks:?}");
    let install = &blocks[0].1;
    assert!(install.contains(&deb::file_name(1)), "the document names another package: {install}");

    let machines = boot_all(&topology, &exchange);
    for machine in &machines {
        machine.run(&format!("cp /srv/exchange/{} .", deb::file_name(1)));
    }
    fs::write(machines[0].root().join("usr/local/bin/scp"), SCP).unwrap();
    machines[0].run("chmod +x /usr/local/bin/scp");
    for (place, script) in &blocks {
        let chosen: Vec<&Machine> =
            machines.iter().filter(|machine| *place == "every machine" || machine.name() == *place).collect();
        assert!(!chosen.is_empty(), "no machine `{place}`");
        on_all(chosen, |machine| {
            carry_over(&exchange, machine);
            follow(machine, script);
        });
    }
    for machine in &machines {
        machine.wait_for("a view of all three", || is_member(machine, &[1, 2, 3]));
    }
}
