//! The benchmark's own object.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use heartbeat_bench_ebpf::{SLOT_EMPTY, SLOT_SUBJECT};
use heartbeat_common::{
    ids,
    records::{KeyRecord, NetworkTable, NodeRecord, PeerRecord},
};

use crate::scene;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/heartbeat-bench-ebpf"));

/// Programs of the benchmark, with maps that hold the same as those of the data plane.
pub(crate) struct Programs {
    ebpf: Ebpf,
    loaded: BTreeSet<&'static str>,
}

/// What a repeated run gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// The program's verdict on the last repetition.
    pub(crate) verdict: u32,
    /// Average over the repetitions, whole nanoseconds, as the kernel reports it.
    pub(crate) nanoseconds: u64,
}

/// Runs a program over a frame again and again.
pub(crate) fn run(program: &mut Xdp, frame: &[u8], repeat: u32) -> Result<Run> {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
    let result = program.test_run(options).context("BPF_PROG_TEST_RUN failed")?;
    Ok(Run { verdict: result.return_value, nanoseconds: u64::try_from(result.duration.as_nanos()).unwrap_or(u64::MAX) })
}

impl Programs {
    /// Creates the maps and fills them for these peers and interfaces.
    pub(crate) fn open(peers: &[u16], interfaces: &[u32]) -> Result<Self> {
        let links = (u32::from(peers.iter().copied().max().unwrap_or(1)) + 1) * u32::from(ids::MAX_NETWORK);
        let ebpf = EbpfLoader::new()
            .map_max_entries("PEERS", links)
            .load(OBJECT)
            .context("the benchmark's object was not accepted")?;
        let mut programs = Self { ebpf, loaded: BTreeSet::new() };
        programs.array::<NodeRecord>("NODE")?.set(0, scene::node(), 0)?;
        programs.array::<NetworkTable>("NETWORKS")?.set(0, scene::networks(interfaces), 0)?;
        let mut keys = programs.array::<KeyRecord>("KEYS")?;
        for (slot, key) in (0..).zip(scene::keys()) {
            keys.set(slot, key, 0)?;
        }
        let mut records = programs.array::<PeerRecord>("PEERS")?;
        for (network, _) in (1_u8..).zip(interfaces) {
            for node in peers {
                records.set(ids::link_index(*node, network), scene::peer(*node, network, 1), 0)?;
            }
        }
        Ok(programs)
    }

    /// A map as an array of values.
    pub(crate) fn array<T: aya::Pod>(&mut self, name: &'static str) -> Result<Array<&mut MapData, T>> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("the benchmark's object has no map {name}"))?;
        Array::try_from(map).with_context(|| format!("the map {name} is not what was expected"))
    }

    /// As [`Self::array`], as a handle of its own.
    pub(crate) fn take_array<T: aya::Pod>(&mut self, name: &'static str) -> Result<Array<MapData, T>> {
        let map = self.ebpf.take_map(name).with_context(|| format!("the benchmark's object has no map {name}"))?;
        Array::try_from(map).with_context(|| format!("the map {name} is not what was expected"))
    }

    /// A program, loaded.
    pub(crate) fn program(&mut self, name: &'static str) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut Xdp = program.try_into().with_context(|| format!("{name} is no XDP program"))?;
        if self.loaded.insert(name) {
            program.load().with_context(|| format!("the kernel refused the program {name}"))?;
        }
        Ok(program)
    }

    /// What `fresh_subject` and `fresh_empty` go on with.
    pub(crate) fn set_subject(&mut self, subject: &ProgramFd) -> Result<()> {
        // The first program that uses the array decides what may stand in it.
        self.program("fresh_subject")?;
        self.program("fresh_empty")?;
        let empty = self.program("empty")?.fd()?.try_clone()?;
        let map = self.ebpf.map_mut("PROGRAMS").context("the benchmark's object has no map PROGRAMS")?;
        let mut slots = ProgramArray::try_from(map)?;
        slots.set(SLOT_EMPTY, &empty, 0).context("the empty program cannot be called")?;
        slots.set(SLOT_SUBJECT, subject, 0).context("the program under test cannot be called")
    }
}
