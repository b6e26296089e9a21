//! Plays a script: does what it says, lets time pass, and looks whether everything is as it must be.

mod looks;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

use crate::backend::{Backend, NodeState};
use crate::language::{Expectation, Expected, Script, Step, What};
use crate::moved::Stage;

/// Looks per interval while something is waited for.
const LOOKS: u64 = 10;

/// Time between two looks, at least: a node answers in less, but also has other work.
const SHORTEST_LOOK_NS: u64 = 5_000_000;

/// Plays a script on a cluster that has formed.
///
/// # Errors
///
/// The first line that cannot be done or is not so, with everything that the nodes have logged.
pub fn play(script: &Script, backend: &mut dyn Backend) -> Result<()> {
    let played = Play::begin(script, backend).and_then(Play::run);
    played.map_err(|error| {
        let evidence = backend.evidence();
        error.context(format!("what the nodes have logged:\n{evidence}\n--- why it failed:"))
    })
}

struct Play<'a> {
    script: &'a Script,
    backend: &'a mut dyn Backend,
    stage: Stage,
    mark: Mark,
}

/// From where on expectations look.
struct Mark {
    /// Place in the log.
    place: usize,
    at_ns: u64,
    /// Every node, as it was when it could last be asked.
    states: BTreeMap<u16, NodeState>,
}

impl<'a> Play<'a> {
    fn begin(script: &'a Script, backend: &'a mut dyn Backend) -> Result<Self> {
        let stage = Stage::new(script.setup.networks.len());
        let mark = Mark { place: 0, at_ns: 0, states: BTreeMap::new() };
        let mut play = Self { script, backend, stage, mark };
        play.mark = play.take_mark()?;
        Ok(play)
    }

    fn run(mut self) -> Result<()> {
        for step in &self.script.steps {
            self.step(step).with_context(|| format!("line {}: {}", step.line, step.text))?;
        }
        self.backend.finish()
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match &step.what {
            What::Deed(deed) => {
                self.backend.act(deed)?;
                self.stage.note(deed);
                Ok(())
            }
            What::Mark => {
                self.mark = self.take_mark()?;
                Ok(())
            }
            What::Tick(span) => self.backend.pass(span.ns(self.backend.interval_ns())),
            What::Expect(expectation) => self.expect(expectation),
        }
    }

    fn take_mark(&mut self) -> Result<Mark> {
        let at_ns = self.backend.now_ns();
        let place = self.backend.events().len();
        // Who cannot be asked now is as it was when it last could be.
        let mut states = std::mem::take(&mut self.mark.states);
        states.extend(self.states(&self.everybody())?);
        Ok(Mark { place, at_ns, states })
    }

    fn everybody(&self) -> Vec<u16> {
        (1..=self.script.setup.nodes).collect()
    }

    /// Those of the nodes that can be asked.
    fn states(&mut self, nodes: &[u16]) -> Result<BTreeMap<u16, NodeState>> {
        let present = nodes.iter().filter(|node| self.stage.is_present(**node));
        present.map(|node| Ok((*node, self.backend.node(*node)?))).collect()
    }

    fn expect(&mut self, expectation: &Expectation) -> Result<()> {
        let interval_ns = self.backend.interval_ns();
        let limit_ns = expectation.within.map_or(0, |span| span.ns(interval_ns)) + self.backend.tolerance_ns();
        let deadline_ns = self.backend.now_ns() + limit_ns;
        // Nothing can be awaited of what must not happen: it is looked for once.
        let is_final = matches!(expectation.what, Expected::Never(_) | Expected::NothingBut { .. });
        loop {
            let Err(reason) = self.look(&expectation.what) else { return Ok(()) };
            if is_final || self.backend.now_ns() >= deadline_ns {
                return Err(reason);
            }
            self.backend.pass((interval_ns / LOOKS).max(SHORTEST_LOOK_NS))?;
        }
    }

    /// Since the mark there was time for something to happen, and heartbeats went on.
    fn something_could_have_happened(&mut self, nodes: &[u16]) -> Result<()> {
        let passed_ns = self.backend.now_ns() - self.mark.at_ns;
        let interval_ns = self.backend.interval_ns();
        ensure!(passed_ns >= 2 * interval_ns, "only {passed_ns} ns have passed since the mark: that proves nothing");
        let now = self.states(nodes)?;
        match self.stage.standstill(nodes, &self.mark.states, &now) {
            None => Ok(()),
            Some(what) => bail!("nothing could have happened since the mark: {what}"),
        }
    }
}
