//! What a node's pinned maps say, read beside it.

use std::{marker::PhantomData, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, MapInfo};
use bytemuck::Pod;
use heartbeat_common::{
    ABI_VERSION, ids,
    records::{JudgeRecord, LinkRecord},
};
use heartbeat_tests::process::Node;
use heartbeat_user::dataplane::memory::Shared;

/// The latest that the judge ever ran after its time.
pub(super) fn judge_latest_ns(node: &Node) -> Result<u64> {
    Ok(shared::<JudgeRecord>(node, "JUDGE_STATE")?.read(0).context("JUDGE_STATE cannot be read")?.latest_ns)
}

/// The longest time between two arrivals on any of these links.
pub(super) fn longest_arrival_gap_ns(node: &Node, links: impl Iterator<Item = (u16, u8)>) -> Result<u64> {
    let map = shared::<LinkRecord>(node, "LINKS")?;
    let gap = |(peer, network)| -> Result<u64> {
        Ok(map.read_locked(ids::link_index(peer, network)).context("LINKS cannot be read")?.longest_gap_ns)
    };
    links.map(gap).try_fold(0, |longest, gap| Ok(longest.max(gap?)))
}

/// The records of a node's map, as memory that it shares.
pub(super) fn shared<T: Pod>(node: &Node, name: &str) -> Result<Shared<T>> {
    Pinned::of(node, name).open()
}

/// Where a node pins a map; each controller may pin another one.
pub(super) struct Pinned<T> {
    path: PathBuf,
    records: PhantomData<fn() -> T>,
}

impl<T: Pod> Pinned<T> {
    pub(super) fn of(node: &Node, name: &str) -> Self {
        let path = node.files().bpf_directory.join(format!("v{ABI_VERSION}")).join(name);
        Self { path, records: PhantomData }
    }

    pub(super) fn open(&self) -> Result<Shared<T>> {
        let cannot = || format!("{} cannot be read", self.path.display());
        let info = MapInfo::from_pin(&self.path).with_context(cannot)?;
        let fits = usize::try_from(info.value_size())? == size_of::<T>();
        ensure!(fits, "{} holds records of another size", self.path.display());
        let data = MapData::from_pin(&self.path).with_context(cannot)?;
        Shared::of_map(data.fd(), usize::try_from(info.max_entries())?).with_context(cannot)
    }
}
