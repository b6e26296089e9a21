//! Stories as the log of a node has them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::event::{Draft, EventLog, Filter, kind};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

/// A log, and the names of three nodes and two networks.
struct Log {
    log: EventLog,
    _directory: tempfile::TempDir,
    nodes: BTreeMap<u16, String>,
    networks: BTreeMap<u8, String>,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = [(1, "alpha"), (2, "bravo"), (3, "charlie")];
        Self {
            log: EventLog::open(1, directory.path()).unwrap(),
            _directory: directory,
            nodes: names.map(|(id, name)| (id, name.to_owned())).into(),
            networks: [(1, "private".to_owned()), (2, "public".to_owned())].into(),
        }
    }

    fn add(&self, kind: &'static crate::event::Kind, mono_ns: u64, peer: Option<u16>, detail: Value) -> u64 {
        let mut draft = Draft::new(kind, mono_ns, kind.meaning);
        (draft.peer, draft.view, draft.detail) = (peer, 5, detail);
        draft.network = detail_network(&draft.detail);
        if let Some(detail) = draft.detail.as_object_mut() {
            detail.remove("on");
        }
        self.log.record(draft).number
    }

    fn why(&self, about: &str) -> Result<Why, Failure> {
        let about = (!about.is_empty()).then(|| About::typed(about));
        let events = self.log.query(&Filter::default(), usize::MAX);
        explain(&events, about.as_ref(), Names { local: 1, nodes: &self.nodes, networks: &self.networks })
    }
}

fn detail_network(detail: &Value) -> Option<String> {
    detail.get("on").and_then(Value::as_str).map(ToOwned::to_owned)
}

fn lost(on: &str, stamp_ns: u64) -> Value {
    json!({"about": "lost", "on": on, "stamp_ns": stamp_ns, "deadline_ns": stamp_ns + 212 * MS,
           "judged_ns": stamp_ns + 213 * MS, "missed": 2, "never_heard": false, "marked_stall": false})
}

/// Charlie is removed at 20 s; both networks were heard last at 19.3 s.
fn removed(safe: bool) -> Log {
    let log = Log::new();
    let heard_ns = 19 * SECOND + 300 * MS;
    log.add(&kind::LINK_LOST, 10 * SECOND, Some(2), lost("private", 9 * SECOND));
    for network in ["private", "public"] {
        log.add(&kind::LINK_LOST, heard_ns + 213 * MS, Some(3), lost(network, heard_ns));
    }
    let link = |network: u8| {
        json!({"network": network, "state": "silent", "since_ns": heard_ns + 613 * MS, "verdict":
               {"stamp_ns": heard_ns, "deadline_ns": heard_ns + 612 * MS, "judged_ns": heard_ns + 613 * MS, "missed": 6}})
    };
    let stage = |stage: &str, at_ms: u64| json!({"stage": stage, "sequence": 9, "at_ns": heard_ns + at_ms * MS});
    log.add(
        &kind::NODE_REMOVED,
        20 * SECOND,
        Some(3),
        json!({"about": "removed", "incarnation": 7, "newest_ns": heard_ns + MS, "safe_ns": 40 * SECOND, "reason": "silent",
               "decider": 1, "rule": "majority", "votes": {"own": 2, "total": 3, "witness": false}, "sequence": 9,
               "survivors": [{"node": 1, "reported": true, "newest_ns": heard_ns, "heard_on": []},
                             {"node": 2, "reported": true, "newest_ns": heard_ns + MS, "heard_on": [2]}],
               "links": [link(1), link(2)],
               "stages": [stage("activate", 613), stage("closing", 650), stage("pruning", 680)]}),
    );
    log.add(
        &kind::VIEW_INSTALLED,
        20 * SECOND + 1,
        None,
        json!({"about": "installed", "members": [1, 2], "decider": 1, "reason": "silent", "rule": "majority", "sequence": 9,
               "began_ns": heard_ns + 613 * MS, "votes": {"own": 2, "total": 3, "witness": false}, "stages": [],
               "forced": false}),
    );
    if safe {
        log.add(
            &kind::REMOVAL_SAFE,
            41 * SECOND,
            Some(3),
            json!({"about": "safe", "incarnation": 7, "newest_ns": heard_ns + MS, "enforced": "lease-checkers",
                   "lease_over_ns": 30 * SECOND, "due_ns": 40 * SECOND}),
        );
    }
    log
}

