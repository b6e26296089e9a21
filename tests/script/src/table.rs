//! One test of every script in `tests/scripts`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::language::Script;
use crate::parse::parse;

/// Where the scripts are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts");

/// What the names of scripts end with.
const ENDING: &str = "script";

/// A script and where it came from.
#[derive(Clone, Debug)]
pub struct Named {
    /// Name of the file, without its ending.
    pub name: String,
    /// What it says.
    pub script: Script,
}

/// All scripts, by name.
///
/// # Errors
///
/// When the folder cannot be read, has no scripts, or one of them is not understood.
pub fn all() -> Result<Vec<Named>> {
    let folder = fs::read_dir(FOLDER).with_context(|| format!("cannot read {FOLDER}"))?;
    let paths = folder.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let mut scripts = Vec::new();
    for path in paths.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == ENDING)) {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let script = parse(&text).with_context(|| path.display().to_string())?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        scripts.push(Named { name, script });
    }
    ensure!(!scripts.is_empty(), "there are no scripts in {FOLDER}");
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scripts)
}

/// Runs one test for each script that `plays` says yes to, as a test harness does.
#[must_use]
pub fn run(plays: impl Fn(&Script) -> bool, test: impl Fn(&Script) -> Result<()> + Copy + Send + 'static) -> ExitCode {
    let scripts = match all() {
        Ok(scripts) => scripts,
        Err(error) => {
            eprintln!("{error:?}");
            return ExitCode::FAILURE;
        }
    };
    let trial =
        |Named { name, script }| Trial::test(name, move || test(&script).map_err(|error| Failed::from(words(&error))));
    let trials = scripts.into_iter().filter(|named| plays(&named.script)).map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The reasons, the last one last: below everything that the nodes have logged.
fn words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
