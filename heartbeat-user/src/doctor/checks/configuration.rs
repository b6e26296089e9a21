//! The configuration, here and on the other nodes.

use super::{NAME_THE_CONFIG, START_THE_NODE};
use crate::doctor::{Facts, Findings};

/// 9013: a node runs another version of the kernel records.
const ABI_DIFFERS: u16 = 9013;

/// Permission bits that nobody but the owner of a secret needs.
const OTHERS: u32 = 0o077;

/// A file that is there and is refused keeps the node from starting again, even if one runs. Another name is no fault.
pub(super) fn readable(facts: &Facts, found: &mut Findings) {
    let Err(reason) = &facts.config else { return };
    if facts.node.is_ok() && !facts.config_exists {
        found.unknown(reason.clone(), NAME_THE_CONFIG);
    } else {
        found.wrong(reason.clone(), "mend it, or name another with --config; heartbeat check-config says more");
    }
}

pub(super) fn versions(facts: &Facts, found: &mut Findings) {
    let Some(node) = found.known(&facts.node, START_THE_NODE) else { return };
    for other in node.status.nodes.iter().filter(|other| other.config_differs) {
        found.wrong(
            format!("{} runs another configuration than this node, and is kept out", other.name),
            "compare the digests that `heartbeat check-config` prints on both, and give all nodes the same file",
        );
    }
    let ours = env!("CARGO_PKG_VERSION");
    if node.status.node.version != ours {
        found.advice(
            format!("the node runs version {}, this program is {ours}", node.status.node.version),
            "restart the node with the version that is installed; peers do not notice a quick restart",
        );
    }
    let mut differing: Vec<u16> =
        node.events.iter().filter(|event| event.id == ABI_DIFFERS).filter_map(|event| event.peer).collect();
    differing.sort_unstable();
    differing.dedup();
    for peer in differing {
        found.advice(
            format!("node {peer} ran another version of the kernel records within the last hour (9013)"),
            "finish the upgrade: all nodes should run one version",
        );
    }
}

pub(super) fn secrets(facts: &Facts, found: &mut Findings) {
    let Some(config) = found.known(&facts.config, NAME_THE_CONFIG) else { return };
    for secret in &config.secrets {
        let path = secret.path.display();
        match &secret.mode {
            Ok(mode) if mode & OTHERS != 0 => found.wrong(
                format!("{path} has mode {mode:04o}: others than its owner may use the key"),
                format!("chmod 600 {path}; if others had access, make a new key (docs/operations.md, key rotation)"),
            ),
            Ok(_) => {}
            Err(reason) => found.unknown(reason.clone(), "run the doctor as root"),
        }
    }
}
