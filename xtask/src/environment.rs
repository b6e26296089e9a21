//! Where this workspace lives and what the commands that xtask starts find in their environment.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The folder of the workspace's Cargo.toml.
pub(crate) fn workspace_root() -> &'static Path {
    let manifest_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_directory.parent().unwrap_or(manifest_directory)
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => env::current_dir().unwrap_or_default().join(directory),
        None => workspace_root().join("target"),
    }
}

/// PATH with rustup's proxies before the /usr/bin/rustc and /usr/bin/cargo that the distribution's packages bring,
/// and with the sbin folders, which an ordinary user's PATH on Debian leaves out.
pub(crate) fn search_path() -> OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = cargo_bin().into_iter().collect();
    directories.extend(env::split_paths(&inherited));
    directories.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut unique: Vec<PathBuf> = Vec::with_capacity(directories.len());
    for directory in directories {
        if !unique.contains(&directory) {
            unique.push(directory);
        }
    }
    env::join_paths(unique).unwrap_or(inherited)
}

/// Whether this process may create namespaces and install packages by itself.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn cargo_bin() -> Option<PathBuf> {
    let cargo_home =
        env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")))?;
    Some(cargo_home.join("bin"))
}
