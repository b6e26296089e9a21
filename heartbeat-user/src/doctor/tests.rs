//! Every check: what provokes it, and a healthy machine on which all stay quiet.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::event::{Event, Severity as EventSeverity, Timestamp};
use crate::realtime::constraints::Constraint;
use crate::status::{LinkState, Mode, Witness, tests::example};

const SECOND_NS: u64 = 1_000_000_000;

/// A machine on which nothing is wrong.
fn healthy() -> Facts {
    let network = |id: u8, name: &str| NetworkFacts { id, name: name.to_owned(), multicast: true };
    let interface = |network: &str, name: &str, third: u8| InterfaceFacts {
        network: network.to_owned(),
        name: name.to_owned(),
        address: Some((std::net::IpAddr::from([10, 0, third, 1]), 24)),
        driver: Some("ixgbe".to_owned()),
        devices: vec![name.to_owned()],
        mtu: Some(1_500),
        missed: Some(0),
        rings: Some(Rings { now: 512, most: 4_096 }),
        lro: Some(false),
        gro: Some(true),
        moderation_us: Some(10),
        physical: true,
        ..InterfaceFacts::default()
    };
    let mut status = example();
    status.node.version = env!("CARGO_PKG_VERSION").to_owned();
    let mut links = status.links.clone();
    for link in &mut links {
        // A thousand arrivals 67 to 134 ms after the one before.
        let mut bins = vec![0; 64];
        bins[26] = 2_000;
        link.intervals = Some(bins);
    }
    Facts {
        config_exists: true,
        config: Ok(ConfigFacts {
            interval_ns: SECOND_NS / 10,
            late_timeout_ns: SECOND_NS / 5,
            silent_timeout_ns: 6 * SECOND_NS / 10,
            networks: vec![network(1, "private"), network(2, "public")],
            secrets: vec![SecretFacts { path: PathBuf::from("/etc/heartbeat-xdp/key"), mode: Ok(0o600) }],
            fences: true,
            witness: Some((PathBuf::from("/mnt/witness"), Ok(()))),
        }),
        node: Ok(NodeFacts {
            status,
            links,
            events: Vec::new(),
            group_heartbeats: Ok(vec![(2, 1, 10), (2, 2, 10)]),
            unicast_heartbeats: Ok(vec![(2, 1, 10), (2, 2, 10)]),
        }),
        interfaces: Ok(vec![interface("private", "eth1", 1), interface("public", "eth2", 2)]),
        machine: MachineFacts {
            kernel: Ok("6.12.5-amd64".to_owned()),
            virtual_machine: Ok(true),
            clock_source: Ok("tsc".to_owned()),
            steal: Ok((0.001, 0.0)),
            softnet: Ok(Softnet::default()),
            idle_states: Ok(vec![IdleState { name: "C1".to_owned(), latency_us: 2 }]),
            constraints: Vec::new(),
            watchdogs: Ok(vec![WatchdogFacts { name: "watchdog0".to_owned(), armed: true }]),
            firewall: Ok(
                "table inet filter {\n chain input {\n type filter hook input priority filter; policy drop;\n \
                          udp dport 3343 accept\n }\n}\n"
                    .to_owned(),
            ),
        },
    }
}

fn node(facts: &mut Facts) -> &mut NodeFacts {
    facts.node.as_mut().unwrap()
}

fn config(facts: &mut Facts) -> &mut ConfigFacts {
    facts.config.as_mut().unwrap()
}

fn interface(facts: &mut Facts) -> &mut InterfaceFacts {
    &mut facts.interfaces.as_mut().unwrap()[0]
}

fn event(id: u16, peer: u16, network: Option<&str>, mono_ns: u64) -> Event {
    Event {
        time: Timestamp::from_unix_ns(mono_ns),
        mono_ns,
        id,
        name: "made up".into(),
        severity: EventSeverity::Warning,
        node: 1,
        peer: Some(peer),
        network: network.map(str::to_owned),
        view: 5,
        text: String::new(),
        detail: json!({}),
        number: 1,
    }
}

/// What makes a check speak: its name, how badly, words of the evidence, and the change to a healthy machine.
type Case = (&'static str, Severity, &'static str, fn(&mut Facts));