#[test]
fn a_removal_is_told_in_the_order_in_which_it_came_about() {
    let why = removed(true).why("3").unwrap();
    assert!(why.summary.contains("silent on all its networks") && why.summary.contains("alpha decided"), "{why:#?}");
    let times: Vec<u64> = why.facts.iter().map(|fact| fact.mono_ns).collect();
    assert!(times.is_sorted(), "{times:?}");
    let kinds: Vec<FactKind> = why.facts.iter().map(|fact| fact.kind).collect();
    let place = |kind: FactKind| kinds.iter().position(|other| *other == kind).unwrap_or_else(|| panic!("no {kind:?}"));
    let order = [
        FactKind::Stamp,
        FactKind::Missed,
        FactKind::Stage,
        FactKind::Votes,
        FactKind::Verdict,
        FactKind::After,
        FactKind::Safe,
    ];
    let places = order.map(place);
    assert!(places.is_sorted(), "{kinds:?}");
    let text = why.text(false);
    for words in [
        "last heartbeat on private",
        "last heartbeat on public",
        "private: silent, on all its networks",
        "2 intervals were missed.",
        "bravo reported",
        "still heard it on",
        "stage pruning of regroup 9",
        "2 of 3 votes: more",
        "1123 link_lost",
        "9007 view_installed",
        "its lease had certainly ended",
        "a takeover was safe from here on (9008)",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    assert!(!text.contains("not before now"), "what was announced has come about:\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let before = why.facts.iter().filter(|fact| fact.kind == FactKind::Before).count();
    assert_eq!(before, 2, "the loss of bravo is another story: {:#?}", why.facts);
}

#[test]
fn a_removal_that_is_not_safe_yet_says_from_when_on_it_will_be() {
    let text = removed(false).why("charlie").unwrap().text(false);
    assert!(text.contains("not before now may its work be taken over") && text.contains("+20.000s"), "{text}");
}

#[test]
fn each_way_of_asking_finds_the_same_removal() {
    let log = removed(true);
    let expected = log.why("charlie").unwrap();
    let number = expected.verdict.number;
    // The number of 9008 is a question about the removal that it belongs to.
    for about in
        ["3".to_owned(), String::new(), format!("#{number}"), format!("#{}", number + 2), (number + 2).to_string()]
    {
        assert_eq!(log.why(&about).unwrap(), expected, "{about}");
    }
}

#[test]
fn what_cannot_be_answered_names_the_way_on() {
    let log = removed(true);
    for (about, message, remedy) in [
        ("delta", "there is no node delta", "charlie (3)"),
        ("alpha", "none of the 6 events", "ask the node"),
        ("4711", "event 4711 is not in the log", "1 to 6"),
    ] {
        let failure = log.why(about).unwrap_err();
        assert!(failure.message.contains(message) && failure.remedy.contains(remedy), "{about}: {failure}");
    }
    assert!(Log::new().why("").unwrap_err().message.contains("none of the 0 events"));
}

#[test]
fn a_late_link_is_explained_by_the_cause_in_numbers_and_by_stalls_of_this_machine() {
    let log = Log::new();
    log.add(
        &kind::LOCAL_STALL,
        9 * SECOND + 250 * MS,
        None,
        json!({"about": "stall", "length_ns": 40 * MS, "at_ns": 9 * SECOND + 250 * MS, "source": "machine",
               "budget_spent": false}),
    );
    log.add(&kind::LINK_LOST, 10 * SECOND, Some(2), lost("private", 9 * SECOND + 700 * MS));
    log.add(
        &kind::LINK_RESTORED,
        11 * SECOND,
        Some(2),
        json!({"about": "restored", "on": "private", "stamp_ns": 11 * SECOND, "previous_stamp_ns": 9 * SECOND + 700 * MS,
               "incarnation": 7, "first": false, "lost": 12, "cause": "lost-on-the-way"}),
    );
    let text = log.why("bravo").unwrap().text(false).replace('\n', " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "2 intervals without a heartbeat on private",
        "after a gap of 1300 ms, 12 sequence numbers lost",
        "look at the network",
        "this machine stood still for 40 ms",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

#[test]
fn a_node_tells_of_itself_why_it_stopped() {
    let log = Log::new();
    log.add(&kind::LINK_LOST, 10 * SECOND, Some(2), lost("private", 9 * SECOND));
    let stopped = |reason: Value| json!({"about": "stopped", "reason": reason, "lease_end_boot_ns": 11 * SECOND});
    log.add(&kind::SUSPENDED, 11 * SECOND, None, stopped(Value::Null));
    log.add(&kind::QUORUM_LOST, 12 * SECOND, None, stopped(json!("lease-lost")));
    let why = log.why("alpha").unwrap();
    assert_eq!(why.verdict.id, 1177);
    let text = why.text(false);
    for words in ["1123 link_lost", "9009 suspended", "the lease ended at 11.000 s", "no quorum had echoed"] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
}

#[test]
fn what_came_before_the_last_verdict_is_named() {
    let log = removed(true);
    log.add(&kind::NODE_JOINED, 50 * SECOND, Some(3), json!({"about": "joined", "incarnation": 8}));
    for second in [60, 70] {
        log.add(&kind::LINK_LOST, second * SECOND, Some(3), lost("private", second * SECOND - 300 * MS));
    }
    let why = log.why("charlie").unwrap();
    assert_eq!(why.verdict.mono_ns, 70 * SECOND);
    let earlier: Vec<u16> = why.earlier.iter().map(|event| event.id).collect();
    assert_eq!(earlier, [1135], "one of each kind, and not what is told already: {why:#?}");
    let text = why.text(false);
    let number = why.earlier[0].number;
    assert!(text.contains(&format!("1135 node_removed; `heartbeat why '#{number}'`")), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_eq!(log.why(&format!("#{number}")).unwrap().verdict.id, 1135);
}
