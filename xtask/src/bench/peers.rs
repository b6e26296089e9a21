//! The systems that `cargo xtask bench peers` runs beside ours.

use std::path::Path;

use anyhow::Result;

use crate::{
    exec::{exec, privileged},
    setup,
};

/// Packages of Debian; chrt and `ip` are on every machine.
const PACKAGES: [&str; 5] = ["bird2", "corosync", "frr", "keepalived", "stress-ng"];
/// While this says no, apt starts no daemon (Debian Policy 9.3.3).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, and starts nothing.
pub(super) fn install() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|package| !setup::is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("to be installed, without starting anything: {}", missing.join(", "));
    let is_ours = !Path::new(POLICY).exists();
    if is_ours {
        let write = format!("printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}");
        exec(privileged("sh").args(["-c", &write]))?;
    }
    let installed = setup::install_packages(&PACKAGES.into());
    if is_ours {
        exec(privileged("rm").args(["-f", POLICY]))?;
    }
    installed
}
