//! The metronome: heartbeats that the kernel paces and sends, whether this process runs or not.
//!
//! A packet waits in a queueing discipline, comes out once in an interval, is copied to every peer with the records of that
//! very moment, and goes back to wait (docs/metronome.md). Here are its devices and programs ([`layout`]), where it sends
//! ([`targets`]), how fast ([`pace`]), when it is chosen ([`choice`]), and who looks after it: the real-time thread
//! ([`standby`]), which never depends on it, and a thread of normal priority.

mod attach;
pub mod choice;
mod keeper;
pub mod layout;
mod neighbours;
pub mod pace;
mod requests;
mod seed;
pub mod standby;
pub mod targets;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow};
use aya::programs::SchedClassifier;
use bytemuck::Zeroable as _;
use heartbeat_common::metronome::{MetronomeBooks, MetronomeRecord, TargetRecord};

pub use self::keeper::Tell;
use self::{
    keeper::Keeper,
    layout::Names,
    neighbours::Neighbours,
    pace::Pace,
    requests::Requests,
    seed::Seeder,
    standby::{Standby, StandbyReport, StandbyStatistics},
    targets::{HardwareAddress, Target},
};
use crate::{
    config::{Config, Machine},
    dataplane::{memory::Shared, pins::Pins},
};

/// The metronome's maps as shared memory.
#[derive(Debug)]
pub struct Records {
    /// What it sends by.
    pub metronome: Shared<MetronomeRecord>,
    /// Where to.
    pub targets: Shared<TargetRecord>,
    /// What it did.
    pub books: Shared<MetronomeBooks>,
}

impl Records {
    /// Does it beat: was the last lap not longer ago than three intervals?
    #[must_use]
    pub fn beats(&self, now_ns: u64, interval_ns: u64) -> bool {
        let (Some(record), Some(books)) = (self.metronome.read(0), self.books.read(0)) else { return false };
        record.seed != 0 && books.seed == record.seed && now_ns.saturating_sub(books.lap_ns) <= 3 * interval_ns
    }
}

/// What of a data plane in the kernel a metronome needs.
pub struct Parts {
    /// The programs `gate` and `tick`.
    pub programs: [SchedClassifier; 2],
    /// The maps.
    pub records: Records,
}

/// A metronome, on its devices.
pub struct Metronome {
    /// Its maps.
    pub records: Arc<Records>,
    /// What the real-time thread did beside it.
    pub statistics: Arc<StandbyStatistics>,
    body: Option<Body>,
    keeper: Option<Keeper>,
    names: Names,
    pins: PathBuf,
    standby: Option<Standby>,
}

/// What the keeper looks after.
pub(crate) struct Body {
    names: Names,
    pins: PathBuf,
    pace: Pace,
    programs: [SchedClassifier; 2],
    records: Arc<Records>,
    statistics: Arc<StandbyStatistics>,
    targets: Vec<Target>,
    neighbours: Neighbours,
    carriers: BTreeMap<u32, HardwareAddress>,
}

impl Metronome {
    /// Makes the devices, or goes on with those of an earlier controller whose maps were adopted. Nothing is sent before the
    /// real-time thread has seeded it.
    ///
    /// # Errors
    /// What prevents it; nothing of it is left then.
    pub fn prepare(config: &Config, machine: &Machine, parts: Parts) -> Result<Self> {
        let names = Names::of(&config.local.bpf_dir);
        let pins = Pins::new(&config.local.bpf_dir).metronome();
        let prepared = Self::try_prepare(config, machine, parts, &names, &pins);
        if prepared.is_err() {
            // What cannot be removed now is refused, and told, at the next start.
            let _removed = remove(&config.local.bpf_dir);
        }
        prepared
    }

