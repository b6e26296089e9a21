use serde_json::{Value, json};

use super::table::WIDTH;
use super::*;

/// The documented example, as dashboards read it.
fn documented() -> Value {
    json!({"cluster":"demo","node":{"id":1,"name":"alpha","incarnation":1_700_000_000_000_000_000u64},
     "view":{"number":5,"members":[1,2],"quorate":true,"lease_left_ms":10200},"regroup":{"stage":"stabilized","sequence":9},
     "dataplane":{"mode":"native","judge":"kernel-timer","interfaces":[{"name":"eth0","network":"private","program_id":12}]},
     "sender":{"engine":"realtime","rt_priority":60,"rt_granted":true,"longest_gap_ns":10_012_345},
     "nodes":[{"id":2,"name":"bravo","state":"up"}],"networks":[{"id":1,"name":"private","state":"up"}],
     "interfaces":[{"node":2,"network":"private","state":"up"}],
     "links":[{"peer":2,"network":"private","state":"up","received":100,"lost":0,"duplicates":0,"reordered":0,
               "last_heard_ms":0.4,"rtt_us":81}],
     "rejects":{"malformed":0,"version":0,"cluster":0,"destination":0,"unknown_peer":0,"wrong_interface":0,
                "wrong_address":0,"ttl":0,"unknown_key":0,"bad_tag":0,"wrong_incarnation":0,"duplicate":0,"too_old":0}})
}

pub(crate) fn example() -> Status {
    Status {
        cluster: "demo".to_owned(),
        node: LocalNode {
            id: 1,
            name: "alpha".to_owned(),
            incarnation: 1_700_000_000_000_000_000,
            adopted: false,
            version: "0.1.0".to_owned(),
            config_digest: "00".repeat(32),
        },
        view: View { number: 5, members: vec![1, 2], quorate: true, lease_left_ms: 10_200, ..View::default() },
        removals: Vec::new(),
        witness: None,
        staged: None,
        regroup: Regroup { stage: Stage::Stabilized, sequence: 9 },
        dataplane: Dataplane {
            mode: Mode::Native,
            judge: Judge::KernelTimer,
            interfaces: vec![AttachedInterface {
                name: "eth0".to_owned(),
                network: "private".to_owned(),
                program_id: Some(12),
                mode: Mode::Native,
            }],
            degraded: None,
            ring_lost: 0,
        },
        sender: Sender {
            engine: Engine::Realtime,
            rt_priority: 60,
            rt_granted: true,
            longest_gap_ns: 10_012_345,
            why: None,
            limits: Vec::new(),
        },
        nodes: vec![Node {
            id: 2,
            name: "bravo".to_owned(),
            state: NodeState::Up,
            votes: 1,
            incarnation: 1_700_000_000_000_000_001,
            config_differs: false,
            quarantine_left_s: None,
        }],
        networks: vec![Network {
            id: 1,
            name: "private".to_owned(),
            state: NetworkState::Up,
            role: "internal".to_owned(),
            judged_by: None,
        }],
        interfaces: vec![Interface {
            node: 2,
            network: "private".to_owned(),
            state: InterfaceState::Up,
            address: "10.0.0.2".to_owned(),
        }],
        links: vec![Link {
            peer: 2,
            network: "private".to_owned(),
            state: LinkState::Up,
            received: 100,
            lost: 0,
            duplicates: 0,
            reordered: 0,
            last_heard_ms: Some(0.4),
            rtt_us: Some(81),
            echoed_ms: None,
            jitter_us: None,
            controller_age_ms: None,
            intervals: None,
        }],
        rejects: heartbeat_common::reject::Reject::ALL.iter().map(|reject| (reject.name().to_owned(), 0)).collect(),
        counters: BTreeMap::new(),
        event_log: EventLog::default(),
        recording: EventLog::default(),
    }
}

/// Whether everything in `part` is in `whole`, with the same names and values.
fn contains(whole: &Value, part: &Value) -> bool {
    if let (Value::Object(whole), Value::Object(part)) = (whole, part) {
        return part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| contains(whole, part)));
    }
    if let (Value::Array(whole), Value::Array(part)) = (whole, part) {
        return whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part));
    }
    whole == part
}

#[test]
fn every_documented_field_is_there_by_its_name() {
    let written = serde_json::to_value(example()).unwrap();
    assert!(contains(&written, &documented()), "{written:#}");
    let mut other = documented();
    other["links"][0]["receive"] = json!(1);
    assert!(!contains(&written, &other), "the comparison must see a name that is not there");
}

#[test]
fn status_survives_the_way_over_the_socket() {
    let text = serde_json::to_string(&example()).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), example());
}

