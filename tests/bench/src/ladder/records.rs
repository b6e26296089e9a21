//! What a node's pinned maps say, read beside it.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Array, Map, MapData},
};
use heartbeat_common::{
    ABI_VERSION, ids,
    records::{JudgeRecord, LinkRecord},
};
use heartbeat_tests::process::Node;

/// The latest that the judge ever ran after its time.
pub(super) fn judge_latest_ns(node: &Node) -> Result<u64> {
    Ok(open::<JudgeRecord>(node, "JUDGE_STATE")?.get(&0, 0).context("JUDGE_STATE cannot be read")?.latest_ns)
}

/// The longest time between two arrivals on any of these links.
pub(super) fn longest_arrival_gap_ns(node: &Node, links: impl Iterator<Item = (u16, u8)>) -> Result<u64> {
    let map = open::<LinkRecord>(node, "LINKS")?;
    let gap = |(peer, network)| -> Result<u64> {
        Ok(map.get(&ids::link_index(peer, network), 0).context("LINKS cannot be read")?.longest_gap_ns)
    };
    links.map(gap).try_fold(0, |longest, gap| Ok(longest.max(gap?)))
}

fn open<T: Pod>(node: &Node, name: &str) -> Result<Array<MapData, T>> {
    let path = node.files().bpf_directory.join(format!("v{ABI_VERSION}")).join(name);
    from_pin(&path).with_context(|| format!("{} cannot be read", path.display()))
}

fn from_pin<T: Pod>(path: &Path) -> Result<Array<MapData, T>> {
    Ok(Array::try_from(Map::Array(MapData::from_pin(path)?))?)
}
