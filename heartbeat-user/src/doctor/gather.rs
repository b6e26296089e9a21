//! Finding out: the configuration, the node, the machine. Counts that only matter when they grow are read twice, one
//! second apart.

mod interfaces;
mod machine;
mod node;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::facts::{ConfigFacts, Facts, Gathered, NetworkFacts, SecretFacts};
use crate::config::{Config, LocalInterface, Multicast, check_machine};
use crate::witness::file::look_for_marker;
use std::os::unix::fs::PermissionsExt as _;

/// Time between the two readings: as long as `vmstat` and its kin take.
const LOOKING: Duration = Duration::from_secs(1);

/// Where to look.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The node's configuration.
    pub config: PathBuf,
    /// The node's control socket.
    pub socket: PathBuf,
    /// Below it are /proc and /sys.
    pub root: PathBuf,
}

/// Finds out what can be found out, in the network namespace of the caller. Takes a second.
#[must_use]
pub fn gather(sources: &Sources) -> Facts {
    let config = Config::load(&sources.config).map_err(|error| error.to_string());
    let machine = config
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|config| check_machine(config).map_err(|error| error.to_string()).map(|machine| machine.interfaces));
    let before = machine::Counters::read(&sources.root);
    let windows_before = config.as_ref().map_err(Clone::clone).and_then(node::windows);
    thread::sleep(LOOKING);
    let windows = config.as_ref().map_err(Clone::clone).and_then(node::windows);
    let priority =
        config.as_ref().map_or(crate::realtime::constraints::INTERRUPT_THREADS + 1, |it| it.local.rt_priority);
    Facts {
        interfaces: machine
            .and_then(|found| Ok(interfaces_of(config.as_ref().map_err(Clone::clone)?, &found, &sources.root))),
        node: node::ask(&sources.socket, windows_before, windows),
        machine: machine::facts(&sources.root, &before, priority),
        config: config.map(|config| config_facts(&config)),
        config_exists: sources.config.exists(),
    }
}

fn interfaces_of(config: &Config, found: &[LocalInterface], root: &Path) -> Vec<super::InterfaceFacts> {
    let name = |id: u8| config.network(id).map_or_else(|| id.to_string(), |network| network.name.clone());
    found.iter().map(|interface| interfaces::facts(root, &name(interface.network), interface)).collect()
}

fn config_facts(config: &Config) -> ConfigFacts {
    let mine = config.local_node();
    let carries = |id: u8| mine.addresses.contains_key(&id);
    let networks = config.networks.iter().filter(|network| carries(network.id)).map(|network| NetworkFacts {
        id: network.id,
        name: network.name.clone(),
        multicast: matches!(network.multicast, Multicast::Group(_)),
    });
    ConfigFacts {
        interval_ns: config.timing.interval_ns,
        late_timeout_ns: config.timing.late_timeout_ns(),
        silent_timeout_ns: config.timing.silent_timeout_ns(),
        networks: networks.collect(),
        secrets: config.keys.iter().map(|key| secret(&key.file)).collect(),
        fences: config.local.hooks.on_node_removed.is_some(),
        witness: config
            .quorum
            .witness
            .clone()
            .map(|directory| (directory.clone(), look_for_marker(&directory).map_err(|error| error.to_string()))),
    }
}

fn secret(path: &Path) -> SecretFacts {
    let mode: Gathered<u32> = std::fs::metadata(path)
        .map(|metadata| metadata.permissions().mode() & 0o7777)
        .map_err(|error| format!("{} cannot be looked at: {error}", path.display()));
    SecretFacts { path: path.to_owned(), mode }
}