const CASES: &[Case] = &[
    ("node", Severity::Unknown, "is the node running", |facts| facts.node = Err("is the node running?".to_owned())),
    ("configuration", Severity::Unknown, "cannot be read", |facts| {
        facts.config = Err("x cannot be read".to_owned());
        facts.config_exists = false;
    }),
    ("configuration", Severity::Wrong, "mode 0644", |facts| facts.config = Err("the secret has mode 0644".to_owned())),
    ("configuration", Severity::Wrong, "unknown key", |facts| {
        facts.config = Err("x: unknown key".to_owned());
        facts.node = Err("no node".to_owned());
    }),
    ("attach-mode", Severity::Wrong, "generic mode", |facts| {
        node(facts).status.dataplane.interfaces[0].mode = Mode::Generic;
    }),
    ("attach-mode", Severity::Wrong, "served by a socket", |facts| {
        node(facts).status.dataplane.interfaces[0].mode = Mode::Socket;
    }),
    ("attach-mode", Severity::Wrong, "no bpf_timer", |facts| {
        node(facts).status.dataplane.degraded = Some("no bpf_timer".to_owned());
    }),
    ("attach-mode", Severity::Advice, "3 records", |facts| node(facts).status.dataplane.ring_lost = 3),
    ("real-time", Severity::Wrong, "not granted", |facts| node(facts).status.sender.rt_granted = false),
    ("real-time", Severity::Wrong, "priority 50", |facts| {
        facts.machine.constraints.push(Constraint::BelowInterruptThreads { priority: 50 });
    }),
    ("real-time", Severity::Wrong, "400 ms of every 1000 ms", |facts| {
        facts.machine.constraints.push(Constraint::Throttled { runtime_us: 400_000, period_us: 1_000_000 });
    }),
    ("real-time", Severity::Advice, "/system.slice", |facts| {
        let group = "/system.slice".to_owned();
        facts.machine.constraints.push(Constraint::Quota { group, quota_us: 20_000, period_us: 100_000 });
    }),
    ("kernel", Severity::Wrong, "5.10", |facts| facts.machine.kernel = Ok("5.10.0-28-amd64".to_owned())),
    ("kernel", Severity::Advice, "6.1.0", |facts| facts.machine.kernel = Ok("6.1.0-30-amd64".to_owned())),
    ("kernel", Severity::Unknown, "/proc", |facts| facts.machine.kernel = Err("/proc is not there".to_owned())),
    ("versions", Severity::Wrong, "another configuration", |facts| node(facts).status.nodes[0].config_differs = true),
    ("versions", Severity::Advice, "runs version 0.0.9", |facts| {
        node(facts).status.node.version = "0.0.9".to_owned();
    }),
    ("versions", Severity::Advice, "node 2 ran another version", |facts| {
        node(facts).events = vec![event(9013, 2, None, 1), event(9013, 2, None, 2)];
    }),
    ("secrets", Severity::Wrong, "mode 0644", |facts| config(facts).secrets[0].mode = Ok(0o644)),
    ("secrets", Severity::Unknown, "denied", |facts| config(facts).secrets[0].mode = Err("denied".to_owned())),
    ("one-network", Severity::Wrong, "one network (private)", |facts| config(facts).networks.truncate(1)),
    ("shared-device", Severity::Wrong, "both run over eth2", |facts| {
        interface(facts).devices = vec!["eth0".to_owned(), "eth2".to_owned()];
    }),
    ("shared-subnet", Severity::Wrong, "one subnet", |facts| {
        interface(facts).address = Some((std::net::IpAddr::from([10, 0, 2, 77]), 24));
    }),
    ("bond", Severity::Wrong, "a bond", |facts| interface(facts).bond = true),
    ("bond", Severity::Wrong, "a team", |facts| interface(facts).driver = Some("team".to_owned())),
    ("mtu", Severity::Wrong, "MTU of 1280", |facts| interface(facts).mtu = Some(1_280)),
    ("mtu", Severity::Unknown, "cannot be read", |facts| interface(facts).mtu = None),
    ("rings", Severity::Wrong, "no room for 7 frames", |facts| interface(facts).missed = Some(7)),
    ("rings", Severity::Advice, "64 of 4096", |facts| {
        interface(facts).rings = Some(Rings { now: 64, most: 4_096 });
    }),
    ("offload", Severity::Advice, "LRO", |facts| interface(facts).lro = Some(true)),
    ("offload", Severity::Wrong, "perhaps no native XDP", |facts| {
        interface(facts).lro = Some(true);
        interface(facts).name = "eth0".to_owned();
        node(facts).status.dataplane.interfaces[0].mode = Mode::Generic;
    }),
    ("offload", Severity::Advice, "GRO on and XDP in generic mode", |facts| {
        interface(facts).name = "eth0".to_owned();
        node(facts).status.dataplane.interfaces[0].mode = Mode::Generic;
    }),
    ("moderation", Severity::Advice, "up to 500 us", |facts| interface(facts).moderation_us = Some(500)),
    ("multicast", Severity::Wrong, "none to the group", |facts| {
        node(facts).group_heartbeats = Ok(vec![(2, 1, 0), (2, 2, 10)]);
    }),
    ("multicast", Severity::Unknown, "LINKS", |facts| node(facts).group_heartbeats = Err("no LINKS".to_owned())),
    ("firewall", Severity::Wrong, "udp dport 3343 drop", |facts| {
        facts.machine.firewall = Ok("chain input {\n udp dport 3343 drop\n}".to_owned());
    }),
    ("firewall", Severity::Wrong, "nothing in it accepts", |facts| {
        let rules = "chain input {\n type filter hook input priority filter; policy drop;\n tcp dport 22 accept\n}\n";
        facts.machine.firewall = Ok(rules.to_owned());
    }),
    ("firewall", Severity::Wrong, "no peer could prove itself", |facts| {
        let node = node(facts);
        node.status.counters.insert("control_passed".to_owned(), 100);
        node.status.nodes.iter_mut().for_each(|node| node.incarnation = 0);
        node.links.iter_mut().for_each(|link| link.state = LinkState::Init);
    }),
    ("firewall", Severity::Unknown, "nft", |facts| facts.machine.firewall = Err("no nft".to_owned())),
    ("clock", Severity::Wrong, "hpet", |facts| facts.machine.clock_source = Ok("hpet".to_owned())),
    ("steal", Severity::Wrong, "5.0 % of the processors' time right now", |facts| {
        facts.machine.steal = Ok((0.0, 0.05));
    }),
    ("steal", Severity::Advice, "2.0 %", |facts| facts.machine.steal = Ok((0.02, 0.0))),
    ("softirq", Severity::Wrong, "9 packets were dropped just now", |facts| {
        facts.machine.softnet = Ok(Softnet { dropped_now: 9, dropped: 9, squeezed_now: 0 });
    }),
    ("softirq", Severity::Advice, "since the start", |facts| {
        facts.machine.softnet = Ok(Softnet { dropped_now: 0, dropped: 9, squeezed_now: 0 });
    }),
    ("softirq", Severity::Advice, "4 times", |facts| {
        facts.machine.softnet = Ok(Softnet { dropped_now: 0, dropped: 0, squeezed_now: 4 });
    }),
    ("idle-states", Severity::Advice, "900 us (C10)", |facts| {
        facts.machine.idle_states = Ok(vec![IdleState { name: "C10".to_owned(), latency_us: 900 }]);
    }),
    ("detection-time", Severity::Wrong, "30s", |facts| config(facts).silent_timeout_ns = 30 * SECOND_NS),
    ("jitter", Severity::Wrong, "one heartbeat in 1000", |facts| {
        let mut bins = vec![0; 64];
        bins[26] = 2_000;
        // 268 ms and more: beyond the 200 ms after which a link is late.
        bins[28] = 4;
        node(facts).links[0].intervals = Some(bins);
    }),
    ("losses", Severity::Wrong, "on all its networks at once, 1 times", |facts| {
        node(facts).status.links = both_networks(facts);
        let at = |network, ns| event(1123, 2, Some(network), ns);
        node(facts).events = vec![at("private", SECOND_NS), at("public", SECOND_NS + SECOND_NS / 10)];
    }),
    ("losses", Severity::Wrong, "on network private alone, 2 times", |facts| {
        node(facts).status.links = both_networks(facts);
        let at = |network, ns| event(1123, 2, Some(network), ns);
        node(facts).events = vec![at("private", SECOND_NS), at("private", 100 * SECOND_NS)];
    }),
    ("witness", Severity::Wrong, "not mounted", |facts| {
        config(facts).witness = Some((PathBuf::from("/mnt/witness"), Err("not mounted".to_owned())));
    }),
    ("witness", Severity::Wrong, "the last 3 operations of the witness failed: read-only", |facts| {
        node(facts).status.witness = Some(Witness {
            epoch: Some(7),
            holder: Some(1),
            counts: false,
            failures: 3,
            last_error: Some("read-only".to_owned()),
        });
    }),
    ("fencing", Severity::Unknown, "does not tell", |facts| {
        facts.machine.virtual_machine = Err("this kind of processor does not tell".to_owned());
    }),
    ("fencing", Severity::Wrong, "without fencing", |facts| config(facts).fences = false),
    ("watchdog", Severity::Advice, "nobody feeds watchdog0", |facts| {
        facts.machine.watchdogs.as_mut().unwrap()[0].armed = false;
    }),
    ("watchdog", Severity::Advice, "no watchdog device", |facts| facts.machine.watchdogs = Ok(Vec::new())),
];

