//! Rules of nftables, by the program of that name.

use std::{io::Write as _, process::Stdio};

use anyhow::{Context as _, Result, bail};

use crate::namespace::Namespace;

/// Gives these rules to `nft` inside a namespace, as one transaction.
pub(crate) fn nft(namespace: &Namespace, rules: &str) -> Result<()> {
    let mut nft = namespace.command("nft")?;
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = nft.spawn().context("cannot start `nft` (package nftables)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).context("cannot write to `nft`")?;
    }
    let output = child.wait_with_output().context("cannot wait for `nft`")?;
    if !output.status.success() {
        bail!("`nft` failed in {}: {}", namespace.name(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
