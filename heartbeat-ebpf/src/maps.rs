//! The maps, with BTF types so that `bpftool map dump` prints field names. Who writes what: heartbeat-common's records.
//!
//! Sizes of the maps that are indexed by link or node are set by the loader for the cluster at hand.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, PerCpuArray, RingBuf},
    macros::btf_map,
};
use heartbeat_common::{
    metronome::{MetronomeBooks, MetronomeRecord, TargetRecord},
    notice::{Notice, RING_BYTES},
    records::{
        ActiveRecord, AdmissionRecord, ArrivalRecord, CounterRecord, IntervalRecord, JudgeRecord, KeyRecord,
        LinkRecord, MembershipRecord, NetworkTable, NodeRecord, PeerRecord, RejectRecord, SequenceRecord, TimingRecord,
        VerdictRecord,
    },
};

use crate::{judge::Scan, timer::JudgeTimer};

/// Shared with userspace through memory: read, and written by its one writer, without a system call.
const MAPPED: usize = BPF_F_MMAPABLE as usize;
/// Placeholder for what the loader sets.
const SIZED_BY_LOADER: usize = 1;
/// Slot 0 is never a key, so that a key id is its index.
const KEY_SLOTS: usize = heartbeat_common::ids::MAX_KEY as usize + 1;

#[btf_map]
pub(crate) static NODE: Array<NodeRecord, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static NETWORKS: Array<NetworkTable, 1> = Array::new();
#[btf_map]
pub(crate) static PEERS: Array<PeerRecord, SIZED_BY_LOADER, MAPPED> = Array::new();
#[btf_map]
pub(crate) static KEYS: Array<KeyRecord, KEY_SLOTS> = Array::new();
#[btf_map]
pub(crate) static TIMING: Array<TimingRecord, 1> = Array::new();
#[btf_map]
pub(crate) static ACTIVE: Array<ActiveRecord, SIZED_BY_LOADER> = Array::new();
#[btf_map]
pub(crate) static SEQ: Array<SequenceRecord, SIZED_BY_LOADER, MAPPED> = Array::new();

/// Kept here only so that it is made, pinned and adopted with the others; no program reads it.
#[btf_map]
pub(crate) static MEMBERSHIP: Array<MembershipRecord, 1, MAPPED> = Array::new();

#[btf_map]
pub(crate) static LINKS: Array<LinkRecord, SIZED_BY_LOADER, MAPPED> = Array::new();
#[btf_map]
pub(crate) static ARRIVALS: Array<ArrivalRecord, SIZED_BY_LOADER, MAPPED> = Array::new();
#[btf_map]
pub(crate) static INTERVALS: Array<IntervalRecord, SIZED_BY_LOADER, MAPPED> = Array::new();
#[btf_map]
pub(crate) static ADMISSION: Array<AdmissionRecord, SIZED_BY_LOADER, MAPPED> = Array::new();
#[btf_map]
pub(crate) static REJECTS: PerCpuArray<RejectRecord, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<CounterRecord, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static VERDICTS: Array<VerdictRecord, SIZED_BY_LOADER, MAPPED> = Array::new();
#[btf_map]
pub(crate) static PEER_VERDICTS: Array<VerdictRecord, SIZED_BY_LOADER, MAPPED> = Array::new();
#[btf_map]
pub(crate) static JUDGE_STATE: Array<JudgeRecord, 1, MAPPED> = Array::new();
/// Kernel only: writing this element from userspace, even unchanged, silently kills the timer.
#[btf_map]
pub(crate) static JUDGE: Array<JudgeTimer, 1> = Array::new();
/// Kernel only: scratch of the scan.
#[btf_map]
pub(crate) static JUDGE_SCAN: Array<Scan, 1> = Array::new();

#[btf_map]
pub(crate) static METRONOME: Array<MetronomeRecord, 1, MAPPED> = Array::new();
#[btf_map]
pub(crate) static TARGETS: Array<TargetRecord, SIZED_BY_LOADER, MAPPED> = Array::new();
#[btf_map]
pub(crate) static METRONOME_BOOKS: Array<MetronomeBooks, 1, MAPPED> = Array::new();

#[btf_map]
pub(crate) static EVENTS: RingBuf<Notice, RING_BYTES> = RingBuf::new();
