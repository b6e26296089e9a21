//! The kernel side: maps filled, programs loaded, judge armed.

use std::path::Path;

use aya::{
    Ebpf,
    maps::{Array, MapData, MapError, PerCpuArray, RingBuf},
    programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use aya_obj::programs::XdpAttachType;
use bytemuck::Zeroable as _;
use heartbeat_common::records::{ActiveRecord, CounterRecord, KeyRecord, NetworkTable, RejectRecord, TimingRecord};

use crate::reload::keyring::{self, KeySlots};

use super::{
    memory::{Memory, Shared, Sizes},
    object::{self, LoadError, PROGRAM_GATE, PROGRAM_HEARTBEAT, PROGRAM_JUDGE, PROGRAM_TICK},
};
use crate::metronome::Records;

/// A frame for BPF_PROG_TEST_RUN: the judge's program does not look at it, the kernel wants an Ethernet header.
const EMPTY_FRAME: [u8; 64] = [0; 64];
/// XDP_PASS, what the judge's program returns when the timer runs.
const XDP_PASS: u32 = 2;

/// The kernel side could not be set up. Pinned maps are as they were; new ones are pinned, and removed by the caller.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Loading failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map could not be used.
    #[error("the map {map} cannot be used: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What aya says.
        source: MapError,
    },
    /// A map could not be mapped into memory.
    #[error("the map {map} cannot be mapped into memory: {source}")]
    Memory {
        /// Its name.
        map: &'static str,
        /// What mmap says.
        source: std::io::Error,
    },
    /// The judge's program ran and refused.
    #[error("the judge did not start: {0}")]
    Judge(String),
}

/// Maps and programs of one instance.
pub struct Kernel {
    ebpf: Ebpf,
    judge_loaded: bool,
}

/// The per-CPU counters, for whoever reports them.
pub struct KernelCounts {
    rejects: PerCpuArray<MapData, RejectRecord>,
    counters: PerCpuArray<MapData, CounterRecord>,
}

impl Kernel {
    /// Creates or reopens the maps, and loads the program that receives.
    ///
    /// # Errors
    /// [`KernelError::Load`] with the end of the verifier's log.
    pub fn load(sizes: Sizes, pin_dir: Option<&Path>, trace: bool) -> Result<Self, KernelError> {
        let mut kernel = Self { ebpf: object::open(sizes, pin_dir, trace)?, judge_loaded: false };
        let program = kernel.program_mut(PROGRAM_HEARTBEAT)?;
        program.load().map_err(|error| object::program_error(PROGRAM_HEARTBEAT, &error))?;
        Ok(kernel)
    }

    /// Maps the records that are shared through memory.
    ///
    /// # Errors
    /// [`KernelError::Memory`].
    pub fn memory(&self, sizes: Sizes) -> Result<Memory, KernelError> {
        let (nodes, links) = (sizes.nodes as usize, sizes.links as usize);
        Ok(Memory {
            node: self.shared("NODE", 1)?,
            peers: self.shared("PEERS", links)?,
            links: self.shared("LINKS", links)?,
            arrivals: self.shared("ARRIVALS", links)?,
            intervals: self.shared("INTERVALS", links)?,
            admission: self.shared("ADMISSION", links)?,
            verdicts: self.shared("VERDICTS", links)?,
            peer_verdicts: self.shared("PEER_VERDICTS", nodes)?,
            judge: self.shared("JUDGE_STATE", 1)?,
            sequences: self.shared("SEQ", links)?,
            membership: self.shared("MEMBERSHIP", 1)?,
        })
    }

    fn shared<T: bytemuck::Pod>(&self, name: &'static str, entries: usize) -> Result<Shared<T>, KernelError> {
        let data = self.map_data(name)?;
        Shared::of_map(data.fd(), entries).map_err(|source| KernelError::Memory { map: name, source })
    }

    fn map_data(&self, name: &'static str) -> Result<&MapData, KernelError> {
        use aya::maps::Map;
        let (Map::Array(data) | Map::PerCpuArray(data) | Map::RingBuf(data)) = object::map(&self.ebpf, name)? else {
            return Err(LoadError::Missing(name).into());
        };
        Ok(data)
    }

