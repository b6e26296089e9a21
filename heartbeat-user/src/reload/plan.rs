//! From the configuration in use and a new one to what is to be done.

use std::fmt;

use crate::config::{Config, KeyConfig, Local, Network, Node};

/// What a new configuration means for a node that runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What holds from now on: what all nodes must agree on is that of the configuration in use, the rest is new.
    pub effective: Config,
    /// The new configuration as a whole, if it differs in what all nodes must agree on: it waits until all members have it.
    pub staged: Option<Config>,
    /// The keys differ, or the one to send with.
    pub keys: bool,
    /// What changes at once, in words.
    pub changes: Vec<String>,
}

/// A running node cannot follow the new configuration; nothing has changed. Each entry says what would need more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub Vec<String>);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Refused {}

/// What to do to run with `new` instead of `current`. `capacity` is the highest node id that the maps have room for.
///
/// # Errors
/// [`Refused`], with everything that stands in the way.
pub fn plan(current: &Config, new: &Config, capacity: u16) -> Result<Plan, Refused> {
    let mut reasons = Vec::new();
    if new.cluster_name != current.cluster_name {
        reasons.push("[cluster] name changes with a new cluster only".to_owned());
    }
    fixed_local(&current.local, &new.local, &mut reasons);
    let differs = new.digest() != current.digest();
    if differs {
        fixed_shared(current, new, capacity, &mut reasons);
    }
    if !reasons.is_empty() {
        return Err(Refused(reasons));
    }
    let mut changes = Vec::new();
    let keys = key_changes(current, new, &mut changes);
    if new.local.hooks != current.local.hooks {
        changes.push("hooks".to_owned());
    }
    if new.local.log != current.local.log {
        let level = new.local.log.map_or("as at the start", |level| level.as_str());
        changes.push(format!("log level: {level}"));
    }
    if new.metrics != current.metrics {
        let listen = new.metrics.listen.map_or_else(|| "off".to_owned(), |address| address.to_string());
        changes.push(format!("metrics: {listen}"));
    }
    let mut effective = current.clone();
    effective.keys.clone_from(&new.keys);
    effective.send_key = new.send_key;
    effective.local = new.local.clone();
    effective.metrics = new.metrics.clone();
    effective.file.clone_from(&new.file);
    Ok(Plan { effective, staged: differs.then(|| new.clone()), keys, changes })
}

/// Settings of this machine that threads, maps and directories were made with.
fn fixed_local(current: &Local, new: &Local, reasons: &mut Vec<String>) {
    let Local {
        node,
        interfaces,
        sender,
        dataplane,
        rt_priority,
        state_dir,
        run_dir,
        bpf_dir,
        watchdog,
        // These change at once.
        hooks: _,
        log: _,
    } = current;
    for (name, same) in [
        ("node", *node == new.node),
        ("interfaces", *interfaces == new.interfaces),
        ("sender", *sender == new.sender),
        ("dataplane", *dataplane == new.dataplane),
        ("rt_priority", *rt_priority == new.rt_priority),
        ("state_dir", *state_dir == new.state_dir),
        ("run_dir", *run_dir == new.run_dir),
        ("bpf_dir", *bpf_dir == new.bpf_dir),
        ("watchdog", *watchdog == new.watchdog),
    ] {
        if !same {
            reasons.push(format!("[local] {name} changes with a restart only"));
        }
    }
}

