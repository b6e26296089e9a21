//! Every script, played on the simulator.

use std::process::ExitCode;

use anyhow::Context as _;
use heartbeat_scripts::{Simulated, language::Only, play, table};

/// Each with other clock rates, phases and delays.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

fn main() -> ExitCode {
    let plays = |script: &heartbeat_scripts::Script| !matches!(script.setup.only, Some(Only::Real(_)));
    table::run(plays, |script| {
        for seed in SEEDS {
            let play = || play(script, &mut Simulated::form(&script.setup, seed)?);
            play().with_context(|| format!("seed {seed}"))?;
        }
        Ok(())
    })
}
