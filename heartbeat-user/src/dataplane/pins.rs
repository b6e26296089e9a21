//! Pinned maps, programs and links of an earlier controller: keep them, or say why not.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use aya::maps::{MapData, MapInfo};
use heartbeat_common::{ABI_VERSION, records::NodeRecord};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{
    memory::{Shared, Sizes},
    object::{Entries, MAPS},
};

/// Where an instance pins things.
#[derive(Clone, Debug)]
pub struct Pins {
    base: PathBuf,
}

/// Who a controller is, as far as adoption goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Cluster id.
    pub cluster_id: u64,
    /// Node id.
    pub node: u32,
    /// Digest of the shared configuration.
    pub config_digest: [u8; 32],
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
    /// Inode of the network namespace.
    pub network_namespace: u64,
}

/// What was found pinned.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Maps that this controller may go on with.
    Adoptable(Box<NodeRecord>),
    /// Maps that it may not.
    Refused {
        /// Why, in words.
        reason: String,
        /// They were made since this boot, in this network namespace: the pinned attachments are on our interfaces.
        here: bool,
    },
}

impl Pins {
    /// Pins below `bpf_dir`.
    #[must_use]
    pub fn new(bpf_dir: &Path) -> Self {
        Self { base: bpf_dir.to_path_buf() }
    }

