//! Machines that stop as a whole: paused and let go on, as a hypervisor does, or without power.
//!
//! Three machines on one network, a node in each; all guest clocks of a paused machine stop with it.

pub mod cluster;
mod power_loss;
mod stop;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use heartbeat_tests::interrupt::Interrupt;

use self::cluster::Machines;
use crate::{docs, kernel::Kernel, workplace::Workplace};

/// The machine that things happen to.
const VICTIM: u16 = 3;
/// Machines start and form a view within this: three of them share this machine's processors.
const STARTING: Duration = Duration::from_secs(150);

/// Something that happens to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// Paused for 1 s, which nobody need notice
    #[value(name = "stop-1s")]
    StopShort,
    /// Paused for 5 s: late, but not silent
    #[value(name = "stop-5s")]
    StopLate,
    /// Paused for 30 s: given up
    #[value(name = "stop-30s")]
    StopSilent,
    /// Its process is killed
    #[value(name = "power-loss")]
    PowerLoss,
}

impl Scene {
    /// All, in the order in which they are played.
    pub const ALL: [Self; 4] = [Self::StopShort, Self::StopLate, Self::StopSilent, Self::PowerLoss];

    fn name(self) -> &'static str {
        match self {
            Self::StopShort => "paused for 1 s",
            Self::StopLate => "paused for 5 s",
            Self::StopSilent => "paused for 30 s",
            Self::PowerLoss => "power lost, started again",
        }
    }

    fn play(self, machines: &mut Machines<'_>) -> Result<Seen> {
        match self {
            Self::StopShort => stop::play(machines, Duration::from_secs(1)),
            Self::StopLate => stop::play(machines, Duration::from_secs(5)),
            Self::StopSilent => stop::play(machines, Duration::from_secs(30)),
            Self::PowerLoss => power_loss::play(machines),
        }
    }
}

/// What was seen in a scene.
#[derive(Debug, Default)]
struct Seen {
    at_the_machine: Vec<String>,
    at_the_others: Vec<String>,
    /// What should not have been, or was missing.
    wrong: Vec<String>,
}

impl Seen {
    fn require(&mut self, holds: bool, wrong: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(wrong());
        }
    }
}

/// What came of all scenes.
#[derive(Debug)]
pub struct Played {
    /// Rows of the table.
    pub rows: Vec<Vec<String>>,
    /// Names of the scenes that failed.
    pub failed: Vec<&'static str>,
}

/// Plays the scenes, one after the other, on the same machines.
///
/// # Errors
///
/// When the machines do not start, or do not come together again after a scene, or the run was interrupted.
pub fn run(
    kernel: Kernel,
    scenes: &[Scene],
    workplace: &Workplace,
    anew: bool,
    interrupt: &Interrupt,
) -> Result<Played> {
    let mut machines = Machines::prepare(kernel, workplace, anew, interrupt)?;
    for node in cluster::NODES {
        machines.boot(node)?;
    }
    machines.wait_until_whole(STARTING)?;
    let mut played = Played { rows: Vec::new(), failed: Vec::new() };
    for scene in scenes {
        eprintln!("--- {}", scene.name());
        let seen = scene.play(&mut machines)?;
        for line in seen.at_the_machine.iter().chain(&seen.at_the_others) {
            eprintln!("    {line}");
        }
        for wrong in &seen.wrong {
            eprintln!("    FAIL {wrong}");
        }
        let result = match seen.wrong.first() {
            None => "passed".to_owned(),
            Some(wrong) => format!("**failed**: {wrong}"),
        };
        if !seen.wrong.is_empty() {
            played.failed.push(scene.name());
        }
        played.rows.push(vec![
            scene.name().to_owned(),
            result,
            seen.at_the_machine.join("; "),
            seen.at_the_others.join("; "),
            kernel.name().to_owned(),
            docs::today(),
        ]);
    }
    let complaints = machines.complaints();
    anyhow::ensure!(complaints.is_empty(), "a kernel complains: {complaints:?}");
    Ok(played)
}
