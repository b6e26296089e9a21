//! Before a start: what an earlier controller left, and whether this one may go on where it was.

use std::fs::File;

use anyhow::{Context as _, Result};
use heartbeat_common::records::NodeRecord;

use super::{
    memory::Sizes,
    pins::{self, Found, Owner, Pins},
};
use crate::config::{Config, Dataplane as Wanted};

/// What of an earlier controller was found.
#[derive(Clone, Debug)]
pub enum Adoption {
    /// Its maps: incarnation, sequence numbers and accepted peers go on.
    Adopted(Box<NodeRecord>),
    /// Nothing, or nothing that may be kept: why, if something was there.
    Fresh(Option<String>),
}

/// A data plane that is about to start: what is pinned has been looked at, nothing has been changed.
pub struct Preparation {
    pub(super) owner: Owner,
    pub(super) sizes: Sizes,
    pub(super) pins: Option<(Pins, File)>,
    /// What was found.
    pub adoption: Adoption,
}

/// Nodes come in steps of this many: maps have room for those of the next step, which may be added while the node runs.
const ROOM: u16 = 32;

/// The highest node id that the maps of this configuration have room for.
#[must_use]
pub fn room_for(config: &Config) -> u16 {
    let highest = config.nodes.iter().map(|node| node.id).max().unwrap_or(0);
    (highest | (ROOM - 1)).min(heartbeat_common::ids::MAX_NODE)
}

impl Preparation {
    /// Is the lock on the pins held?
    #[must_use]
    pub fn owns_pins(&self) -> bool {
        self.pins.is_some()
    }
}

/// Looks at what an earlier controller left.
///
/// # Errors
/// When /proc does not tell boot id or network namespace, or another node uses `bpf_dir`.
pub fn prepare(config: &Config) -> Result<Preparation> {
    let sizes = Sizes::for_nodes_up_to(room_for(config));
    let owner = Owner {
        cluster_id: u64::from_ne_bytes(crate::keys::cluster_id(&config.cluster_name)),
        node: u32::from(config.local.node),
        config_digest: config.digest(),
        boot_id: pins::boot_id().context("the boot id cannot be read from /proc")?,
        network_namespace: pins::network_namespace().context("the network namespace cannot be read from /proc")?,
    };
    let pins = Pins::new(&config.local.bpf_dir);
    if config.local.dataplane == Wanted::Socket {
        let removed = pins.remove_abandoned().with_context(|| {
            let directory = config.local.bpf_dir.display();
            format!("what an earlier controller attached by {directory} would take the heartbeats, and stays")
        })?;
        let why = removed.then(|| "its maps cannot be used without XDP".to_owned());
        return Ok(Preparation { owner, sizes, pins: None, adoption: Adoption::Fresh(why) });
    }
    let lock = pins.lock().with_context(|| {
        let directory = config.local.bpf_dir.display();
        format!(
            "{directory} cannot be used: another node runs with it, or it cannot be made (give each node its own \
                 [local] bpf_dir)"
        )
    })?;
    let adoption = match pins.inspect(&owner, sizes) {
        Found::Nothing => Adoption::Fresh(None),
        Found::Adoptable(record) => match interrupted(&record) {
            None => Adoption::Adopted(record),
            Some(reason) => Adoption::Fresh(Some(reason.to_owned())),
        },
        Found::Refused { reason, here } => {
            if !here {
                // What is attached there is attached to interfaces of another namespace, whatever their numbers say.
                pins.remove_all().context("what an earlier controller pinned cannot be removed")?;
            }
            Adoption::Fresh(Some(reason))
        }
    };
    Ok(Preparation { owner, sizes, pins: Some((pins, lock)), adoption })
}

/// Why a controller that was in a view cannot go on where it was (membership.md 3.5): the others may have removed it
/// meanwhile, or it was bound to a decision that only its memory knew.
fn interrupted(record: &NodeRecord) -> Option<&'static str> {
    if record.view == 0 {
        return None;
    }
    if record.stage != 0 {
        Some("it was in the middle of a regroup")
    } else if record.lease_end_ns <= crate::clock::boottime_ns() {
        Some("its lease has ended")
    } else {
        None
    }
}
