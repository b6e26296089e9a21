//! `heartbeat keygen`.

use super::{KeygenArgs, output};
use crate::keys::Secret;

pub(super) const HELP: &str = "\
All nodes of a cluster share the secret. Copy the file to each of them, owner
root, mode 0600, and name it in the configuration:

  [cluster]
  name = \"demo\"
  send_key = 1

  [[cluster.key]]
  id = 1
  file = \"/etc/heartbeat-xdp/key\"

To change it without an outage: add the new key as [[cluster.key]] id = 2 on
every node, then switch send_key to 2 on every node, then remove key 1.";

pub(super) fn keygen(args: &KeygenArgs) -> anyhow::Result<u8> {
    let secret = Secret::generate()?;
    match &args.out {
        Some(path) => secret.write_new(path)?,
        None => output::print(&format!("{}\n", secret.to_hex()))?,
    }
    Ok(0)
}
