//! What the real-time thread does beside a metronome: it looks whether it beats, sends what it does not reach, sends
//! everything when it is late, and seeds it anew when it is lost.
//!
//! On the path of the sender: no allocation, no lock, no file.

use std::{
    mem::offset_of,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
};

use heartbeat_common::metronome::{MetronomeBooks, MetronomeRecord, TargetRecord};

use super::{Records, pace::Pace, seed::Seeder};

/// What the thread has to send in this interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Everything: the metronome is late, or lost.
    Everything,
    /// What the metronome does not reach.
    Rest,
}

/// What it did, for status and metrics.
#[derive(Debug, Default)]
pub struct StandbyStatistics {
    takeovers: AtomicU64,
    seeds: AtomicU64,
    fruitless: AtomicU64,
    last_errno: AtomicI32,
    retired: AtomicBool,
}

/// Why the thread sends once the metronome was stopped for good.
pub const RETIRED: &str =
    "The configuration of the cluster has changed: the real-time thread sends until the next start";

/// A copy of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandbyReport {
    /// Intervals in which the thread sent everything.
    pub takeovers: u64,
    /// Packets put on their way; the first one at start.
    pub seeds: u64,
    /// Seeds in a row after which no lap came.
    pub fruitless: u64,
    /// Error of the last seed that was refused; 0 is none.
    pub last_errno: i32,
    /// The configuration has changed: the thread sends everything from now on.
    pub retired: bool,
}

impl StandbyStatistics {
    /// A copy.
    #[must_use]
    pub fn report(&self) -> StandbyReport {
        StandbyReport {
            takeovers: self.takeovers.load(Ordering::Relaxed),
            seeds: self.seeds.load(Ordering::Relaxed),
            fruitless: self.fruitless.load(Ordering::Relaxed),
            last_errno: self.last_errno.load(Ordering::Relaxed),
            retired: self.retired.load(Ordering::Relaxed),
        }
    }
}

/// The real-time thread's side of a metronome.
pub struct Standby {
    /// What it did.
    pub statistics: Arc<StandbyStatistics>,
    records: Arc<Records>,
    seeder: Seeder,
    /// Position in TARGETS by link; `None` where the metronome does not send.
    positions: Vec<Option<u32>>,
    interval_ns: u64,
    lap_ns: u64,
    seeded_ns: u64,
}

impl Standby {
    pub(super) fn new(
        records: Arc<Records>,
        statistics: Arc<StandbyStatistics>,
        seeder: Seeder,
        links: &[u32],
        interval_ns: u64,
        pace: &Pace,
    ) -> Self {
        let mut positions = Vec::new();
        for (position, link) in (0..).zip(links) {
            let place = usize::try_from(*link).unwrap_or(0);
            if positions.len() <= place {
                positions.resize(place + 1, None);
            }
            positions[place] = Some(position);
        }
        Self { statistics, records, seeder, positions, interval_ns, lap_ns: pace.lap_ns, seeded_ns: 0 }
    }

    /// What is to be sent now; seeds the metronome where it is lost.
    pub fn duty(&mut self, now_ns: u64) -> Duty {
        if self.statistics.retired.load(Ordering::Relaxed) {
            return Duty::Everything;
        }
        let silent_ns = self.silent_ns(now_ns);
        if silent_ns.is_some_and(|silent_ns| silent_ns <= self.late_ns()) {
            self.statistics.fruitless.store(0, Ordering::Relaxed);
            return Duty::Rest;
        }
        self.statistics.takeovers.fetch_add(1, Ordering::Relaxed);
        // A packet that is only late would be thrown away for another one, and its lap with it.
        let lost_ns = self.late_ns() + self.interval_ns;
        let since_seeded_ns = now_ns.saturating_sub(self.seeded_ns);
        if silent_ns.is_none_or(|silent_ns| silent_ns > lost_ns) && since_seeded_ns > lost_ns {
            self.seed(now_ns);
        }
        Duty::Everything
    }

