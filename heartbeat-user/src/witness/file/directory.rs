//! Names in the witness's directory, which clusters may share, and what is there.

use std::{collections::BTreeSet, path::Path};

use super::super::WitnessError;

/// Entries that are looked at: a hundred clusters' epochs and drafts.
const ENTRIES: usize = 65_536;

const EPOCH_DIGITS: usize = 20;
const DRAFT_ENDING: &str = ".new";

/// Names of one cluster, as one node makes them.
#[derive(Debug)]
pub(super) struct Names {
    cluster: String,
    node: u16,
}

impl Names {
    pub(super) fn new(cluster_id: [u8; 8], node: u16) -> Self {
        Self { cluster: hex::encode(cluster_id), node }
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Digits with leading zeros, so that `ls` shows epochs in order.
    pub(super) fn epoch(&self, epoch: u64) -> String {
        format!("{}.{epoch:0EPOCH_DIGITS$}", self.cluster)
    }

    /// A draft names its process and epoch: one that is stuck must not find another one's in its place.
    pub(super) fn draft(&self, incarnation: u64, epoch: u64) -> String {
        format!("{}{incarnation}-{epoch}{DRAFT_ENDING}", self.own_drafts())
    }

    fn own_drafts(&self) -> String {
        format!("{}.draft-{}-", self.cluster, self.node)
    }

    /// The epoch that has this name; other clusters' files, and what is no file of ours at all, have none.
    fn epoch_of(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(&self.cluster)?.strip_prefix('.')?;
        let is_number = digits.len() == EPOCH_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten().filter(|epoch| *epoch != 0)
    }
}

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Listing {
    epochs: BTreeSet<u64>,
    /// Drafts of this node.
    pub(super) own_drafts: Vec<String>,
}

impl Listing {
    pub(super) fn read(directory: &Path, names: &Names) -> Result<Self, WitnessError> {
        let refused =
            |source| WitnessError::System { action: "the witness cannot be read:", path: directory.to_owned(), source };
        let mut listing = Self::default();
        let own_drafts = names.own_drafts();
        for (count, entry) in std::fs::read_dir(directory).map_err(refused)?.enumerate() {
            if count >= ENTRIES {
                return Err(WitnessError::Crowded { path: directory.to_owned(), limit: ENTRIES });
            }
            let name = entry.map_err(refused)?.file_name();
            // Names of ours are ASCII.
            let Some(name) = name.to_str() else { continue };
            if let Some(epoch) = names.epoch_of(name) {
                listing.epochs.insert(epoch);
            } else if name.starts_with(&own_drafts) && name.ends_with(DRAFT_ENDING) {
                listing.own_drafts.push(name.to_owned());
            }
        }
        Ok(listing)
    }

    /// The newest epoch; 0 for none.
    pub(super) fn newest(&self) -> u64 {
        self.epochs.last().copied().unwrap_or(0)
    }

    pub(super) fn older_than(&self, epoch: u64) -> impl Iterator<Item = u64> {
        self.epochs.range(..epoch).copied()
    }
}
