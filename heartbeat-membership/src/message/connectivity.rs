//! Body of connectivity (20): whom the sender hears on each network.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | number of the sender's view |
//! | 8 | 8 | version of the report, growing; not 0 |
//! | 16 | 1 | number of networks, 0 to 8 |
//! | 17 | 1 | length m of a mask, 1 to 128 |
//! | 18 | 6 | reserved |
//! | 24 | 2 + m each | network (1), flags (1), whom it hears (m) |
//! | | 32 | digest of the configuration that is staged at the sender; zeros = none; may be missing |
//!
//! Flags: bit 0 the sender's own interface is broken; bit 1 hosts outside of the cluster were asked on it; bit 2 one
//! answered.
//!
//! Body of network-state (32), from the leader:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 24 | as above |
//! | 24 | 2 + 3m each | network (1), state (1): 1 down, 2 partitioned, 3 up, interfaces that are up (m), unreachable (m), failed (m) |

use std::collections::BTreeMap;

use super::codec::{BodyError, Reader, Writer};
use serde::{Deserialize, Serialize};

use crate::ids::{ConfigDigest, MAX_NETWORKS, NetworkId};
use crate::network_state::{InterfaceState, NetworkReport, NetworkState};
use crate::nodeset::{MAX_MASK_BYTES, NodeSet};

/// A node's rows of the reachability matrices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connectivity {
    /// Number of the sender's view.
    pub view: u64,
    /// Grows with every change of the sender's rows.
    pub version: u64,
    /// Whom it hears, and whether its own interface is broken.
    pub rows: BTreeMap<NetworkId, (NodeSet, bool)>,
    /// Whether hosts outside of the cluster answered, for networks on which they were asked.
    pub outside: BTreeMap<NetworkId, bool>,
    /// Digest of the configuration that is staged at the sender.
    pub staged: Option<ConfigDigest>,
}

const BROKEN: u8 = 1;
const ASKED: u8 = 2;
const ANSWERED: u8 = 4;

/// What the leader has computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkStates {
    /// Number of the leader's view.
    pub view: u64,
    /// Grows with every change.
    pub version: u64,
    /// States of each network and its interfaces.
    pub networks: BTreeMap<NetworkId, NetworkReport>,
}

impl Connectivity {
    /// The body with masks of `mask_bytes` bytes.
    #[must_use]
    pub fn encode(&self, mask_bytes: usize) -> Vec<u8> {
        let mut writer = head(self.view, self.version, self.rows.len(), mask_bytes);
        for (network, (row, broken)) in &self.rows {
            let outside = match self.outside.get(network) {
                None => 0,
                Some(false) => ASKED,
                Some(true) => ASKED | ANSWERED,
            };
            let flags = if *broken { BROKEN } else { 0 } | outside;
            writer.u8(network.0).u8(flags).slice(&row.to_mask(mask_bytes));
        }
        writer.array(&self.staged.map_or([0; 32], |digest| digest.0));
        writer.finish()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] if it is short or a field is out of range.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(body);
        let (view, version, count, mask_bytes) = read_head(&mut reader)?;
        let mut rows = BTreeMap::new();
        let mut outside = BTreeMap::new();
        for _ in 0..count {
            let network = NetworkId(reader.u8()?);
            let flags = reader.u8()?;
            let row = mask(&mut reader, mask_bytes)?;
            if !network.is_valid() || rows.insert(network, (row, flags & BROKEN != 0)).is_some() {
                return Err(BodyError::Range("network"));
            }
            if flags & ASKED != 0 {
                outside.insert(network, flags & ANSWERED != 0);
            }
        }
        let staged = reader.array::<32>().unwrap_or([0; 32]);
        let staged = (staged != [0; 32]).then_some(ConfigDigest(staged));
        Ok(Self { view, version, rows, outside, staged })
    }
}

impl NetworkStates {
    /// The body with masks of `mask_bytes` bytes.
    #[must_use]
    pub fn encode(&self, mask_bytes: usize) -> Vec<u8> {
        let mut writer = head(self.view, self.version, self.networks.len(), mask_bytes);
        for (network, report) in &self.networks {
            let state = match report.state {
                NetworkState::Unavailable => 0,
                NetworkState::Down => 1,
                NetworkState::Partitioned => 2,
                NetworkState::Up => 3,
            };
            writer.u8(network.0).u8(state);
            for wanted in [InterfaceState::Up, InterfaceState::Unreachable, InterfaceState::Failed] {
                let having = report.interfaces.iter().filter(|(_, state)| **state == wanted);
                writer.slice(&having.map(|(id, _)| *id).collect::<NodeSet>().to_mask(mask_bytes));
            }
        }
        writer.finish()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`BodyError`] if it is short, a field is out of range, or an interface has two states.
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let mut reader = Reader::new(body);
        let (view, version, count, mask_bytes) = read_head(&mut reader)?;
        let mut networks = BTreeMap::new();
        for _ in 0..count {
            let network = NetworkId(reader.u8()?);
            let state = match reader.u8()? {
                0 => NetworkState::Unavailable,
                1 => NetworkState::Down,
                2 => NetworkState::Partitioned,
                3 => NetworkState::Up,
                _ => return Err(BodyError::Range("state")),
            };
            let mut interfaces = BTreeMap::new();
            for state in [InterfaceState::Up, InterfaceState::Unreachable, InterfaceState::Failed] {
                for id in mask(&mut reader, mask_bytes)?.iter() {
                    if interfaces.insert(id, state).is_some() {
                        return Err(BodyError::Range("interface"));
                    }
                }
            }
            if !network.is_valid() || networks.insert(network, NetworkReport { state, interfaces }).is_some() {
                return Err(BodyError::Range("network"));
            }
        }
        Ok(Self { view, version, networks })
    }
}

