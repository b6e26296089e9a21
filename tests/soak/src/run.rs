//! A plan, carried out on real processes.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use heartbeat_bench::flood::{Flood, Garbage};
use heartbeat_scripts::{
    Backend as _, Real,
    language::{Arbiter, Deed, Setup},
};
use heartbeat_tests::{
    events::{Event, EventLog},
    naming::network_name,
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    events,
    plan::{End, Fault, NETWORKS, Plan, What},
};

/// A flood's frames: 200 in this time, so that the machine goes on to do what is judged.
const FLOOD_PACE: Duration = Duration::from_millis(5);
/// All are quarantined after three removals within an hour, which every soak has; then the operator lets them in. Once
/// more, because a removal may be decided while everything is mended.
const CLEARINGS: u32 = 2;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Of the plan.
    pub seed: u64,
    /// Nodes, at least two.
    pub nodes: u16,
    /// Between heartbeats.
    pub interval: Duration,
    /// No round begins later than this.
    pub length: Duration,
}

/// A soak that went as it should.
#[derive(Clone, Debug)]
pub struct Report {
    /// Rounds.
    pub rounds: usize,
    /// Faults, by the first word of what they are.
    pub faults: BTreeMap<&'static str, usize>,
    /// Events that the nodes logged, by number.
    pub events: BTreeMap<u64, usize>,
    /// Longest time from the end of all faults to a view of all nodes.
    pub longest_return: Duration,
}

/// Forms a cluster, breaks and mends it round after round, ends it, and checks everything that was logged and recorded.
/// `evidence` is a folder for what the nodes left behind, if it fails.
///
/// # Errors
///
/// When not everyone is in again after a round, a process ends by itself, or an invariant is broken: with the seed, the
/// faults of the round, and where to look.
pub fn soak(settings: Settings, evidence: &Path) -> Result<Report> {
    let mut soak = Soak::form(settings)?;
    let ran = soak.run();
    ran.map_err(|error| {
        let place = evidence.join(format!("seed-{}", settings.seed));
        let kept = match soak.keep(&place) {
            Ok(()) => format!("logs, events and recordings of the nodes: {}", place.display()),
            Err(error) => format!("the nodes' files could not be kept: {error:#}"),
        };
        let faults: Vec<String> = soak.round.iter().map(|fault| format!("  {fault}")).collect();
        error.context(format!(
            "seed {}, round {}, with these faults:\n{}\n{kept}",
            settings.seed,
            soak.report.rounds,
            faults.join("\n")
        ))
    })
}

struct Soak {
    settings: Settings,
    real: Real,
    /// Floods at work, by the fault's place in its round.
    floods: BTreeMap<usize, Flood>,
    /// Configurations as they were, of nodes whose file is changed.
    files: BTreeMap<u16, String>,
    round: Vec<Fault>,
    report: Report,
}

impl Soak {
    fn form(settings: Settings) -> Result<Self> {
        let interval_ns = u64::try_from(settings.interval.as_nanos())?;
        let real = Real::form(&Setup {
            nodes: settings.nodes,
            networks: (1..=NETWORKS).map(network_name).collect(),
            interval_ns,
            real_interval_ns: interval_ns,
            late_after: 2,
            lost_after: 6,
            arbiter: Arbiter::TieBreaker(None),
            only: None,
        })?;
        let report =
            Report { rounds: 0, faults: BTreeMap::new(), events: BTreeMap::new(), longest_return: Duration::ZERO };
        Ok(Self { settings, real, floods: BTreeMap::new(), files: BTreeMap::new(), round: Vec::new(), report })
    }

    fn run(&mut self) -> Result<Report> {
        let began = Instant::now();
        let mut plan = Plan::new(self.settings.seed, self.settings.nodes);
        while began.elapsed() < self.settings.length {
            self.round = plan.next().context("a plan has no end")?;
            self.report.rounds += 1;
            println!("round {}, after {} s:", self.report.rounds, began.elapsed().as_secs());
            for fault in &self.round {
                println!("  {fault}");
                *self.report.faults.entry(kind(&fault.what)).or_default() += 1;
            }
            self.break_things()?;
            self.mend_everything()?;
            let mended = Instant::now();
            self.wait_until_in()?;
            self.report.longest_return = self.report.longest_return.max(mended.elapsed());
            println!("  everyone is in again after {} ms", mended.elapsed().as_millis());
        }
        let log: EventLog = self.real.cluster().events().clone();
        // In order; then the recordings, by the simulator's checker.
        self.real.finish()?;
        let all = log.since(0);
        let contradictions = events::contradictions(&all);
        ensure!(contradictions.is_empty(), "by the event logs: {}", contradictions.join("; "));
        for id in all.iter().map(Event::id) {
            *self.report.events.entry(id).or_default() += 1;
        }
        Ok(self.report.clone())
    }

