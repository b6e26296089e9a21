//! The maps of a running node, as anybody finds them under its `bpf_dir`.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use aya::maps::{MapData, MapInfo};
use bytemuck::Pod;
use heartbeat_common::{
    ABI_VERSION, ids,
    records::{LinkRecord, NodeRecord},
};
use heartbeat_tests::cluster::Cluster;
use heartbeat_user::dataplane::memory::Shared;

/// Between two looks at a record: the kernel gives no sign when it writes one.
const PAUSE: Duration = Duration::from_millis(2);

/// Pin of a node's map.
pub(crate) fn path(cluster: &Cluster, node: u16, map: &str) -> PathBuf {
    cluster.node(node).files().bpf_directory.join(format!("v{ABI_VERSION}")).join(map)
}

/// The records of a node's map, whose type the caller knows.
pub(crate) fn open<T: Pod>(cluster: &Cluster, node: u16, map: &str) -> Shared<T> {
    let path = path(cluster, node, map);
    let info = MapInfo::from_pin(&path).unwrap();
    assert_eq!(usize::try_from(info.value_size()).unwrap(), size_of::<T>(), "{map}");
    let data = MapData::from_pin(&path).unwrap();
    Shared::of_map(data.fd(), usize::try_from(info.max_entries()).unwrap()).unwrap()
}

/// A node's record of its link to a peer.
pub(crate) fn link(cluster: &Cluster, node: u16, peer: u16, network: u8) -> LinkRecord {
    let links = open::<LinkRecord>(cluster, node, "LINKS");
    links.read_locked(ids::link_index(peer, network)).unwrap()
}

/// A node's NODE record, to look at or to tamper with.
pub(crate) fn node(cluster: &Cluster, node: u16) -> Shared<NodeRecord> {
    open(cluster, node, "NODE")
}

/// Waits until a node has accepted `count` heartbeats of a link more than in `before`.
pub(crate) fn wait_for_heartbeats(
    cluster: &Cluster,
    node: u16,
    (peer, network): (u16, u8),
    before: &LinkRecord,
    count: u64,
    limit: Duration,
) -> LinkRecord {
    let links = open::<LinkRecord>(cluster, node, "LINKS");
    let deadline = Instant::now() + limit;
    loop {
        let now = links.read_locked(ids::link_index(peer, network)).unwrap();
        if now.received >= before.received + count {
            return now;
        }
        assert!(Instant::now() < deadline, "{count} heartbeats within {limit:?}: before {before:?}, now {now:?}");
        std::thread::sleep(PAUSE);
    }
}

/// What `bpftool map` says; it fails where the map is not there.
pub(crate) fn bpftool(arguments: &[&str]) -> String {
    let output = Command::new("bpftool").args(arguments).output().unwrap();
    assert!(output.status.success(), "bpftool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
