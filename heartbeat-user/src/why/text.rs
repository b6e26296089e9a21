//! The evidence as people read it.

use std::fmt::Write as _;

use super::{FactKind, Why};
use crate::{
    event::printable,
    fit::wrapped,
    status::{Colour, painted},
};

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Where texts begin: behind the time of day and the distance from the verdict.
const INDENT: usize = 27;

impl Why {
    /// A line for each fact: time of day, seconds before or after the verdict, and what was so.
    #[must_use]
    pub fn text(&self, coloured: bool) -> String {
        let paint = |text: &str, colour| painted(text, if coloured { colour } else { Colour::Plain });
        let mut text = String::new();
        // Writing to a String cannot fail.
        for line in wrapped(&printable(&self.summary), WIDTH) {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "Event {} at {}.\n", self.verdict.number, self.verdict.time);
        if self.left_out > 0 {
            let _ = writeln!(text, "{:INDENT$}({} earlier events are left out)", "", self.left_out);
        }
        for fact in &self.facts {
            let at_verdict = i128::from(self.verdict.mono_ns);
            let offset_ms = (i128::from(fact.mono_ns) - at_verdict) / 1_000_000;
            let sign = if offset_ms < 0 { '-' } else { '+' };
            let distance = offset_ms.unsigned_abs();
            let distance = format!("{sign}{}.{:03}s", distance / 1_000, distance % 1_000);
            let colour = match fact.kind {
                FactKind::Verdict => Colour::Bad,
                FactKind::Missed => Colour::Notable,
                FactKind::Safe => Colour::Good,
                FactKind::Before
                | FactKind::Stamp
                | FactKind::Report
                | FactKind::Stage
                | FactKind::Votes
                | FactKind::After => Colour::Plain,
            };
            let mut lines = wrapped(&printable(&fact.text), WIDTH - INDENT).into_iter();
            let first = lines.next().unwrap_or_default();
            let _ = writeln!(text, "{} {distance:>12}  {}", time_of_day(&fact.time.to_string()), paint(&first, colour));
            for line in lines {
                let _ = writeln!(text, "{:INDENT$}{}", "", paint(&line, colour));
            }
        }
        if !self.earlier.is_empty() {
            let _ = writeln!(text);
        }
        for event in &self.earlier {
            let when = time_of_day(&event.time.to_string());
            let told = format!(
                "Before that, at {when}: {} {}; `heartbeat why '#{}'` explains it.",
                event.id, event.name, event.number
            );
            for line in wrapped(&printable(&told), WIDTH) {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }
}

/// `02:00:00.123` of `2026-11-23T02:00:00.123456789Z`.
fn time_of_day(time: &str) -> String {
    let time = time.split_once('T').map_or(time, |(_, time)| time).trim_end_matches('Z');
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    format!("{seconds}.{fraction:0<3.3}")
}
