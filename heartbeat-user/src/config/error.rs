//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that was found wrong with one configuration file. Nothing has been changed or started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// At least one problem, in the order of the file where it has one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1; absent if the file does not mention the key.
    pub line: Option<usize>,
    /// The key, with its table, such as `[timing] interval`.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// What would be right, or what to do.
    pub allowed: Option<String>,
}

impl ConfigError {
    pub(super) fn new(file: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line.unwrap_or(0));
        Self { file: file.to_owned(), problems }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{}", self.file.display())?;
            if let Some(line) = problem.line {
                write!(formatter, ":{line}")?;
            }
            if !problem.key.is_empty() {
                write!(formatter, ": {}", problem.key)?;
            }
            write!(formatter, ": {}", problem.message)?;
            if let Some(allowed) = &problem.allowed {
                write!(formatter, " ({allowed})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
