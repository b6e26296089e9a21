//! Keys as the threads use them.

use std::collections::BTreeMap;

use heartbeat_common::{auth::HeartbeatKey, ids, records::KeyRecord};

use crate::{
    config::Config,
    control::Signer,
    keys::{self, DerivedKeys},
};

/// Key slots of the KEYS map; the slot is the key's id, and slot 0 is never used.
pub type KeySlots = [KeyRecord; ids::MAX_KEY as usize + 1];

/// Every key of a configuration, derived.
pub struct Keyring {
    /// What the kernel, and the checks in userspace, accept.
    pub slots: KeySlots,
    /// Control keys by slot.
    pub control: BTreeMap<u8, [u8; 32]>,
    /// What signs.
    pub signer: Signer,
}

impl Keyring {
    /// The keys of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let cluster_id = keys::cluster_id(&config.cluster_name);
        let derived: BTreeMap<u8, DerivedKeys> =
            config.keys.iter().map(|key| (key.id, key.secret.derive(cluster_id))).collect();
        let sending = derived.get(&config.send_key);
        let sending = sending.unwrap_or_else(|| unreachable!("a checked configuration has its send key"));
        let signer = Signer {
            cluster_id,
            node: config.local.node,
            key_id: config.send_key,
            heartbeat_key: HeartbeatKey::from_bytes(sending.heartbeat_key),
            control_key: sending.control_key,
        };
        Self {
            slots: slots(derived.iter().map(|(id, derived)| (*id, derived)), cluster_id),
            control: derived.iter().map(|(id, derived)| (*id, derived.control_key)).collect(),
            signer,
        }
    }
}

/// Slots with these keys; the others are empty.
pub fn slots<'keys>(keys: impl Iterator<Item = (u8, &'keys DerivedKeys)>, cluster_id: [u8; 8]) -> KeySlots {
    let mut slots: KeySlots = bytemuck::Zeroable::zeroed();
    for (id, derived) in keys {
        if let Some(slot) = slots.get_mut(usize::from(id)) {
            *slot = KeyRecord::new(id, HeartbeatKey::from_bytes(derived.heartbeat_key), u64::from_ne_bytes(cluster_id));
        }
    }
    slots
}

/// The writes that turn one set of slots into another, in an order in which every key that is in both is accepted all the
/// time, and new ones are accepted before old ones go.
pub fn writes(old: &KeySlots, new: &KeySlots) -> impl Iterator<Item = (u32, KeyRecord)> {
    let changed = |present: bool| {
        (0..)
            .zip(old)
            .zip(new)
            .filter_map(move |((slot, old), new)| (old != new && (new.present != 0) == present).then_some((slot, *new)))
    };
    changed(true).chain(changed(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret;

    fn of(keys: &[(u8, u8)]) -> KeySlots {
        let derived: Vec<(u8, DerivedKeys)> =
            keys.iter().map(|(id, byte)| (*id, Secret::from_bytes([*byte; 32]).derive(*b"cluster!"))).collect();
        slots(derived.iter().map(|(id, derived)| (*id, derived)), *b"cluster!")
    }

    #[test]
    fn what_stays_is_not_written_and_what_comes_is_written_before_what_goes() {
        let (one, both, two) = (of(&[(1, 7)]), of(&[(1, 7), (2, 8)]), of(&[(2, 8)]));
        let slots = |old, new| writes(old, new).map(|(slot, record)| (slot, record.present)).collect::<Vec<_>>();
        assert_eq!(slots(&one, &both), [(2, 1)]);
        assert_eq!(slots(&both, &two), [(1, 0)]);
        assert_eq!(slots(&one, &two), [(2, 1), (1, 0)]);
        assert!(slots(&both, &both).is_empty());
        assert_eq!(slots(&of(&[(1, 7)]), &of(&[(1, 9)])), [(1, 1)], "another secret in the same slot");
    }
}