    /// When the thread should look next so that it is just behind the metronome's turn; `None` where it is already, or where
    /// the metronome does not beat.
    #[must_use]
    pub fn next_look_ns(&self, now_ns: u64) -> Option<u64> {
        let books = self.records.books.read(0)?;
        let age_ns = self.silent_ns(now_ns)?;
        let round_age_ns = now_ns.saturating_sub(books.round_ns);
        let fits = self.interval_ns / 8..=self.interval_ns / 2;
        if age_ns > self.late_ns() || round_age_ns > self.interval_ns || fits.contains(&round_age_ns) {
            return None;
        }
        Some(books.round_ns + self.interval_ns + self.interval_ns / 4)
    }

    /// Does the metronome send on this link now?
    #[must_use]
    pub fn serves(&self, link: u32) -> bool {
        let position = usize::try_from(link).ok().and_then(|place| self.positions.get(place).copied().flatten());
        position.is_some_and(|position| self.records.ifindex(position) != 0)
    }

    /// Another key from the next heartbeat on.
    pub fn sign_with(&self, key_id: u8) {
        let word = u64::from_ne_bytes(bytemuck::cast([u32::from(key_id), 0]));
        if let Some(cell) = self.records.metronome.word(0, offset_of!(MetronomeRecord, key)) {
            cell.store(word, Ordering::SeqCst);
        }
    }

    /// Stops it for good: peers or interval are others now, and the thread sends until the next start.
    pub fn retire(&mut self) {
        self.statistics.retired.store(true, Ordering::Relaxed);
        self.records.silence();
    }

    /// The metronome's maps.
    #[must_use]
    pub fn records(&self) -> Arc<Records> {
        Arc::clone(&self.records)
    }

    /// Time since the last lap of the current seed began; `None` before its first.
    fn silent_ns(&self, now_ns: u64) -> Option<u64> {
        let seed = self.records.seed()?.load(Ordering::Relaxed);
        let word = |offset| self.records.books.word(0, offset).map(|word| word.load(Ordering::Relaxed));
        let lap_ns = word(offset_of!(MetronomeBooks, lap_ns))?;
        (seed != 0 && word(offset_of!(MetronomeBooks, seed))? == seed).then_some(now_ns.saturating_sub(lap_ns))
    }

    /// A lap may be this late before somebody else sends: what a sleeping processor takes to wake up.
    fn late_ns(&self) -> u64 {
        self.lap_ns + self.interval_ns / 8
    }

    fn seed(&mut self, now_ns: u64) {
        self.seeded_ns = now_ns;
        let (Some(cell), Some(ifindex)) = (self.records.seed(), self.records.upper_index()) else { return };
        // Packets of an earlier seed are dropped from here on: there is only ever one. The clock makes it another number
        // also than that of an earlier controller.
        let seed = cell.load(Ordering::Relaxed).wrapping_add(1).max(now_ns);
        cell.store(seed, Ordering::SeqCst);
        self.statistics.seeds.fetch_add(1, Ordering::Relaxed);
        self.statistics.fruitless.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.seeder.send(ifindex, seed) {
            self.statistics.last_errno.store(error.raw_os_error().unwrap_or(libc::EIO), Ordering::Relaxed);
        }
    }
}

impl Records {
    /// Stops the metronome: after this no lap begins.
    pub fn silence(&self) {
        if let Some(seed) = self.seed() {
            seed.store(0, Ordering::SeqCst);
        }
    }

    /// The seed that goes round.
    pub(super) fn seed(&self) -> Option<&AtomicU64> {
        self.metronome.word(0, offset_of!(MetronomeRecord, seed))
    }

    fn upper_index(&self) -> Option<u32> {
        self.metronome.read(0).map(|record| record.ifindex).filter(|index| *index != 0)
    }

    /// Interface of a target; 0 where it is not sent to.
    fn ifindex(&self, position: u32) -> u32 {
        // The word that begins with the link.
        const OFFSET: usize = offset_of!(TargetRecord, link);
        let word = self.targets.word(position, OFFSET).map_or(0, |word| word.load(Ordering::Relaxed));
        let [_, _, _, _, a, b, c, d] = word.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}
