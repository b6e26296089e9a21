//! `heartbeat doctor` beside running nodes: quiet where all is well, and finds what is done to the machine.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, time::Duration};

use heartbeat_tests::{cluster::Cluster, naming::network_name, process::find_program};
use serde_json::Value;

use crate::nodes::three_up;

const INTERVAL: Duration = Duration::from_millis(100);
/// Exit code of a doctor that found something wrong.
const FOUND: i32 = 1;

#[test]
fn the_doctor_finds_what_is_wrong_with_a_node_and_nothing_before() {
    let cluster = three_up(INTERVAL);
    let (_, healthy) = examine(&cluster, 1);
    // What the machine of the test is like is not the cluster's fault: its processors, its lack of a watchdog.
    let asked = [
        "node",
        "configuration",
        "versions",
        "secrets",
        "one-network",
        "shared-subnet",
        "mtu",
        "firewall",
        "multicast",
    ];
    for check in asked {
        assert!(healthy["fine"].as_array().unwrap().iter().any(|it| it == check), "{check}: {healthy:#}");
    }

    // /sys may show the interfaces of another namespace.
    set_mtu(&cluster, 1, "1280");
    let small = examine(&cluster, 1).1;
    assert!(finding(&small, "mtu")["evidence"].as_str().unwrap().contains("MTU of 1280"), "{small:#}");
    set_mtu(&cluster, 1, "1500");
    nft(&cluster, 1, "add table inet closed");
    nft(&cluster, 1, "add chain inet closed incoming { type filter hook input priority 0; policy accept; }");
    nft(&cluster, 1, "add rule inet closed incoming udp dport 3343 drop");
    let config = fs::read_to_string(cluster.node(1).files().config()).unwrap();
    let secret = config.lines().find_map(|line| line.split('"').find(|part| part.contains("secret"))).unwrap();
    fs::set_permissions(secret, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, ill) = examine(&cluster, 1);
    assert_eq!(code, FOUND, "{ill:#}");
    assert_eq!(ill["wrong"], true);
    let news: BTreeSet<_> = wrong(&ill).difference(&wrong(&healthy)).cloned().collect();
    assert_eq!(news, BTreeSet::from(["configuration", "firewall"].map(str::to_owned)), "{ill:#}");
    // A node does not start with a key that others can read.
    for (check, what) in [("firewall", "udp dport 3343 drop"), ("configuration", secret)] {
        let evidence = finding(&ill, check)["evidence"].as_str().unwrap();
        assert!(evidence.contains(what), "{evidence}");
    }

    nft(&cluster, 1, "delete table inet closed");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(wrong(&examine(&cluster, 1).1), wrong(&healthy), "what was mended is not found again");
}

#[test]
fn a_node_that_does_not_run_is_said_once_and_not_by_every_check_that_asks_it() {
    let mut cluster = three_up(INTERVAL);
    cluster.node_mut(2).kill().unwrap();
    let (_, report) = examine(&cluster, 2);
    assert_eq!(finding(&report, "node")["severity"], "unknown", "{report:#}");
    let unknown = |finding: &&Value| finding["severity"] == "unknown";
    let findings = report["findings"].as_array().unwrap();
    let reasons: Vec<_> = findings.iter().filter(unknown).map(|it| it["evidence"].as_str().unwrap()).collect();
    assert!(reasons.len() > 1, "more than one check asks the node: {report:#}");

    let text = run(&cluster, 2, &[]).1;
    for reason in reasons.iter().copied().collect::<BTreeSet<_>>() {
        let words = reason.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
        let said = text.matches(&words).count();
        let unknown_blocks = text.lines().filter(|line| line.starts_with("unknown")).count();
        assert!(said <= 2 && unknown_blocks < reasons.len(), "{words:?} {said} times:\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

fn examine(cluster: &Cluster, node: u16) -> (i32, Value) {
    let (code, text) = run(cluster, node, &["--json"]);
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn run(cluster: &Cluster, node: u16, arguments: &[&str]) -> (i32, String) {
    let files = cluster.node(node).files();
    let mut command = cluster.topology().node(node).command(find_program().unwrap()).unwrap();
    command.arg("--socket").arg(files.socket()).args(["doctor", "--config"]).arg(files.config()).args(arguments);
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Of the interface on the first network.
fn set_mtu(cluster: &Cluster, node: u16, bytes: &str) {
    let interface = network_name(1);
    let mut command = cluster.topology().node(node).command("ip").unwrap();
    let output = command.args(["link", "set", "dev", &interface, "mtu", bytes]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn nft(cluster: &Cluster, node: u16, order: &str) {
    let output = cluster.topology().node(node).command("nft").unwrap().arg(order).output().unwrap();
    assert!(output.status.success(), "nft {order}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Names of the checks that found something wrong.
fn wrong(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|it| it["severity"] == "wrong").map(|it| it["check"].as_str().unwrap().to_owned()).collect()
}

fn finding<'report>(report: &'report Value, check: &str) -> &'report Value {
    report["findings"].as_array().unwrap().iter().find(|it| it["check"] == check).unwrap()
}
