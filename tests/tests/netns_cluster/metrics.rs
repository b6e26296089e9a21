//! Metrics of a running node: complete, under their documented names, and the same numbers as the maps.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    ops::RangeInclusive,
    time::Duration,
};

use heartbeat_common::{
    ids::link_index,
    records::{IntervalRecord, JudgeRecord},
};
use heartbeat_tests::{cluster::Cluster, process::find_program, topology::TopologySpec};
use heartbeat_user::metrics::{FAMILIES, Kind};

use crate::{
    nodes::{DATAPLANE_DEGRADED, PATIENCE, edit_config, prepared, spec, start_all, status},
    pinned,
};

const INTERVAL: Duration = Duration::from_millis(100);
const PORT: u16 = 9343;

/// Values by name and labels, as the text has them.
struct Shown(BTreeMap<String, f64>);

impl Shown {
    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self(
            samples
                .map(|line| {
                    let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
                    (name.to_owned(), value.parse().unwrap_or_else(|error| panic!("{error}: {line}")))
                })
                .collect(),
        )
    }

    fn value(&self, sample: &str) -> f64 {
        *self.0.get(sample).unwrap_or_else(|| panic!("no {sample} among {:#?}", self.0.keys()))
    }

    /// A counter that moves lies between two readings of where it comes from.
    #[track_caller]
    fn is_within(&self, sample: &str, range: RangeInclusive<u64>) {
        let value = self.value(sample) as u64;
        assert!(range.contains(&value), "{sample} is {value}, and was {range:?}");
    }
}