fn head(view: u64, version: u64, count: usize, mask_bytes: usize) -> Writer {
    let mut writer = Writer::default();
    writer.u64(view).u64(version);
    writer.u8(u8::try_from(count).unwrap_or(MAX_NETWORKS)).u8(u8::try_from(mask_bytes).unwrap_or(128)).zeros::<6>();
    writer
}

fn read_head(reader: &mut Reader<'_>) -> Result<(u64, u64, u8, usize), BodyError> {
    let (view, version) = (reader.u64()?, reader.u64()?);
    let (count, mask_bytes) = (reader.u8()?, usize::from(reader.u8()?));
    reader.skip::<6>()?;
    if version == 0 {
        return Err(BodyError::Range("version"));
    }
    if count > MAX_NETWORKS {
        return Err(BodyError::Range("networks"));
    }
    if !(1..=MAX_MASK_BYTES).contains(&mask_bytes) {
        return Err(BodyError::Range("mask length"));
    }
    Ok((view, version, count, mask_bytes))
}

fn mask(reader: &mut Reader<'_>, bytes: usize) -> Result<NodeSet, BodyError> {
    NodeSet::from_mask(reader.slice(bytes)?).ok_or(BodyError::Range("mask"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::NodeId;

    fn set(ids: &[u16]) -> NodeSet {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    fn rows() -> Connectivity {
        let rows = [(NetworkId(1), (set(&[1, 9]), false)), (NetworkId(8), (set(&[1]), true))];
        Connectivity {
            view: 3,
            version: 4,
            rows: rows.into_iter().collect(),
            outside: [(NetworkId(1), true), (NetworkId(8), false)].into_iter().collect(),
            staged: Some(ConfigDigest([7; 32])),
        }
    }

    fn states() -> NetworkStates {
        let interfaces = [(NodeId(1), InterfaceState::Up), (NodeId(9), InterfaceState::Failed)];
        let report = NetworkReport { state: NetworkState::Partitioned, interfaces: interfaces.into_iter().collect() };
        NetworkStates { view: 3, version: 4, networks: [(NetworkId(2), report)].into_iter().collect() }
    }

    #[test]
    fn bodies_survive_encoding_and_truncations_are_refused() {
        let body = rows().encode(2);
        assert_eq!(body.len(), 24 + 2 * 4 + 32);
        assert_eq!(Connectivity::decode(&body), Ok(rows()));
        for length in 0..32 {
            assert_eq!(Connectivity::decode(&body[..length]), Err(BodyError::Short));
        }
        for length in 32..body.len() {
            let shorter = Connectivity::decode(&body[..length]);
            assert_eq!(
                shorter,
                Ok(Connectivity { staged: None, ..rows() }),
                "what was added at the end may be missing"
            );
        }
        let body = states().encode(2);
        assert_eq!(body.len(), 24 + 8);
        assert_eq!(NetworkStates::decode(&body), Ok(states()));
        for length in 0..body.len() {
            assert_eq!(NetworkStates::decode(&body[..length]), Err(BodyError::Short));
        }
    }

    #[test]
    fn lying_fields_are_refused() {
        for (offset, byte, field) in [
            (15, 0, "version"),
            (16, 9, "networks"),
            (17, 0, "mask length"),
            (17, 129, "mask length"),
            (24, 0, "network"),
            (28, 1, "network"),
        ] {
            let mut body = rows().encode(2);
            body[offset] = byte;
            assert_eq!(Connectivity::decode(&body), Err(BodyError::Range(field)), "{offset}");
        }
        for (offset, byte, field) in [(25, 4, "state"), (28, 1, "interface"), (24, 9, "network")] {
            let mut body = states().encode(2);
            body[offset] = byte;
            assert_eq!(NetworkStates::decode(&body), Err(BodyError::Range(field)), "{offset}");
        }
    }

    #[test]
    fn the_largest_cluster_fits_one_datagram() {
        let all: NodeSet = (1..=1024).map(NodeId).collect();
        let rows = (1..=8).map(|id| (NetworkId(id), (all, false))).collect();
        assert!(
            Connectivity { view: 1, version: 1, rows, ..Connectivity::default() }.encode(128).len()
                <= crate::message::regroup::MAX_BODY
        );
    }

    proptest! {
        #[test]
        fn decoding_is_total(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Connectivity::decode(&body);
            let _ = NetworkStates::decode(&body);
        }
    }
}
