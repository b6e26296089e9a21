//! Every script, played on real processes.

use std::process::ExitCode;

use heartbeat_scripts::{Real, language::Only, play, table};

fn main() -> ExitCode {
    let plays = |script: &heartbeat_scripts::Script| !matches!(script.setup.only, Some(Only::Simulator(_)));
    table::run(plays, |script| play(script, &mut Real::form(&script.setup)?))
}