fn both_networks(facts: &mut Facts) -> Vec<crate::status::Link> {
    let link = node(facts).status.links[0].clone();
    ["private", "public"].map(|network| crate::status::Link { network: network.to_owned(), ..link.clone() }).to_vec()
}

#[test]
fn on_a_healthy_machine_every_check_stays_quiet() {
    let report = examine(&healthy());
    assert_eq!(report.findings, []);
    assert_eq!(report.fine.len(), checks::ALL.len());
    assert!(!report.is_wrong());
}

#[test]
fn every_check_speaks_of_what_it_is_for() {
    for (check, severity, words, change) in CASES {
        let mut facts = healthy();
        change(&mut facts);
        let report = examine(&facts);
        let found = report.findings.iter().any(|finding| {
            finding.check == *check && finding.severity == *severity && finding.evidence.contains(words)
        });
        assert!(found, "{check}, {severity:?}, {words:?}: {:#?}", report.findings);
        // Generic mode, which LRO may have caused, is wrong by itself.
        let also = report
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Wrong && ![*check, "attach-mode"].contains(&finding.check));
        assert_eq!(also.count(), 0, "{check} {words}: another check is wrong as well: {:#?}", report.findings);
        assert!(report.findings.iter().all(|finding| !finding.remedy.is_empty()));
    }
}