#[test]
fn words_are_those_of_the_documentation() {
    let words = |all: &[&'static str]| all.join(" ");
    assert_eq!(words(&NodeState::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>()), "up down joining quarantined");
    assert_eq!(words(&LinkState::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>()), "init up late silent");
    assert_eq!(
        words(&InterfaceState::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>()),
        "up unreachable failed unavailable"
    );
    assert_eq!(
        words(&NetworkState::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>()),
        "up partitioned down unavailable"
    );
    assert_eq!(
        words(&Stage::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>()),
        "activate closing pruning cleanup1 cleanup2 stabilized"
    );
    for stage in Stage::ALL {
        assert_eq!(serde_json::to_value(stage).unwrap(), json!(stage.as_str()));
    }
}

/// A busy status: many long names and large counts.
fn crowded() -> Status {
    let mut status = example();
    let name = |id: u16| format!("a-node-with-a-rather-long-name-{id}");
    status.nodes = (1..=20)
        .map(|id| Node {
            id,
            name: name(id),
            state: NodeState::Quarantined,
            config_differs: true,
            ..example().nodes.remove(0)
        })
        .collect();
    status.links = (2..=20)
        .map(|peer| Link {
            peer,
            network: "a-network-with-a-long-name-too".to_owned(),
            received: 12_345_678,
            lost: 1_234_567,
            last_heard_ms: Some(9_999.9),
            rtt_us: Some(123_456),
            echoed_ms: None,
            jitter_us: Some(99_999),
            ..example().links.remove(0)
        })
        .collect();
    status.interfaces = (1..=20)
        .map(|node| Interface {
            node,
            network: "a-network-with-a-long-name-too".to_owned(),
            state: InterfaceState::Unreachable,
            address: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".to_owned(),
        })
        .collect();
    status
}

#[test]
fn tables_fit_a_terminal() {
    for status in [example(), crowded()] {
        for table in [status.nodes_table(), status.networks_table(), status.interfaces_table(), status.links_table()] {
            for line in table.render(false).lines() {
                assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
            }
        }
    }
}

#[test]
fn what_is_out_of_the_ordinary_has_a_line_of_its_own() {
    let ordinary = example().overview(false);
    let mut status = example();
    status.view = View { suspended: true, forced: true, quorate: false, leader: Some(2), ..status.view };
    status.removals = vec![Removal { node: 2, incarnation: 7, safe_in_ms: 12_345 }];
    let last_error = Some("stale file handle".to_owned());
    status.witness = Some(Witness { epoch: Some(4), holder: Some(2), counts: false, failures: 3, last_error });
    let waits_for = "node 3 has another file".to_owned();
    status.staged = Some(Staged { digest: "ab".repeat(32), ready: vec![2], waits_for });
    status.nodes[0].state = NodeState::Quarantined;
    status.nodes[0].quarantine_left_s = Some(4_200);
    status.recording.last_error = Some("no space left".to_owned());
    let text = status.overview(false);
    for words in [
        "suspended",
        "formed by force",
        "led by bravo",
        "removed    bravo: its work may be taken over in 12.3 s",
        "witness    epoch 4, held by bravo; its vote does not count here; stale file handle",
        "staged     abababababababab, on bravo; waits: node 3 has another file",
        "for 70 min",
        "recording  the core is not recorded: no space left",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
        assert!(!ordinary.contains(words), "{words:?} is in\n{ordinary}");
    }
}

#[test]
fn the_links_table_reads_as_it_should() {
    let text = example().links_table().render(false);
    assert_eq!(
        text,
        "PEER   NETWORK  STATE  RECV  LOST  DUP  REORD  HEARD  JITTER   RTT\n\
         bravo  private  up      100     0    0      0  0.4ms       -  81us\n"
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    for status in [example(), crowded()] {
        let coloured = status.overview(true);
        assert!(coloured.contains("\x1b["));
        let mut stripped = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, escape)) = rest.split_once('\x1b') {
            stripped.push_str(before);
            rest = escape.split_once('m').unwrap().1;
        }
        stripped.push_str(rest);
        assert_eq!(stripped, status.overview(false));
    }
}

#[test]
fn the_overview_says_what_matters() {
    let mut status = example();
    let text = status.overview(false);
    for words in
        ["5 (?, bravo), quorate", "native, judged by kernel-timer: private on eth0", "refused    none", "10.0ms"]
    {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    status.view = View::default();
    status.sender.rt_granted = false;
    status.sender.limits = [("half of the time", true), ("a quota", false)]
        .map(|(text, harmful)| Limit { text: text.to_owned(), remedy: "lift it".to_owned(), harmful })
        .into();
    status.rejects.insert("bad_tag".to_owned(), 7);
    status.dataplane.degraded = Some("the driver refused".to_owned());
    status.event_log = EventLog { failed: 2, last_error: Some("disk full".to_owned()), ..EventLog::default() };
    let text = status.overview(false);
    for words in
        ["view       none, not quorate", "priority refused", "bad_tag 7", "driver refused", "2 events not on disk"]
    {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    assert!(text.contains("half of the time; lift it") && !text.contains("a quota"), "harm, not advice: {text}");
}
