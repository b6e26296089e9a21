//! From the file as written to a configuration that holds: ranges, uniqueness, references.

mod cluster;
mod local;
mod networks;
mod nodes;

use std::path::Path;

use super::checker::Checker;
use super::error::ConfigError;
use super::file::File;
use super::model::{Config, Metrics};

/// Everything that is wrong with `file`, or the configuration that it describes.
///
/// `host_name` is the name that the local node has unless the file says otherwise.
pub(super) fn check(path: &Path, text: &str, file: &File, host_name: &str) -> Result<Config, ConfigError> {
    let mut checker = Checker::new(text);
    let directory = path.parent().unwrap_or(Path::new(""));
    let cluster = cluster::cluster(&mut checker, file.cluster.as_ref(), directory);
    let mut timing = cluster::timing(&mut checker, file.timing.as_ref().map(|table| table.get_ref()));
    let networks = networks::networks(&mut checker, &file.network);
    let nodes = nodes::nodes(&mut checker, &file.node, &networks);
    let quorum = nodes::quorum(&mut checker, file.quorum.as_ref().map(|table| table.get_ref()), &nodes);
    let grace = file.timing.as_ref().and_then(|table| table.get_ref().grace.as_ref());
    nodes::grace_with_witness(&mut checker, &mut timing, &quorum, grace);
    let local = local::local(&mut checker, file.local.as_ref(), &nodes, &networks, host_name);
    let metrics = Metrics {
        listen: file.metrics.as_ref().and_then(|table| local::listen_address(&mut checker, &table.get_ref().listen)),
    };
    if !checker.problems.is_empty() {
        return Err(ConfigError::new(path, checker.problems));
    }
    Ok(Config {
        file: path.to_owned(),
        cluster_name: cluster.name,
        keys: cluster.keys,
        send_key: cluster.send_key,
        timing,
        networks,
        nodes,
        quorum,
        local,
        metrics,
        places: checker.places,
    })
}
