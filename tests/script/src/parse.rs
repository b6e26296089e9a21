//! From text to a script. Every mistake names its line, the word and what would have been allowed there.

mod deeds;
mod expectations;
mod setup;
mod words;

use crate::language::{Script, Setup, Step, What};
use setup::SetupLines;
use words::Words;

/// A line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}\n    {text}")]
pub struct ParseError {
    /// Its number in the file, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// The word that is wrong, and what is allowed instead.
    pub problem: String,
}

/// First words of lines that happen; those of the setup are in [`setup`].
const STEPS: [&str; 19] = [
    "cut",
    "partition",
    "heal",
    "stop",
    "continue",
    "hang",
    "stun",
    "outside",
    "kill",
    "crash",
    "start",
    "leave",
    "replay",
    "fenced",
    "clear",
    "force",
    "mark",
    "tick",
    "expect",
];

/// Reads a script.
///
/// # Errors
///
/// The first line that is not understood, or a setup that says too little.
pub fn parse(text: &str) -> Result<Script, ParseError> {
    let mut setup_lines = SetupLines::default();
    let mut setup: Option<Setup> = None;
    let mut steps: Vec<Step> = Vec::new();
    let mut last = (0, "");
    for (index, full) in text.lines().enumerate() {
        let line = full.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        last = (index + 1, line);
        let located = |problem: String| ParseError { line: index + 1, text: line.to_owned(), problem };
        let mut words = Words::new(line);
        if setup.is_none() && setup_lines.take(&mut words).map_err(located)? {
            continue;
        }
        let setup = match &setup {
            Some(setup) => setup,
            None => setup.insert(setup_lines.finish().map_err(located)?),
        };
        let what = step(&mut words, setup).map_err(located)?;
        words.end().map_err(located)?;
        steps.push(Step { line: index + 1, text: line.to_owned(), what });
    }
    let at_end = |problem: &str| ParseError { line: last.0, text: last.1.to_owned(), problem: problem.to_owned() };
    let Some(setup) = setup else { return Err(at_end("nothing happens after the setup")) };
    // A script that expects nothing could not fail.
    match steps.last() {
        Some(Step { what: What::Expect(_), .. }) => Ok(Script { setup, steps }),
        _ => Err(at_end("the last line of a script is an `expect`")),
    }
}

fn step(words: &mut Words<'_>, setup: &Setup) -> Result<What, String> {
    let first = words.one_of(&STEPS).map_err(|problem| match setup::LINES.contains(&words.first()) {
        true => format!("`{}` belongs to the setup, before anything happens", words.first()),
        false => problem,
    })?;
    match first {
        "mark" => Ok(What::Mark),
        "tick" => Ok(What::Tick(words.span()?)),
        "expect" => expectations::expectation(words, setup).map(What::Expect),
        _ => deeds::deed(first, words, setup).map(What::Deed),
    }
}

#[cfg(test)]
mod tests;
