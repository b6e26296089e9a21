//! Where in the file a value stands, for messages about it that come after parsing.

use std::collections::BTreeMap;

/// Line per key, such as `local.bpf_dir` or `local.interfaces.private`; keys that the file leaves out are absent.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(BTreeMap<String, usize>);

impl Places {
    pub(super) fn note(&mut self, key: impl Into<String>, line: usize) {
        self.0.insert(key.into(), line);
    }

    pub(super) fn line(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }
}
