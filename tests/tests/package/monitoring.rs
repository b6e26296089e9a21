//! The dashboard and the alert rules against the metrics that there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const DASHBOARD: &str = include_str!("../../../dist/grafana/heartbeat.json");
const RULES: &str = include_str!("../../../dist/prometheus/heartbeat.rules.yml");
/// Compared with the code by the tests of heartbeat-user.
const METRICS: &str = include_str!("../../../docs/metrics.md");

/// What Prometheus adds to every sample, and what histograms and queries bring themselves.
const ADDED_LABELS: [&str; 4] = ["instance", "le", "cluster", "view"];

/// Labels by metric, for every name that a query may use.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics = BTreeMap::new();
    for row in METRICS.lines().filter(|line| line.starts_with("| `heartbeat_")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        let labels: BTreeSet<String> =
            cells[2].split(',').map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect();
        let endings: &[&str] = if cells[1] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        for ending in endings {
            metrics.insert(format!("{name}{ending}"), labels.clone());
        }
    }
    assert!(metrics.len() > 60, "{metrics:?}");
    metrics
}

/// Words of a query: runs of letters, digits and `_`.
fn words(query: &str) -> impl Iterator<Item = &str> {
    query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

/// Labels that a query compares, groups or joins by.
fn labels(query: &str) -> BTreeSet<&str> {
    let mut labels = BTreeSet::new();
    for matchers in query.split('{').skip(1) {
        let matchers = matchers.split('}').next().unwrap();
        // What stands before each operator; values are quoted.
        let outside: Vec<&str> = matchers.split('"').step_by(2).collect();
        labels.extend(outside.iter().flat_map(|part| words(part)));
    }
    for keyword in [" by (", "by (", "on (", "group_left ("] {
        for list in query.split(keyword).skip(1) {
            labels.extend(words(list.split(')').next().unwrap()));
        }
    }
    labels
}

/// Every metric of the query exists, and has every label that the query and the text beside it use.
fn assert_query(query: &str, text: &str, metrics: &BTreeMap<String, BTreeSet<String>>) {
    let used: BTreeSet<&str> = words(query).filter(|word| word.starts_with("heartbeat_")).collect();
    assert!(!used.is_empty(), "no metric in: {query}");
    let mut known: BTreeSet<&str> = ADDED_LABELS.into();
    for name in used {
        let labels = metrics.get(name).unwrap_or_else(|| panic!("there is no metric {name}, in: {query}"));
        known.extend(labels.iter().map(String::as_str));
    }
    for label in labels(query) {
        assert!(known.contains(label), "no metric of the query has the label {label}: {query}");
    }
    for template in text.split("{{").skip(1) {
        let name = template.split("}}").next().unwrap().trim().trim_start_matches("$labels.");
        let is_value = name.starts_with("$value");
        assert!(is_value || known.contains(name), "no metric of the query has the label {name}: {text}");
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

#[test]
fn every_query_of_the_dashboard_uses_metrics_and_labels_that_exist() {
    let metrics = metrics();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels: Vec<&Value> = dashboard["panels"].as_array().unwrap().iter().collect();
    let mut queries = 0;
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(!text(panel, "title").is_empty() && !text(panel, "description").is_empty());
        for target in panel["targets"].as_array().unwrap() {
            let query = text(target, "expr").replace("$__rate_interval", "5m").replace("$instance", ".*");
            assert_query(&query, text(target, "legendFormat"), &metrics);
            queries += 1;
        }
    }
    assert!(queries >= 25, "{queries}");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            let query = text(variable, "query");
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (series, label) = inner.rsplit_once(", ").unwrap();
            assert_query(series, &format!("{{{{{label}}}}}"), &metrics);
        }
    }
}

#[test]
fn panels_have_their_place_to_themselves() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut taken: BTreeMap<(u64, u64), &Value> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel:#}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel:#}");
        for column in place("x")..place("x") + place("w") {
            for row in place("y")..place("y") + place("h") {
                let other = taken.insert((column, row), &panel["title"]);
                assert!(other.is_none(), "{} lies over {other:?}", panel["title"]);
            }
        }
    }
}

#[test]
fn every_alert_uses_metrics_that_exist_and_says_what_to_do() {
    let metrics = metrics();
    let rules: Value = serde_yaml_ng::from_str(RULES).unwrap();
    let rules: Vec<&Value> =
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let mut names = BTreeSet::new();
    for rule in &rules {
        let name = text(rule, "alert");
        assert!(names.insert(name) && name.starts_with("Heartbeat"), "{name}");
        assert!(["warning", "critical"].contains(&text(&rule["labels"], "severity")), "{name}");
        let annotations = &rule["annotations"];
        let (summary, description) = (text(annotations, "summary"), text(annotations, "description"));
        assert!(description.len() > 10, "{name} says what to do");
        assert_query(text(rule, "expr"), &format!("{summary} {description}"), &metrics);
    }
    assert!(rules.len() >= 20, "{}", rules.len());
}

/// The tests above would see a name or a label that is not there.
#[test]
fn mistakes_in_queries_are_found() {
    let metrics = metrics();
    let is_refused =
        |query: &str, text: &str| std::panic::catch_unwind(|| assert_query(query, text, &metrics)).is_err();
    assert!(!is_refused("sum by (reason) (rate(heartbeat_rejects_total{reason=~\"x\"}[5m]))", "{{reason}}"));
    assert!(is_refused("rate(heartbeat_rejected_total[5m])", ""));
    assert!(is_refused("heartbeat_rejects_total{cause=\"x\"}", ""));
    assert!(is_refused("sum by (cause) (heartbeat_rejects_total)", ""));
    assert!(is_refused("heartbeat_rejects_total", "{{ $labels.cause }}"));
    assert!(is_refused("up == 0", ""));
}