/// What the command prints.
fn printed(cluster: &Cluster, node: u16) -> String {
    let mut command = cluster.topology().node(node).command(find_program().unwrap()).unwrap();
    let output = command.arg("--socket").arg(cluster.node(node).files().socket()).arg("metrics").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What Prometheus reads of node 1.
fn fetched(cluster: &Cluster) -> String {
    let address = cluster.topology().address(1, 1);
    let fetch = || {
        let mut stream = TcpStream::connect((address, PORT)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: heartbeat\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // Prometheus is elsewhere: node 2's namespace.
    let answer = cluster.topology().node(2).run(fetch).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

fn with_metrics() -> Cluster {
    let mut cluster = prepared(TopologySpec::new(3, 2), &spec(INTERVAL));
    let listen = format!("[metrics]\nlisten = \"{}:{PORT}\"\n\n[local]", cluster.topology().address(1, 1));
    edit_config(&cluster, 1, "[local]", &listen);
    // An address that is not here costs node 2 its metrics address and nothing else.
    let elsewhere = format!("[metrics]\nlisten = \"192.0.2.1:{PORT}\"\n\n[local]");
    edit_config(&cluster, 2, "[local]", &elsewhere);
    start_all(&mut cluster);
    cluster
}

#[test]
fn metrics_and_maps_agree() {
    let cluster = with_metrics();
    let young = pinned::link(&cluster, 1, 2, 1);
    pinned::wait_for_heartbeats(&cluster, 1, (2, 1), &young, 5, PATIENCE);
    let intervals = pinned::open::<IntervalRecord>(&cluster, 1, "INTERVALS");
    let judge = pinned::open::<JudgeRecord>(&cluster, 1, "JUDGE_STATE");
    let arrivals = || intervals.read(link_index(2, 1)).unwrap().buckets.iter().sum::<u64>();
    for read in [printed as fn(&Cluster, u16) -> String, |cluster, _| fetched(cluster)] {
        let (link, status_before) = (pinned::link(&cluster, 1, 2, 1), status(&cluster, 1));
        let (gaps, scans) = (arrivals(), judge.read(0).unwrap().scans);
        let shown = Shown::parse(&read(&cluster, 1));
        let (link_after, status_after) = (pinned::link(&cluster, 1, 2, 1), status(&cluster, 1));
        let labels = "{peer=\"bravo\",network=\"private\"}";
        for (name, before, after) in [
            ("received", link.received, link_after.received),
            ("lost", link.lost, link_after.lost),
            ("duplicates", link.duplicates, link_after.duplicates),
            ("reordered", link.reordered, link_after.reordered),
        ] {
            shown.is_within(&format!("heartbeat_link_{name}_total{labels}"), before..=after);
        }
        shown.is_within(&format!("heartbeat_inter_arrival_seconds_count{labels}"), gaps..=arrivals());
        shown.is_within("heartbeat_judge_scans_total", scans..=judge.read(0).unwrap().scans);
        for (reason, count) in status_before["rejects"].as_object().unwrap() {
            let after = status_after["rejects"][reason].as_u64().unwrap();
            shown
                .is_within(&format!("heartbeat_rejects_total{{reason=\"{reason}\"}}"), count.as_u64().unwrap()..=after);
        }
        for (sample, counter) in [
            ("heartbeat_accepted_total", "accepted"),
            ("heartbeat_control_passed_total", "control_passed"),
            ("heartbeat_sender_sent_total", "sender_sent"),
            ("heartbeat_reactor_passes_total", "reactor_passes"),
            ("heartbeat_dropped_total{queue=\"ring\"}", "ring_full"),
        ] {
            let count = |status: &serde_json::Value| status["counters"][counter].as_u64().unwrap();
            shown.is_within(sample, count(&status_before)..=count(&status_after));
        }
        // Echoes come with every heartbeat, and most of those that were heard have been looked at.
        let trips = shown.value(&format!("heartbeat_round_trip_seconds_count{labels}"));
        assert!(trips >= 3.0 && trips <= link_after.received as f64, "{trips}");
        let mean = shown.value(&format!("heartbeat_round_trip_seconds_sum{labels}")) / trips;
        assert!(mean > 0.0 && mean < 1.0, "{mean} s");
        assert_eq!(shown.value("heartbeat_quorate"), 1.0);
        assert_eq!(shown.value("heartbeat_view_members"), 3.0);
        assert_eq!(shown.value("heartbeat_link_state{peer=\"bravo\",network=\"private\",state=\"up\"}"), 1.0);
        assert_eq!(shown.value("heartbeat_link_state{peer=\"bravo\",network=\"private\",state=\"late\"}"), 0.0);
        assert_eq!(shown.value("heartbeat_events_total{id=\"9011\",name=\"controller_started\"}"), 1.0);
        assert!(shown.value("heartbeat_sender_lateness_seconds_count") >= 5.0);
    }
    let refused = |event: &heartbeat_tests::events::Event| {
        event.node() == 2 && event.id() == DATAPLANE_DEGRADED && event.text().contains("192.0.2.1")
    };
    cluster.events().wait_for(0, PATIENCE, "9003 about an address that is not here", refused).unwrap();
    assert!(printed(&cluster, 2).contains("heartbeat_quorate 1"), "the command works all the same");
}

#[test]
fn every_family_is_shown_and_every_sample_is_of_a_family() {
    let mut cluster = with_metrics();
    // A verdict, for the time that it took to react.
    let place = cluster.events().len();
    cluster.node_mut(3).kill().unwrap();
    let removed = |event: &heartbeat_tests::events::Event| event.node() == 1 && event.id() == 1135;
    cluster.events().wait_for(place, PATIENCE, "1135", removed).unwrap();
    let text = printed(&cluster, 1);
    let shown = Shown::parse(&text);
    assert!(shown.value("heartbeat_reaction_seconds_count") >= 1.0);
    assert_eq!(shown.value("heartbeat_view_members"), 2.0);
    for family in FAMILIES {
        let kind = format!("# TYPE {} {}", family.name.trim_end_matches("_total"), family.kind.as_str());
        let whole = format!("# TYPE {} {}", family.name, family.kind.as_str());
        let is_there = text.lines().any(|line| line == kind || line == whole);
        assert!(is_there, "no {whole:?} in\n{text}");
    }
    for sample in shown.0.keys() {
        let name = sample.split('{').next().unwrap();
        let family = FAMILIES.iter().find(|family| match family.kind {
            Kind::Counter | Kind::Gauge => family.name == name,
            Kind::Histogram => {
                ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(family.name))
            }
        });
        let family = family.unwrap_or_else(|| panic!("{sample} is of no family"));
        for label in family.labels {
            assert!(sample.contains(&format!("{label}=\"")), "{sample} has no {label}");
        }
    }
}