    fn try_prepare(config: &Config, machine: &Machine, parts: Parts, names: &Names, pins: &Path) -> Result<Self> {
        let targets = targets::planned(config, machine);
        let count = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return Err(anyhow!("there is nobody on a single-hop network to send to"));
        }
        let pace = Pace::new(config.timing.interval_ns, count);
        let seeder = Seeder::new(&pace).context("a packet socket (CAP_NET_RAW)")?;
        let (records, statistics) = (Arc::new(parts.records), Arc::new(StandbyStatistics::default()));
        let links: Vec<u32> = targets.iter().map(|target| target.link).collect();
        let mut body = Body {
            names: names.clone(),
            pins: pins.to_owned(),
            pace,
            programs: parts.programs,
            records: Arc::clone(&records),
            statistics: Arc::clone(&statistics),
            targets,
            neighbours: Neighbours::read().context("the neighbours cannot be read")?,
            carriers: BTreeMap::new(),
        };
        let requests = Requests::open().context("a routing socket")?;
        body.read_carriers(&requests);
        body.write_targets(None);
        let standing = names.upper_index().filter(|_| body.pin("tick").exists() && body.pin("gate").exists());
        let upper = match standing {
            Some(upper) => upper,
            None => body.build_devices()?,
        };
        // The seed of an earlier controller goes on; 0 where there is none.
        let seed = records.metronome.read(0).map_or(0, |record| record.seed);
        let record = MetronomeRecord {
            seed: if standing.is_some() { seed } else { 0 },
            ifindex: upper,
            length: pace.length,
            targets: count,
            per_lap: pace.per_lap,
            key: u32::from(config.send_key),
            reserved: 0,
        };
        records.metronome.write(0, &record);
        body.attach().map_err(|error| anyhow!(error))?;
        let standby = Standby::new(
            Arc::clone(&records),
            Arc::clone(&statistics),
            seeder,
            &links,
            config.timing.interval_ns,
            &pace,
        );
        Ok(Self {
            records,
            statistics,
            body: Some(body),
            keeper: None,
            names: names.clone(),
            pins: pins.to_owned(),
            standby: Some(standby),
        })
    }

    /// The real-time thread's side, once.
    pub fn take_standby(&mut self) -> Option<Standby> {
        self.standby.take()
    }

    /// Starts the thread that keeps hardware addresses current.
    ///
    /// # Errors
    /// When the kernel gives no socket or thread; the metronome then sends to whom it knows.
    pub fn keep(&mut self, tell: Tell) -> io::Result<()> {
        if let Some(body) = self.body.take() {
            self.keeper = Some(Keeper::start(body, tell)?);
        }
        Ok(())
    }

    /// Removes devices and pins.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(mut self) -> io::Result<()> {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stop());
        }
        remove_parts(&self.names, &self.pins)
    }
}

impl Body {
    fn pin(&self, program: &str) -> PathBuf {
        self.pins.join(program)
    }

    fn build_devices(&mut self) -> Result<u32> {
        remove_parts(&self.names, &self.pins).context("the devices of an earlier metronome cannot be removed")?;
        self.names.build(&self.pace).context("the metronome's devices cannot be made")
    }

    fn attach(&mut self) -> Result<(), String> {
        let pins = [self.pin("gate"), self.pin("tick")];
        fs::create_dir_all(&self.pins).map_err(|error| format!("{}: {error}", self.pins.display()))?;
        for ((program, device), pin) in self.programs.iter_mut().zip([&self.names.upper, &self.names.lower]).zip(&pins)
        {
            attach::attach(program, device, pin)?;
        }
        Ok(())
    }

    fn rebuild(&mut self) -> Result<(), String> {
        let upper = self.build_devices().map_err(|error| format!("{error:#}"))?;
        self.attach()?;
        let old = self.records.metronome.read(0).unwrap_or_else(MetronomeRecord::zeroed);
        // The word with the interface, and only it: the seed is the real-time thread's.
        let offset = std::mem::offset_of!(MetronomeRecord, ifindex);
        let word: [u8; 8] = bytemuck::cast([upper, old.length]);
        if let Some(cell) = self.records.metronome.word(0, offset) {
            cell.store(u64::from_ne_bytes(word), std::sync::atomic::Ordering::SeqCst);
        }
        Ok(())
    }

    fn standby_report(&self) -> StandbyReport {
        self.statistics.report()
    }

    /// Own hardware addresses; true if one is another than before.
    fn read_carriers(&mut self, requests: &Requests) -> bool {
        let indexes: std::collections::BTreeSet<u32> = self.targets.iter().map(|target| target.carrier).collect();
        let carriers: BTreeMap<u32, HardwareAddress> =
            indexes.into_iter().filter_map(|index| Some((index, requests.link_of(index).ok()?.address?))).collect();
        let changed = carriers != self.carriers;
        self.carriers = carriers;
        changed
    }

    /// Writes the records of all targets, or of those at one place.
    fn write_targets(&self, place: Option<neighbours::Place>) {
        for (position, target) in (0..).zip(&self.targets) {
            if place.is_some_and(|place| place != (target.carrier, target.destination)) {
                continue;
            }
            let own = self.carriers.get(&target.carrier);
            let record = match own {
                Some(own) => target.record(*own, self.neighbours.of(target)),
                // Not an Ethernet, or gone: the thread sends there.
                None => TargetRecord { ifindex: 0, ..target.record([0; 6], None) },
            };
            self.records.targets.write(position, &record);
        }
    }
}

/// Removes the devices and pins of the metronome that belongs to a `bpf_dir`, whoever made them. None there is no error.
///
/// # Errors
/// What the kernel says.
pub fn remove(bpf_dir: &Path) -> io::Result<()> {
    remove_parts(&Names::of(bpf_dir), &Pins::new(bpf_dir).metronome())
}

fn remove_parts(names: &Names, pins: &Path) -> io::Result<()> {
    names.remove()?;
    match fs::remove_dir_all(pins) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
