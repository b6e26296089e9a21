//! The package, made of what the other tests use: the development build.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use heartbeat_tests::process::find_program;

/// Makes it in `folder`.
pub(crate) fn make(folder: &Path, revision: u32) -> PathBuf {
    let xtask = find_program().unwrap().with_file_name("xtask");
    assert!(xtask.is_file(), "no {}: `cargo xtask test` builds it", xtask.display());
    let mut command = Command::new(xtask);
    command.args(["dist", "--debug", "--no-build", "--revision", &revision.to_string(), "--out"]).arg(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let deb = folder.join(file_name(revision));
    assert!(deb.is_file(), "no {}", deb.display());
    deb
}

/// What a package of this version is called.
pub(crate) fn file_name(revision: u32) -> String {
    format!("heartbeat-xdp_{}-{revision}_amd64.deb", env!("CARGO_PKG_VERSION"))
}