    /// Carries out the round.
    fn break_things(&mut self) -> Result<()> {
        let mut deeds: Vec<(u64, bool, usize)> = Vec::new();
        for (place, fault) in self.round.iter().enumerate() {
            deeds.extend([(fault.from_ms, true, place), (fault.to_ms, false, place)]);
        }
        // What ends goes first.
        deeds.sort_unstable();
        let began = Instant::now();
        for (at_ms, begins, place) in deeds {
            let left = Duration::from_millis(at_ms).saturating_sub(began.elapsed());
            self.real.pass(u64::try_from(left.as_nanos())?)?;
            let what = self.round[place].what.clone();
            let done = if begins { self.begin(place, &what) } else { self.end(place, &what) };
            done.with_context(|| format!("{} of: {what}", if begins { "beginning" } else { "end" }))?;
        }
        Ok(())
    }

    fn begin(&mut self, place: usize, what: &What) -> Result<()> {
        match what {
            What::Cut { network, ways } => {
                self.real.act(&Deed::Cut { ways: ways.clone(), networks: networks(*network) })
            }
            What::Loss { node, network, percent } => self.real.cluster().topology().lose(*node, *network, *percent),
            What::Stopped(node) => self.real.act(&Deed::Stop(*node)),
            What::Down { node, end, .. } => self.real.act(&match end {
                End::Killed => Deed::Kill(*node),
                End::Crashed => Deed::Crash(*node),
                End::Left => Deed::Leave(*node),
            }),
            What::Reloaded { node, good } => {
                let path = self.real.cluster().node(*node).files().config();
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                // `[local]` is the last table.
                let changed = format!("{text}{}\n", if *good { "log = \"warn\"" } else { "interval = \"never\"" });
                self.files.insert(*node, text);
                fs::write(&path, changed).with_context(|| format!("cannot write {}", path.display()))?;
                self.real.cluster().node(*node).signal(Signal::SIGHUP)
            }
            What::Flood { node, network } => {
                let spoofed = if *node == 1 { 2 } else { 1 };
                let topology = self.real.cluster().topology();
                // What can be captured depends on who runs; what is made up does not.
                let kinds =
                    [Garbage::BadMagic, Garbage::BadTag, Garbage::BadControl, Garbage::Stranger, Garbage::Fragment];
                let mut frames = Vec::new();
                for kind in kinds {
                    frames.extend(kind.frames(topology, spoofed, (*node, *network))?);
                }
                self.floods.insert(place, Flood::start(topology, (*node, *network), frames, Some(FLOOD_PACE))?);
                Ok(())
            }
        }
    }

    fn end(&mut self, place: usize, what: &What) -> Result<()> {
        match what {
            What::Cut { network, ways } => {
                self.real.act(&Deed::Heal { ways: ways.clone(), networks: networks(*network) })
            }
            What::Loss { node, network, .. } => self.real.cluster().topology().lose(*node, *network, 0),
            What::Stopped(node) => self.real.act(&Deed::Continue(*node)),
            What::Down { node, forgets, .. } => {
                self.real.set_recordings_aside(*node)?;
                if *forgets {
                    forget(&self.real.cluster().node(*node).files().state_directory())?;
                }
                self.real.act(&Deed::Start(*node))
            }
            What::Reloaded { node, .. } => {
                let Some(text) = self.files.remove(node) else { return Ok(()) };
                let path = self.real.cluster().node(*node).files().config();
                fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
                self.real.cluster().node(*node).signal(Signal::SIGHUP)
            }
            What::Flood { .. } => match self.floods.remove(&place) {
                Some(flood) => {
                    let sent = flood.stop()?;
                    ensure!(sent > 0, "a flood sent nothing");
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }

    /// A fault ends by itself in its round; what another fault of the same kind had begun again ends here.
    fn mend_everything(&mut self) -> Result<()> {
        self.floods.clear();
        self.real.heal()
    }

    fn wait_until_in(&mut self) -> Result<()> {
        let mut last = Ok(());
        for _ in 0..CLEARINGS {
            let all: Vec<u16> = self.real.cluster().topology().node_ids().collect();
            for on in &all {
                for node in all.iter().filter(|node| *node != on) {
                    // Who keeps nobody out has nothing to clear, and says so.
                    let order = json!({"request": "clear_quarantine", "node": node});
                    let _answer = self.real.cluster().node(*on).request(&order);
                }
            }
            last = self.real.wait_until_in();
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// Copies what the nodes left behind.
    fn keep(&mut self, place: &Path) -> Result<()> {
        if place.exists() {
            fs::remove_dir_all(place)?;
        }
        let from = self.real.cluster().topology().prefix().directory();
        copy(&from, place)?;
        fs::write(place.join("events.txt"), self.real.evidence())?;
        Ok(())
    }
}

fn kind(what: &What) -> &'static str {
    match what {
        What::Cut { .. } => "cut",
        What::Loss { .. } => "loss",
        What::Stopped(_) => "stopped",
        What::Down { end: End::Killed, .. } => "killed",
        What::Down { end: End::Crashed, .. } => "crashed",
        What::Down { end: End::Left, .. } => "left",
        What::Reloaded { .. } => "reloaded",
        What::Flood { .. } => "flooded",
    }
}

fn networks(one: Option<u8>) -> Vec<u8> {
    one.map_or_else(|| (1..=NETWORKS).collect(), |network| vec![network])
}

/// Empties a folder.
fn forget(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Copies a folder with its files; sockets are left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target).with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