/// What cannot be changed even when all members agree to it.
fn fixed_shared(current: &Config, new: &Config, capacity: u16, reasons: &mut Vec<String>) {
    if current.networks != new.networks {
        let names = |networks: &[Network]| networks.iter().map(|network| network.name.clone()).collect::<Vec<_>>();
        let what = if names(&current.networks) == names(&new.networks) { "its settings" } else { "the list" };
        reasons.push(format!("[[network]]: {what} of networks changes with a restart of all nodes only"));
    }
    if current.quorum.witness.is_some() != new.quorum.witness.is_some() {
        reasons.push("[quorum] witness is added or removed with a restart of all nodes only".to_owned());
    }
    if current.quorum.witness != new.quorum.witness && new.quorum.witness.is_some() {
        reasons.push("[quorum] witness moves with a restart of all nodes only".to_owned());
    }
    if current.quorum.record_lease_ns != new.quorum.record_lease_ns {
        reasons.push("[quorum] record_lease changes with a restart of all nodes only".to_owned());
    }
    let known = |id: u16, nodes: &[Node]| nodes.iter().find(|node| node.id == id).cloned();
    for node in &new.nodes {
        match known(node.id, &current.nodes) {
            Some(before) if before.addresses != node.addresses => reasons.push(format!(
                "[[node]] `{}` addresses: remove the node, and add it again with its new addresses",
                node.name
            )),
            Some(before) if before.name != node.name => {
                reasons.push(format!("[[node]] {} name: remove the node, and add it again with its new name", node.id));
            }
            Some(_) => {}
            None if node.id > capacity => reasons.push(format!(
                "[[node]] `{}` id: the maps of this node have room for ids up to {capacity}; take a lower one, or restart \
                 all nodes",
                node.name
            )),
            None => {}
        }
    }
}

