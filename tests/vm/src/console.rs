//! What a kernel prints on its console: kept in a file, shown when something fails, and searched for its complaints.

use std::path::{Path, PathBuf};

/// Words by which the kernel says that something in it is wrong.
const COMPLAINTS: [&str; 7] =
    ["BUG:", "WARNING:", "Oops", "Kernel panic", "Call Trace:", "soft lockup", "rcu_sched self-detected stall"];

/// The file that a machine's console goes to.
#[derive(Clone, Debug)]
pub struct Console {
    path: PathBuf,
}

impl Console {
    /// Console of the machine whose folder this is.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        Self { path: directory.join("console.log") }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last lines.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Lines in which the kernel complains of itself.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        complaints(&self.text())
    }

    fn text(&self) -> String {
        // Whoever asks has a failure to tell of, or nothing was printed: a missing file says the same.
        String::from_utf8_lossy(&std::fs::read(&self.path).unwrap_or_default()).into_owned()
    }
}

fn complaints(text: &str) -> Vec<String> {
    let complains = |line: &&str| COMPLAINTS.iter().any(|word| line.contains(word));
    text.lines().filter(complains).map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_found_among_ordinary_lines() {
        let text = "[    0.1] Linux version 6.1\n[    3.2] BUG: scheduling while atomic\r\n[    3.3] eth0: up\n";
        assert_eq!(complaints(text), ["[    3.2] BUG: scheduling while atomic"]);
    }
}
