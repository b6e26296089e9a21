//! The configuration file: TOML in, a complete and checked [`Config`] out, or a list of what is wrong and where.
//!
//! Reading has three steps, each in its own module: `syntax` (TOML, known keys, types), `check` (ranges, uniqueness,
//! references) and, only for a node that is about to run, [`check_machine`] (what this machine must have).

mod check;
mod checker;
mod digest;
mod duration;
mod error;
mod file;
mod machine;
mod model;
mod places;
mod syntax;
#[cfg(test)]
mod tests;

pub use duration::{format_duration_ns, parse_duration_ns};
pub use error::{ConfigError, Problem};
pub use machine::{Interface, LocalInterface, Machine, check_machine};
pub use model::{
    Config, Dataplane, Hooks, KeyConfig, Local, LogLevel, Metrics, Multicast, Network, Node, Quorum, QuorumMode, Role,
    Sender, Timing, TwoNode, Watchdog,
};

use std::path::Path;

/// A configuration of 1,024 nodes on 8 networks stays below 1 MiB; anything larger is not one.
const LARGEST_FILE: u64 = 4 << 20;

impl Config {
    /// Reads and checks the configuration in `path`, and the key files that it names.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, as far as it can be told: a problem of syntax hides those behind it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path).map_err(|(message, allowed)| {
            let problem = Problem { line: None, key: String::new(), message, allowed: Some(allowed) };
            ConfigError::new(path, vec![problem])
        })?;
        let host_name = nix::unistd::gethostname().unwrap_or_default();
        Self::parse(path, &text, &host_name.to_string_lossy())
    }

    /// A problem with one key of this configuration, found after it was read: `place` is its path, as `quorum.witness`.
    #[must_use]
    pub fn problem(&self, place: &str, message: &str, allowed: &str) -> ConfigError {
        let key = place.split_once('.').map_or_else(|| place.to_owned(), |(table, key)| format!("[{table}] {key}"));
        let table = place.split('.').next().unwrap_or(place);
        let line = self.places.line(place).or_else(|| self.places.line(table));
        let problem = Problem { line, key, message: message.to_owned(), allowed: Some(allowed.to_owned()) };
        ConfigError::new(&self.file, vec![problem])
    }

    /// Checks `text` as the content of the file `path` on the machine `host_name`.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str, host_name: &str) -> Result<Self, ConfigError> {
        let file = syntax::read(text).map_err(|problem| ConfigError::new(path, vec![problem]))?;
        check::check(path, text, &file, host_name)
    }
}

/// The text of a file, or what is wrong and what to do.
fn read_text(path: &Path) -> Result<String, (String, String)> {
    let metadata = std::fs::metadata(path)
        .map_err(|error| (format!("cannot be read: {error}"), "name a file with --config FILE".to_owned()))?;
    if !metadata.is_file() {
        return Err(("is not a regular file".to_owned(), "name a file with --config FILE".to_owned()));
    }
    if metadata.len() > LARGEST_FILE {
        return Err((format!("has {} bytes", metadata.len()), format!("allowed: up to {LARGEST_FILE} bytes")));
    }
    std::fs::read_to_string(path)
        .map_err(|error| (format!("cannot be read: {error}"), "the file must be readable UTF-8 text".to_owned()))
}