#[test]
fn no_check_is_without_a_case() {
    for check in checks::ALL {
        assert!(CASES.iter().any(|(name, ..)| *name == check.name), "{}", check.name);
    }
}

#[test]
fn what_is_not_known_is_never_taken_for_fine() {
    let nothing = || "not there".to_owned();
    let facts = Facts {
        config_exists: false,
        config: Err(nothing()),
        node: Err(nothing()),
        interfaces: Err(nothing()),
        machine: MachineFacts {
            kernel: Err(nothing()),
            virtual_machine: Err(nothing()),
            clock_source: Err(nothing()),
            steal: Err(nothing()),
            softnet: Err(nothing()),
            idle_states: Err(nothing()),
            constraints: Vec::new(),
            watchdogs: Err(nothing()),
            firewall: Err(nothing()),
        },
    };
    assert_eq!(examine(&facts).fine, [""; 0]);
}

#[test]
fn the_report_fits_a_terminal_and_puts_the_worst_first() {
    let mut facts = healthy();
    facts.machine.kernel = Ok("6.1.0-30-amd64".to_owned());
    config(&mut facts).fences = false;
    facts.machine.steal = Err("no /proc/stat".to_owned());
    let report = examine(&facts);
    let text = render(&report, false);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words:?} is not in\n{text}"));
    assert!(place("WRONG   fencing") < place("advice  kernel") && place("advice  kernel") < place("unknown steal"));
    assert!(place("unknown steal") < place("fine") && place("fine") < place("1 wrong, 1 advice, 1 unknown"));
    assert!(!text.contains('\x1b') && render(&report, true).contains('\x1b'));
    let value: serde_json::Value = serde_json::from_str(&render_json(&report).unwrap()).unwrap();
    assert_eq!((&value["wrong"], &value["findings"][0]["severity"]), (&json!(true), &json!("wrong")));
}

#[test]
fn every_check_is_documented() {
    let page = include_str!("../../../docs/doctor.md");
    for check in checks::ALL {
        assert!(page.contains(&format!("| `{}` |", check.name)), "docs/doctor.md has no row for {}", check.name);
    }
}