    /// Writes the keys; slot = key id, empty slots accept nothing.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn set_keys(&mut self, keys: &KeySlots) -> Result<(), KernelError> {
        let mut map = self.array::<KeyRecord>("KEYS")?;
        for (slot, key) in (0..).zip(keys) {
            map.set(slot, key, 0).map_err(|source| KernelError::Map { map: "KEYS", source })?;
        }
        Ok(())
    }

    /// Turns one set of keys into another; those that are in both are accepted all the time.
    ///
    /// # Errors
    /// [`KernelError::Map`]; some may be written by then.
    pub fn change_keys(&mut self, old: &KeySlots, new: &KeySlots) -> Result<(), KernelError> {
        let mut map = self.array::<KeyRecord>("KEYS")?;
        for (slot, key) in keyring::writes(old, new) {
            map.set(slot, key, 0).map_err(|source| KernelError::Map { map: "KEYS", source })?;
        }
        Ok(())
    }

    /// Writes the networks of this node.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn set_networks(&mut self, networks: &NetworkTable) -> Result<(), KernelError> {
        self.array::<NetworkTable>("NETWORKS")?
            .set(0, networks, 0)
            .map_err(|source| KernelError::Map { map: "NETWORKS", source })
    }

    /// Writes what the judge watches, and by what times.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn set_judging(&mut self, timing: &TimingRecord, active: &[ActiveRecord]) -> Result<(), KernelError> {
        let mut map = self.array::<ActiveRecord>("ACTIVE")?;
        for (index, record) in (0..).zip(active) {
            map.set(index, record, 0).map_err(|source| KernelError::Map { map: "ACTIVE", source })?;
        }
        self.array::<TimingRecord>("TIMING")?
            .set(0, timing, 0)
            .map_err(|source| KernelError::Map { map: "TIMING", source })
    }

    /// Has the judge watch `more` behind the first `known` links, and go by other times. What it watches already keeps its
    /// place: the judge may be in the middle of a scan.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn change_judging(
        &mut self,
        known: usize,
        more: &[ActiveRecord],
        timing: &TimingRecord,
    ) -> Result<(), KernelError> {
        let mut map = self.array::<ActiveRecord>("ACTIVE")?;
        for (index, record) in (0..).skip(known).zip(more) {
            map.set(index, record, 0).map_err(|source| KernelError::Map { map: "ACTIVE", source })?;
        }
        self.array::<TimingRecord>("TIMING")?
            .set(0, timing, 0)
            .map_err(|source| KernelError::Map { map: "TIMING", source })
    }

    fn array<T: aya::Pod>(&mut self, name: &'static str) -> Result<Array<&mut MapData, T>, KernelError> {
        let map = self.ebpf.map_mut(name).ok_or(LoadError::Missing(name))?;
        Array::try_from(map).map_err(|source| KernelError::Map { map: name, source })
    }

    /// The per-CPU counters, as a handle of their own.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn take_counts(&mut self) -> Result<KernelCounts, KernelError> {
        let rejects = self.ebpf.take_map("REJECTS").ok_or(LoadError::Missing("REJECTS"))?;
        let counters = self.ebpf.take_map("COUNTERS").ok_or(LoadError::Missing("COUNTERS"))?;
        Ok(KernelCounts {
            rejects: rejects.try_into().map_err(|source| KernelError::Map { map: "REJECTS", source })?,
            counters: counters.try_into().map_err(|source| KernelError::Map { map: "COUNTERS", source })?,
        })
    }

    /// The ring of state changes, as a handle of its own.
    ///
    /// # Errors
    /// [`KernelError::Map`].
    pub fn take_ring(&mut self) -> Result<RingBuf<MapData>, KernelError> {
        let ring = self.ebpf.take_map("EVENTS").ok_or(LoadError::Missing("EVENTS"))?;
        ring.try_into().map_err(|source| KernelError::Map { map: "EVENTS", source })
    }

    /// The program that receives.
    ///
    /// # Errors
    /// [`KernelError::Load`] when the object has none.
    pub fn receiver(&mut self) -> Result<&mut Xdp, KernelError> {
        self.program_mut(PROGRAM_HEARTBEAT)
    }

    /// A handle of its own of the program that receives; it is in `folder`, of a BPF file system, for a moment.
    ///
    /// # Errors
    /// [`KernelError::Load`].
    pub fn receiver_handle(&mut self, folder: &Path) -> Result<Xdp, KernelError> {
        // Not the name of a map.
        let path = folder.join(format!("{PROGRAM_HEARTBEAT}-program"));
        // Of a controller that was killed between the two.
        let _gone = std::fs::remove_file(&path);
        let program = self.receiver()?;
        program.pin(&path).map_err(|error| LoadError::Object(object::chain(&error)))?;
        let handle = Xdp::from_pin(&path, XdpAttachType::Interface);
        let _gone = std::fs::remove_file(&path);
        Ok(handle.map_err(|error| object::program_error(PROGRAM_HEARTBEAT, &error))?)
    }

    /// The loaded object, for aya-log.
    pub fn object_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Arms the judge with the callback of this object, whether it ran before or not.
    ///
    /// # Errors
    /// [`KernelError::Load`] where the kernel refuses `bpf_timer` (PREEMPT_RT), [`KernelError::Judge`] when the program
    /// ran and failed.
    pub fn start_judge(&mut self) -> Result<(), KernelError> {
        if !self.judge_loaded {
            let program = self.program_mut(PROGRAM_JUDGE)?;
            program.load().map_err(|error| object::program_error(PROGRAM_JUDGE, &error))?;
            self.judge_loaded = true;
        }
        let options = TestRunOptions { data_in: Some(&EMPTY_FRAME), ..TestRunOptions::default() };
        let result = self
            .program_mut(PROGRAM_JUDGE)?
            .test_run(options)
            .map_err(|error| KernelError::Judge(format!("its program did not run: {error}")))?;
        if result.return_value == XDP_PASS {
            Ok(())
        } else {
            Err(KernelError::Judge("the kernel refused to start its timer".to_owned()))
        }
    }

    /// Loads the programs of the metronome, and gives them out as handles of their own; they are in `folder`, of a BPF file
    /// system, for a moment.
    ///
    /// # Errors
    /// [`KernelError::Load`].
    pub fn metronome_programs(&mut self, folder: &Path) -> Result<[SchedClassifier; 2], KernelError> {
        Ok([self.classifier(PROGRAM_GATE, folder)?, self.classifier(PROGRAM_TICK, folder)?])
    }

    fn classifier(&mut self, name: &'static str, folder: &Path) -> Result<SchedClassifier, KernelError> {
        let explain = |error| object::program_error(name, &error);
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        let program: &mut SchedClassifier = program.try_into().map_err(|_| LoadError::Missing(name))?;
        if program.fd().is_err() {
            program.load().map_err(explain)?;
        }
        // Not the name of an attachment's pin.
        let path = folder.join(format!("{name}-program"));
        // Of a controller that was killed between the two.
        let _gone = std::fs::remove_file(&path);
        program.pin(&path).map_err(|error| LoadError::Object(object::chain(&error)))?;
        let handle = SchedClassifier::from_pin(&path).map_err(explain);
        let _gone = std::fs::remove_file(&path);
        Ok(handle?)
    }

    /// The records of the metronome.
    ///
    /// # Errors
    /// [`KernelError::Memory`].
    pub fn metronome_records(&self, links: usize) -> Result<Records, KernelError> {
        Ok(Records {
            metronome: self.shared("METRONOME", 1)?,
            targets: self.shared("TARGETS", links)?,
            books: self.shared("METRONOME_BOOKS", 1)?,
        })
    }

    fn program_mut(&mut self, name: &'static str) -> Result<&mut Xdp, KernelError> {
        let program = self.ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
        program.try_into().map_err(|_| LoadError::Missing(name).into())
    }
}

impl KernelCounts {
    /// Sums over the CPUs.
    ///
    /// # Errors
    /// What the system call says.
    pub fn read(&self) -> Result<(RejectRecord, CounterRecord), MapError> {
        let mut rejects = RejectRecord::zeroed();
        for mut cpu in self.rejects.get(&0, 0)?.iter().copied() {
            for (sum, count) in rejects.counters().iter_mut().zip(cpu.counters()) {
                *sum += *count;
            }
        }
        let mut counters = CounterRecord::zeroed();
        for cpu in self.counters.get(&0, 0)?.iter() {
            counters.accepted += cpu.accepted;
            counters.control_passed += cpu.control_passed;
            counters.control_limited += cpu.control_limited;
            counters.contended += cpu.contended;
            counters.ring_full += cpu.ring_full;
        }
        Ok((rejects, counters))
    }
}
