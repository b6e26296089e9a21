//! What the recordings of real nodes say, for the simulator's own checker.
//!
//! All nodes of a cluster in namespaces share one CLOCK_MONOTONIC, so the time of a recording is true time.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use heartbeat_membership::{NodeId, Now};
use heartbeat_sim::check::{
    Tally,
    recorded::{Entry, Happened, Recorded},
};
use heartbeat_user::{
    clock,
    record::{self, Built, Reader, RecordError, ReplayError, replay},
};

/// The recordings of a cluster.
#[derive(Debug, Default)]
pub struct Recordings {
    entries: Vec<Entry>,
    /// What the first core was built with.
    built: Option<Built>,
}

impl Recordings {
    /// Notes that the machine of a node dies now: what it held is void.
    pub fn died(&mut self, node: u16) {
        let now = Now { mono_ns: clock::monotonic_ns(), boot_ns: clock::boottime_ns() };
        self.push(NodeId(node), now, Happened::Ended);
    }

    /// Adds all recordings of a node with this `state_dir`, after every decision in them was made again with the same
    /// result. The last entry of a process that was `killed` may not be whole.
    ///
    /// # Errors
    ///
    /// When there are none, one cannot be read, has a gap, or its decisions come out otherwise now.
    pub fn add(&mut self, state_directory: &Path, killed: bool) -> Result<()> {
        let folder = record::directory(state_directory);
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
        ensure!(!paths.is_empty(), "there are no recordings in {}", folder.display());
        // Their numbers have leading zeros.
        paths.sort();
        let mut now = Now { mono_ns: 0, boot_ns: 0 };
        for path in paths {
            match replay(&path, |_, _| {}) {
                Ok(outcome) => ensure!(outcome.actions > 0 || killed, "{} has no action", path.display()),
                Err(ReplayError::Record(RecordError::CutOff { .. })) if killed => {}
                Err(error) => return Err(error.into()),
            }
            now = self.collect(&path, now)?;
        }
        Ok(())
    }

    fn collect(&mut self, path: &Path, mut now: Now) -> Result<Now> {
        let mut reader = Reader::open(path)?;
        let node = NodeId(reader.head().node);
        loop {
            let happened = match reader.next() {
                Ok(Some(record::Entry::Built(built))) => {
                    now = built.now;
                    let view = built.settings.resume.as_ref().and_then(|record| record.view.clone());
                    let incarnation = built.identity.incarnation;
                    self.built.get_or_insert(*built);
                    Happened::Started { incarnation, view }
                }
                Ok(Some(record::Entry::Input(at, input))) => {
                    now = at;
                    Happened::Input(input)
                }
                Ok(Some(record::Entry::Action(action))) => Happened::Action(action),
                // A core that was written down in the middle goes on with what it had.
                Ok(Some(record::Entry::Head(_) | record::Entry::Core(_) | record::Entry::End(_))) => continue,
                Ok(Some(record::Entry::Gap(lost))) => bail!("{}: {lost} entries are missing", path.display()),
                Ok(None) | Err(RecordError::CutOff { .. }) => return Ok(now),
                Err(error) => return Err(error.into()),
            };
            self.push(node, now, happened);
        }
    }

    fn push(&mut self, node: NodeId, now: Now, what: Happened) {
        self.entries.push(Entry { true_ns: now.mono_ns, node, now, what });
    }

    /// Merges what was added, and checks it.
    ///
    /// # Errors
    ///
    /// When an invariant is broken, in words; or when nothing was there to be checked.
    pub fn check(self) -> Result<Tally> {
        let built = self.built.context("nobody recorded how its core was built")?;
        let recorded = Recorded::new(&built.config, built.settings.arbiter, built.settings.stop_time_ns);
        let findings = recorded.check(self.entries);
        let violations = findings.violations.join("; ");
        ensure!(violations.is_empty(), "an invariant is broken, by the recordings: {violations}");
        ensure!(findings.tally.views > 0, "no view was installed, by the recordings: nothing was checked");
        Ok(findings.tally)
    }
}