    /// The directory that everything is below.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Directory of the maps; named after the ABI, so that another version never opens them by accident.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.base.join(format!("v{ABI_VERSION}"))
    }

    /// Pin of the attachment to an interface in one mode. (A BPF file system takes no names with dots.)
    #[must_use]
    pub fn link(&self, ifindex: u32, mode: &str) -> PathBuf {
        self.base.join("links").join(format!("{ifindex}-{mode}"))
    }

    /// Directory of the metronome's attachments.
    #[must_use]
    pub fn metronome(&self) -> PathBuf {
        self.base.join("metronome")
    }

    /// Every pinned attachment: interface, mode, path.
    #[must_use]
    pub fn links(&self) -> Vec<(u32, String, PathBuf)> {
        let Ok(entries) = fs::read_dir(self.base.join("links")) else { return Vec::new() };
        entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let (ifindex, mode) = name.split_once('-')?;
                Some((ifindex.parse().ok()?, mode.to_owned(), entry.path()))
            })
            .collect()
    }

    /// Makes the base directory and locks it until the file is dropped: two controllers must not write the same maps.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another controller has it; else what the file system says.
    pub fn lock(&self) -> io::Result<File> {
        fs::create_dir_all(&self.base)?;
        let directory = File::open(&self.base)?;
        match directory.try_lock() {
            Ok(()) => Ok(directory),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Makes the directories.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(self.maps())?;
        fs::create_dir_all(self.base.join("links"))
    }

    /// Removes the pins of the maps, of every ABI version; the kernel frees what nothing else holds.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_maps(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.base) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let is_version = entry
                .file_name()
                .to_str()
                .and_then(|name| name.strip_prefix('v'))
                .is_some_and(|version| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()));
            if is_version {
                remove_directory(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes every pin and the directories.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove_all(&self) -> io::Result<()> {
        remove_directory(&self.metronome())?;
        remove_directory(&self.base.join("links"))?;
        self.remove_maps()?;
        match fs::remove_dir(&self.base) {
            Ok(()) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Somebody else's files, a mount point, or all that a service manager lets us write: not ours to remove.
                Some(libc::ENOTEMPTY | libc::EBUSY | libc::ENOENT | libc::EROFS) => Ok(()),
                Some(_) | None => Err(error),
            },
        }
    }

    /// Removes what a controller that runs no more left, for a controller that pins nothing: attached programs would keep
    /// the heartbeats from its sockets. Whether there was something.
    ///
    /// # Errors
    /// What the file system says. What another controller uses stays, and is no error.
    pub fn remove_abandoned(&self) -> io::Result<bool> {
        // Elsewhere there are no pins, and nothing that may be removed.
        let is_bpf = statfs(&self.base).is_ok_and(|info| info.filesystem_type() == BPF_FS_MAGIC);
        if !is_bpf {
            return Ok(false);
        }
        match self.lock() {
            Ok(_lock) => {
                let found = self.maps().exists() || !self.links().is_empty();
                self.remove_all().map(|()| found)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Looks at what is pinned, and compares it with who is asking.
    #[must_use]
    pub fn inspect(&self, owner: &Owner, sizes: Sizes) -> Found {
        if !self.maps().join("NODE").exists() {
            return match self.other_abi() {
                Some(other) => Found::Refused {
                    reason: format!("the pinned maps are of ABI version {other}, this controller's is {ABI_VERSION}"),
                    here: false,
                },
                None => Found::Nothing,
            };
        }
        let record = match self.read_node() {
            Ok(record) => record,
            Err(error) => {
                return Found::Refused { reason: format!("the pinned NODE map cannot be read: {error}"), here: false };
            }
        };
        let here = record.abi == ABI_VERSION
            && record.boot_id == owner.boot_id
            && record.network_namespace == owner.network_namespace;
        match difference(&record, owner).or_else(|| self.check_shapes(sizes).err()) {
            None => Found::Adoptable(Box::new(record)),
            Some(reason) => Found::Refused { reason, here },
        }
    }

    fn other_abi(&self) -> Option<String> {
        fs::read_dir(&self.base).ok()?.filter_map(Result::ok).find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix('v')?;
            version.parse::<u32>().ok().map(|version| version.to_string())
        })
    }

    /// Reopening a pinned map of another shape succeeds silently: it is compared here.
    fn check_shapes(&self, sizes: Sizes) -> Result<(), String> {
        for (name, entries, value_size) in MAPS {
            let path = self.maps().join(name);
            let info =
                MapInfo::from_pin(&path).map_err(|error| format!("the pinned map {name} cannot be read: {error}"))?;
            if info.value_size() != value_size {
                return Err(format!(
                    "values of the pinned map {name} have {} bytes, not {value_size}",
                    info.value_size()
                ));
            }
            let expected = match entries {
                Entries::Fixed => continue,
                Entries::Links => sizes.links,
                Entries::Nodes => sizes.nodes,
            };
            if info.max_entries() != expected {
                return Err(format!("the pinned map {name} has {} entries, needed are {expected}", info.max_entries()));
            }
        }
        Ok(())
    }

    fn read_node(&self) -> io::Result<NodeRecord> {
        let data = MapData::from_pin(self.maps().join("NODE")).map_err(io::Error::other)?;
        let node = Shared::<NodeRecord>::of_map(data.fd(), 1)?;
        node.read(0).ok_or_else(|| io::Error::other("it is empty"))
    }
}

fn difference(record: &NodeRecord, owner: &Owner) -> Option<String> {
    if record.abi != ABI_VERSION {
        return Some(format!("the pinned maps are of ABI version {}, this controller's is {ABI_VERSION}", record.abi));
    }
    if record.incarnation == 0 {
        return Some("an earlier start did not get as far as an incarnation".to_owned());
    }
    let reason = if record.boot_id != owner.boot_id {
        "the machine has booted since"
    } else if record.network_namespace != owner.network_namespace {
        "they belong to another network namespace"
    } else if record.cluster_id != owner.cluster_id {
        "they belong to another cluster"
    } else if record.node != owner.node {
        "they belong to another node"
    } else if record.config_digest != owner.config_digest {
        "the configuration of the cluster has changed"
    } else {
        return None;
    };
    Some(reason.to_owned())
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The kernel's boot id.
///
/// # Errors
/// When /proc does not show it.
pub fn boot_id() -> io::Result<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.trim().chars().filter(|digit| *digit != '-').collect();
    let bytes = hex::decode(digits).map_err(io::Error::other)?;
    bytes.try_into().map_err(|_| io::Error::other("the boot id is not 16 bytes long"))
}

/// Inode of the network namespace of this process.
///
/// # Errors
/// When /proc does not show it.
pub fn network_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/net")?.ino())
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    #[test]
    fn every_difference_is_told_in_words() {
        let owner = Owner { cluster_id: 1, node: 2, config_digest: [3; 32], boot_id: [4; 16], network_namespace: 5 };
        let same = NodeRecord {
            abi: ABI_VERSION,
            node: 2,
            cluster_id: 1,
            incarnation: 9,
            network_namespace: 5,
            boot_id: [4; 16],
            config_digest: [3; 32],
            ..NodeRecord::zeroed()
        };
        assert_eq!(difference(&same, &owner), None);
        let cases = [
            (NodeRecord { abi: ABI_VERSION + 1, ..same }, "ABI"),
            (NodeRecord { incarnation: 0, ..same }, "incarnation"),
            (NodeRecord { boot_id: [0; 16], ..same }, "booted"),
            (NodeRecord { network_namespace: 6, ..same }, "network namespace"),
            (NodeRecord { cluster_id: 7, ..same }, "another cluster"),
            (NodeRecord { node: 7, ..same }, "another node"),
            (NodeRecord { config_digest: [0; 32], ..same }, "configuration"),
        ];
        for (record, word) in cases {
            let reason = difference(&record, &owner).expect(word);
            assert!(reason.contains(word), "{reason}");
        }
    }
}
