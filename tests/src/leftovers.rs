//! Removing what topologies made: at their end, and for those whose process died without getting there.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::naming::{BPF_FILE_SYSTEM, Maker, NAMESPACES, Prefix, maker};

/// Removes what processes that no longer run have made; says what it removed.
///
/// # Errors
///
/// When something cannot be removed.
pub fn remove_of_dead_processes() -> Result<Vec<String>> {
    remove_where(|name| matches!(maker(name), Some(Maker::Process(pid)) if !is_alive(pid)))
}

/// Removes everything of one topology, processes in its namespaces included; says what it removed.
///
/// # Errors
///
/// When something cannot be removed.
pub fn remove(prefix: &Prefix) -> Result<Vec<String>> {
    remove_where(|name| prefix.covers(name))
}

fn remove_where(is_unwanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let namespaces = names_in(Path::new(NAMESPACES), &is_unwanted)?;
    if !namespaces.is_empty() {
        kill_inside(&namespaces);
        for name in &namespaces {
            delete_namespace(&Path::new(NAMESPACES).join(name))?;
        }
        removed.extend(namespaces.into_iter().map(|name| format!("namespace {name}")));
    }
    for parent in [Path::new(BPF_FILE_SYSTEM), &std::env::temp_dir()] {
        for name in names_in(parent, &is_unwanted)? {
            let path = parent.join(name);
            if !is_own_folder(&path) {
                continue;
            }
            let outcome = fs::remove_dir_all(&path);
            if path.exists() {
                outcome.with_context(|| format!("cannot remove {}", path.display()))?;
            }
            removed.push(path.display().to_string());
        }
    }
    Ok(removed)
}

fn names_in(parent: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        // No namespace was ever made, or there is no BPF file system.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", parent.display())),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| is_wanted(name)).collect())
}

/// What `ip netns delete` does. Another process that starts just now may remove the same leftovers.
fn delete_namespace(path: &Path) -> Result<()> {
    // A file on which nothing is mounted, or none at all, is what is wanted here.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The temporary folder is everybody's: another user's folder of our name, or a link, is left alone.
fn is_own_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == nix::unistd::geteuid().as_raw())
}

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// Kills the processes in these namespaces: they were started for the topology that is going away.
fn kill_inside(namespaces: &[String]) {
    let inodes: Vec<u64> =
        namespaces.iter().filter_map(|name| Some(Path::new(NAMESPACES).join(name).metadata().ok()?.ino())).collect();
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.filter_map(Result::ok) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let namespace: PathBuf = process.path().join("ns/net");
        if namespace.metadata().is_ok_and(|metadata| inodes.contains(&metadata.ino())) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
