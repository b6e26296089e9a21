//! The file system that keeps programs and maps alive without a process.

use std::path::Path;

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{requirement::Requirement, step::Step};

pub(super) const MOUNT_POINT: &str = "/sys/fs/bpf";

pub(super) fn requirement() -> Requirement {
    const NAME: &str = "bpffs";
    match statfs(Path::new(MOUNT_POINT)) {
        Ok(found) if found.filesystem_type() == BPF_FS_MAGIC => Requirement::ready(NAME, format!("on {MOUNT_POINT}")),
        Ok(_) => Requirement::missing(NAME, format!("not mounted on {MOUNT_POINT}"), vec![Step::MountBpffs]),
        Err(error) => Requirement::missing(
            NAME,
            format!("{MOUNT_POINT}: {error}"),
            vec![Step::ByHand("a kernel with BPF, and sysfs mounted on /sys")],
        ),
    }
}