/// Whether the keys differ; how, in words.
fn key_changes(current: &Config, new: &Config, changes: &mut Vec<String>) -> bool {
    let before = changes.len();
    let of = |keys: &[KeyConfig], id: u8| keys.iter().find(|key| key.id == id).map(|key| key.secret.clone());
    for key in &new.keys {
        match of(&current.keys, key.id) {
            None => changes.push(format!("key {} is accepted", key.id)),
            Some(secret) if secret != key.secret => changes.push(format!("key {} has another secret", key.id)),
            Some(_) => {}
        }
    }
    for key in &current.keys {
        if of(&new.keys, key.id).is_none() {
            changes.push(format!("key {} is not accepted any more", key.id));
        }
    }
    let sends = |config: &Config| (config.send_key, of(&config.keys, config.send_key));
    if sends(new) != sends(current) {
        let unknown = of(&current.keys, new.send_key) != of(&new.keys, new.send_key);
        let note = if unknown { ", which peers that do not have it yet refuse" } else { "" };
        changes.push(format!("key {} is sent with{note}", new.send_key));
    }
    changes.len() > before
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = r#"
[cluster]
name = "demo"
send_key = 1
key = [{ id = 1, file = "key1" }]
[[network]]
id = 1
name = "private"
role = "internal"
[[node]]
id = 1
name = "alpha"
addresses = { private = "10.0.0.1" }
[[node]]
id = 2
name = "bravo"
addresses = { private = "10.0.0.2" }
[[node]]
id = 3
name = "charlie"
addresses = { private = "10.0.0.3" }
[local]
node = "alpha"
"#;

    const FOURTH: &str = "[[node]]\nid = 4\nname = \"delta\"\naddresses = { private = \"10.0.0.4\" }\n[local]";

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            for name in ["key1", "key2"] {
                crate::keys::Secret::generate().unwrap().write_new(&directory.path().join(name)).unwrap();
            }
            Self(directory)
        }

        fn config(&self, text: &str) -> Config {
            Config::parse(&self.0.path().join("heartbeat.toml"), text, "alpha").unwrap()
        }

        fn plan(&self, from: &str, to: &str) -> Result<Plan, Refused> {
            assert!(TEXT.contains(from), "{from}");
            plan(&self.config(TEXT), &self.config(&TEXT.replace(from, to)), 31)
        }
    }

    #[test]
    fn the_same_file_changes_nothing() {
        let plan = Files::new().plan("[local]", "# a comment\n[local]").unwrap();
        assert!(plan.changes.is_empty() && plan.staged.is_none() && !plan.keys, "{plan:?}");
    }

    #[test]
    fn keys_change_at_once_and_each_pass_says_what_it_does() {
        let files = Files::new();
        let one = "key = [{ id = 1, file = \"key1\" }]";
        let both = "key = [{ id = 1, file = \"key1\" }, { id = 2, file = \"key2\" }]";
        let added = TEXT.replace(one, both);
        let switched = added.replace("send_key = 1", "send_key = 2");
        let removed = switched.replace(both, "key = [{ id = 2, file = \"key2\" }]");
        for (before, after, words) in [
            (TEXT, added.as_str(), "key 2 is accepted"),
            (&added, &switched, "key 2 is sent with"),
            (&switched, &removed, "key 1 is not accepted any more"),
        ] {
            let plan = plan(&files.config(before), &files.config(after), 31).unwrap();
            assert_eq!(plan.changes, [words]);
            assert!(plan.keys && plan.staged.is_none());
            assert_eq!(plan.effective.send_key, files.config(after).send_key);
        }
        let hasty = plan(&files.config(TEXT), &files.config(&switched), 31).unwrap();
        assert!(hasty.changes.iter().any(|words| words.contains("refuse")), "{:?}", hasty.changes);
        let replaced = files.plan("file = \"key1\"", "file = \"key2\"").unwrap();
        assert_eq!(replaced.changes[0], "key 1 has another secret");
    }

    #[test]
    fn nodes_votes_and_timing_are_staged_and_leave_the_rest_as_it_is() {
        let files = Files::new();
        for (from, to) in [
            ("[local]", FOURTH),
            ("name = \"bravo\"", "name = \"bravo\"\nvotes = 2"),
            ("[[network]]", "[timing]\nlost_after = 8\n[[network]]"),
            ("[local]", "[quorum]\ntie_breaker = \"bravo\"\n[local]"),
        ] {
            let plan = files.plan(from, to).unwrap();
            let staged = plan.staged.unwrap();
            assert_ne!(staged.digest(), plan.effective.digest(), "{to}");
            assert_eq!(plan.effective.digest(), files.config(TEXT).digest(), "{to}");
            assert!(plan.changes.is_empty(), "{to}");
        }
    }

    #[test]
    fn hooks_and_metrics_change_at_once() {
        let files = Files::new();
        let both =
            "[metrics]\nlisten = \"127.0.0.1:9343\"\n[local]\nhooks = { on_view = \"/bin/true\" }\nlog = \"debug\"";
        let plan = files.plan("[local]", both).unwrap();
        assert_eq!(plan.changes, ["hooks", "log level: debug", "metrics: 127.0.0.1:9343"]);
        assert_eq!(plan.effective.local.hooks.on_view.as_deref(), Some(Path::new("/bin/true")));
        assert!(plan.effective.metrics.listen.is_some() && !plan.keys);
    }

    #[test]
    fn what_a_running_node_cannot_follow_is_refused_as_a_whole() {
        let files = Files::new();
        for (from, to, words) in [
            ("name = \"demo\"", "name = \"other\"", "[cluster] name"),
            ("node = \"alpha\"", "node = \"bravo\"", "[local] node"),
            ("node = \"alpha\"", "node = \"alpha\"\nstate_dir = \"/elsewhere\"", "[local] state_dir"),
            ("node = \"alpha\"", "node = \"alpha\"\nrt_priority = 70", "[local] rt_priority"),
            ("role = \"internal\"", "role = \"mixed\"", "its settings of networks"),
            ("10.0.0.2", "10.0.0.9", "`bravo` addresses"),
            ("name = \"bravo\"", "name = \"bravissimo\"", "2 name"),
            ("[local]", &FOURTH.replace("id = 4", "id = 40"), "room for ids up to 31"),
            ("[local]", "[quorum]\nwitness = \"/mnt/witness\"\n[local]", "[quorum] witness"),
        ] {
            let refused = files.plan(from, to).unwrap_err();
            assert!(refused.to_string().contains(words), "{words}: {refused}");
        }
        let two = TEXT.replace("name = \"demo\"", "name = \"other\"").replace("10.0.0.2", "10.0.0.9");
        assert_eq!(plan(&files.config(TEXT), &files.config(&two), 31).unwrap_err().0.len(), 2);
    }
}
