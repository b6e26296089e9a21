//! The maps that the checks look up, under the names of the real object, and those of the benchmark.

use aya_ebpf::{
    btf_maps::{Array, ProgramArray},
    macros::btf_map,
};
use heartbeat_bench_ebpf::{SOURCES as SOURCE_COUNT, SourceRecord, StreamRecord};
use heartbeat_common::records::{KeyRecord, NetworkTable, NodeRecord, PeerRecord};

/// Placeholder for what the loader sets.
const SIZED_BY_LOADER: usize = 1;

#[btf_map]
pub(crate) static NODE: Array<NodeRecord, 1> = Array::new();
#[btf_map]
pub(crate) static NETWORKS: Array<NetworkTable, 1> = Array::new();
#[btf_map]
pub(crate) static PEERS: Array<PeerRecord, SIZED_BY_LOADER> = Array::new();
#[btf_map]
pub(crate) static KEYS: Array<KeyRecord, { heartbeat_common::ids::MAX_KEY as usize + 1 }> = Array::new();

#[btf_map]
pub(crate) static STREAM: Array<StreamRecord, 1> = Array::new();
#[btf_map]
pub(crate) static SOURCES: Array<SourceRecord, SOURCE_COUNT> = Array::new();
#[btf_map]
pub(crate) static PROGRAMS: ProgramArray<2> = ProgramArray::new();

/// Nanoseconds that `hold` holds its CPU.
#[btf_map]
pub(crate) static HOLD: Array<u64, 1> = Array::new();
