//! The file as it is written: every key that exists, with its place in the text, nothing checked but the type.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// An optional value that knows where it stands.
pub(super) type Value<T> = Option<Spanned<T>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) cluster: Value<Cluster>,
    pub(super) timing: Value<Timing>,
    #[serde(default)]
    pub(super) network: Vec<Spanned<Network>>,
    #[serde(default)]
    pub(super) node: Vec<Spanned<Node>>,
    pub(super) quorum: Value<Quorum>,
    pub(super) local: Value<Local>,
    pub(super) metrics: Value<Metrics>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub(super) name: Value<String>,
    #[serde(default)]
    pub(super) key: Vec<Spanned<Key>>,
    pub(super) send_key: Value<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub(super) id: Value<i64>,
    pub(super) file: Value<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timing {
    pub(super) interval: Value<String>,
    pub(super) late_after: Value<i64>,
    pub(super) lost_after: Value<i64>,
    pub(super) grace: Value<String>,
    pub(super) hang_timeout: Value<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub(super) id: Value<i64>,
    pub(super) name: Value<String>,
    pub(super) role: Value<String>,
    pub(super) vlan: Value<i64>,
    pub(super) single_hop: Option<bool>,
    pub(super) multicast: Value<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) id: Value<i64>,
    pub(super) name: Value<String>,
    pub(super) votes: Value<i64>,
    #[serde(default)]
    pub(super) addresses: BTreeMap<Spanned<String>, Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quorum {
    pub(super) mode: Value<String>,
    pub(super) tie_breaker: Value<String>,
    pub(super) witness: Value<String>,
    pub(super) record_lease: Value<String>,
    pub(super) two_node: Value<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Local {
    pub(super) node: Value<String>,
    #[serde(default)]
    pub(super) interfaces: BTreeMap<Spanned<String>, Spanned<String>>,
    pub(super) sender: Value<String>,
    pub(super) dataplane: Value<String>,
    pub(super) rt_priority: Value<i64>,
    pub(super) state_dir: Value<String>,
    pub(super) run_dir: Value<String>,
    pub(super) bpf_dir: Value<String>,
    pub(super) watchdog: Value<String>,
    pub(super) log: Value<String>,
    pub(super) hooks: Value<Hooks>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hooks {
    pub(super) on_node_removed: Value<String>,
    pub(super) on_removal_safe: Value<String>,
    pub(super) on_quorum_lost: Value<String>,
    pub(super) on_view: Value<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) listen: Value<String>,
}
