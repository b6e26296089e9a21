//! A configuration file: a checked configuration or a list of problems that name their place, never a panic.

use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf, sync::LazyLock};

use heartbeat_user::config::Config;

/// A configuration without a key is refused early: there is one, where the example looks for it. It stays where it is; all
/// runs have the same.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join("heartbeat-fuzz");
    let _ = std::fs::create_dir_all(&folder);
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("key"));
    if let Ok(mut file) = created {
        let _ = file.write_all("ab".repeat(32).as_bytes());
    }
    folder
});

/// Checks one file.
///
/// # Panics
/// If a rule is broken.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(&FOLDER.join("heartbeat.toml"), text, "alpha") {
        Ok(config) => assert!(!config.nodes.is_empty(), "accepted without a node: {text}"),
        Err(error) => {
            let told = error.to_string();
            assert!(told.contains("heartbeat.toml"), "a problem that names no file: {told}");
        }
    }
}
