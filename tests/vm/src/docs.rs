//! Tables in docs/kernels.md, between markers: a run replaces its own rows and leaves the others.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::kernels::Outcome;

/// A table that a run writes.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// In its markers.
    name: &'static str,
    columns: &'static [&'static str],
}

/// One row for each kernel.
pub const KERNELS: Table = Table {
    name: "kernels",
    columns: &[
        "kernel",
        "release",
        "result",
        "attached",
        "judge",
        "verified instructions",
        "counted",
        "lost",
        "took",
        "date",
    ],
};

/// One row for each fault of a whole machine.
pub const FAULTS: Table = Table {
    name: "faults",
    columns: &["fault", "result", "seen at the machine", "seen at the others", "kernel", "date"],
};

impl Table {
    /// Lines of Markdown: head and rows.
    #[must_use]
    pub fn markdown(&self, rows: &[Vec<String>]) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let head: Vec<String> = self.columns.iter().map(|column| (*column).to_owned()).collect();
        let mut text = line(&head);
        text.push_str(&format!("|{}\n", "---|".repeat(self.columns.len())));
        for row in rows {
            let clean: Vec<String> = row.iter().map(|cell| cell.replace('|', "/").replace('\n', " ")).collect();
            text.push_str(&line(&clean));
        }
        text
    }

    /// Puts rows into the page, in place of those with the same first cell; keeps the others.
    ///
    /// # Errors
    ///
    /// When the page cannot be read or written, or has no markers for this table.
    pub fn record(&self, page: &Path, rows: &[Vec<String>]) -> Result<()> {
        let text = std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
        let merged =
            self.merge(&text, rows).with_context(|| format!("{} has no markers `{}`", page.display(), self.name))?;
        std::fs::write(page, merged).with_context(|| format!("cannot write {}", page.display()))
    }

    fn merge(&self, text: &str, rows: &[Vec<String>]) -> Option<String> {
        let begin = format!("<!-- {}: begin -->\n", self.name);
        let end = format!("<!-- {}: end -->", self.name);
        let (before, rest) = text.split_once(&begin)?;
        let (old, after) = rest.split_once(&end)?;
        let mut all: Vec<Vec<String>> = old.lines().filter(|line| line.starts_with('|')).skip(2).map(cells).collect();
        for row in rows {
            match all.iter_mut().find(|old| old.first() == row.first()) {
                Some(old) => old.clone_from(row),
                None => all.push(row.clone()),
            }
        }
        Some(format!("{before}{begin}{}{end}{after}", self.markdown(&all)))
    }
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The page of this workspace.
#[must_use]
pub fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kernels.md")
}

/// Today in UTC, as `2026-11-25`.
#[must_use]
pub fn today() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}

/// The row of a kernel.
#[must_use]
pub fn kernel_row(outcome: &Outcome) -> Vec<String> {
    let facts = outcome.facts.clone().unwrap_or_default();
    let passed = outcome.checks.iter().filter(|check| check.passed).count();
    let result = if outcome.wrong.is_empty() {
        format!("passed ({passed} checks)")
    } else {
        format!("**failed**: {}", first_line(&outcome.wrong))
    };
    let numbers: Vec<String> = facts.verified_instructions.iter().map(u64::to_string).collect();
    vec![
        outcome.kernel.name().to_owned(),
        outcome.booted.as_ref().map_or_else(|| "-".to_owned(), |booted| booted.release.clone()),
        result,
        facts.attached,
        facts.judge,
        numbers.join(", "),
        facts.counted.to_string(),
        facts.lost.to_string(),
        format!("{} s", outcome.took.as_secs()),
        today(),
    ]
}

fn first_line(wrong: &[String]) -> String {
    wrong.first().and_then(|text| text.lines().next()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIRS: Table = Table { name: "pairs", columns: &["name", "value"] };

    fn row(name: &str, value: &str) -> Vec<String> {
        vec![name.to_owned(), value.to_owned()]
    }

    #[test]
    fn a_run_replaces_its_own_rows_and_leaves_the_others() {
        let page = "before\n<!-- pairs: begin -->\n| name | value |\n|---|---|\n| a | 1 |\n| b | 2 |\n<!-- pairs: end -->\nafter\n";
        let merged = PAIRS.merge(page, &[row("b", "3"), row("c", "x|y")]).unwrap();
        let expected = "before\n<!-- pairs: begin -->\n| name | value |\n|---|---|\n| a | 1 |\n| b | 3 |\n| c | x/y |\n<!-- pairs: end -->\nafter\n";
        assert_eq!(merged, expected);
        assert_eq!(PAIRS.merge(&merged, &[]).unwrap(), merged);
        assert!(PAIRS.merge("no markers", &[]).is_none());
    }

    #[test]
    fn the_page_has_a_place_for_each_table() {
        let text = std::fs::read_to_string(page()).unwrap();
        for table in [KERNELS, FAULTS] {
            assert!(table.merge(&text, &[]).is_some(), "{}", table.name);
        }
    }
}
