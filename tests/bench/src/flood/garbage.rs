//! What strangers can send at a node's port: made up, or captured.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use heartbeat_common::wire;
use heartbeat_tests::topology::Topology;
use heartbeat_user::keys;
use serde::Serialize;

use super::pour;
use crate::{
    frames::{self, Beat},
    scene,
};

/// Of the clusters in the tests' topologies.
const CLUSTER: &str = "demo";
const BROADCAST: [u8; 6] = [0xff; 6];
/// Offsets in a frame with a heartbeat.
const KIND: usize = frames::PAYLOAD + 5;
const CLUSTER_ID: usize = frames::PAYLOAD + 8;
const DESTINATION: usize = frames::PAYLOAD + 18;
/// Flags and fragment offset of the IPv4 header, and "more fragments" in its first byte.
const FRAGMENT: usize = frames::PAYLOAD - 28 + 6;
const MORE_FRAGMENTS: u8 = 0x20;
/// Last byte of the source address, and one that no node of a small cluster has.
const SOURCE_LAST: usize = frames::DESTINATION_LAST - 4;
const STRANGER: u8 = 250;
/// Replayed frames of each kind.
const CAPTURED: usize = 16;
/// A cluster at 10 ms sends that many heartbeats within a tenth of a second, and control messages when it forms.
const CAPTURE: Duration = Duration::from_secs(10);

/// A kind of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Garbage {
    /// Another magic number: cheap to refuse
    BadMagic,
    /// A heartbeat with right header and address, and a tag that does not verify: the dearest that a stranger can make
    BadTag,
    /// The same as a control message
    BadControl,
    /// A heartbeat from an address of nobody
    Stranger,
    /// A first fragment at the port
    Fragment,
    /// Heartbeats that a peer sent a while ago
    Replay,
    /// Bad tags as heartbeats and control messages, bad magic, strangers, fragments and replays in turn
    Mixed,
}

impl Garbage {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::BadMagic, Self::BadTag, Self::BadControl, Self::Stranger, Self::Fragment, Self::Replay, Self::Mixed];

    /// Its frames, to node `to` on a network, as if `from` sent them.
    ///
    /// # Errors
    ///
    /// When what is to be replayed cannot be captured.
    pub fn frames(self, topology: &Topology, from: u16, (to, network): (u16, u8)) -> Result<Vec<Vec<u8>>> {
        Ok(match self {
            Self::Replay => captured(topology, from, (to, network))?,
            Self::Mixed => {
                let made = [Self::BadMagic, Self::BadTag, Self::BadControl, Self::Stranger, Self::Fragment];
                let made = made.map(|kind| kind.made((from, to), network));
                let replayed = captured(topology, from, (to, network))?;
                replayed.into_iter().zip(made.iter().cycle()).flat_map(|(old, new)| [old, new.clone()]).collect()
            }
            Self::BadMagic | Self::BadTag | Self::BadControl | Self::Stranger | Self::Fragment => {
                vec![self.made((from, to), network)]
            }
        })
    }

    /// A frame that takes no capture; of a kind that does, a bad tag.
    pub(crate) fn made(self, (from, to): (u16, u16), network: u8) -> Vec<u8> {
        let mut frame = frames::heartbeat(BROADCAST, Beat::first(from, network));
        frame[CLUSTER_ID..CLUSTER_ID + 8].copy_from_slice(&keys::cluster_id(CLUSTER));
        frame[DESTINATION..DESTINATION + 2].copy_from_slice(&to.to_be_bytes());
        frame[frames::DESTINATION_LAST] = scene::address(to, network)[3];
        match self {
            Self::BadTag | Self::Replay | Self::Mixed => {}
            Self::BadMagic => frame[frames::PAYLOAD] ^= 0xff,
            Self::BadControl => frame[KIND] = wire::KIND_SEQUENCED_FIRST,
            Self::Stranger => frame[SOURCE_LAST] = STRANGER,
            Self::Fragment => frame[FRAGMENT] |= MORE_FRAGMENTS,
        }
        frames::sign_ipv4(&mut frame);
        frame.to_vec()
    }

    /// Does the data plane refuse each of its frames, so that refusals and losses add up to what was sent?
    #[must_use]
    pub fn is_refused(self) -> bool {
        // Fragments are nobody's datagrams yet, and pass to the network stack.
        !matches!(self, Self::Fragment | Self::Mixed)
    }
}

/// Real heartbeats from one node to another, from the wire.
fn captured(topology: &Topology, from: u16, (to, network): (u16, u8)) -> Result<Vec<Vec<u8>>> {
    let socket = pour::listening_cable(topology, to, network)?;
    let deadline = Instant::now() + CAPTURE;
    let mut captured = Vec::new();
    while captured.len() < CAPTURED {
        ensure!(Instant::now() < deadline, "{} heartbeats from node {from} within {CAPTURE:?}", captured.len());
        let Some(frame) = socket.receive()? else { continue };
        let is_heartbeat = frame.len() == frames::LENGTH && frame[KIND] == wire::KIND_HEARTBEAT;
        let addresses = frame.get(SOURCE_LAST - 3..=frames::DESTINATION_LAST);
        if is_heartbeat
            && addresses == Some([scene::address(from, network), scene::address(to, network)].concat().as_slice())
        {
            captured.push(frame);
        }
    }
    Ok(captured)
}

#[cfg(test)]
mod tests {
    use heartbeat_common::frame;

    use super::*;

    #[test]
    fn all_but_fragments_are_datagrams_to_the_port_of_the_node_they_are_for() {
        for kind in Garbage::ALL {
            let made = kind.made((2, 5), 1);
            let located = frame::locate(made.as_slice());
            assert_eq!(located.is_none(), kind == Garbage::Fragment, "{kind:?}");
            if let Some(datagram) = located {
                let bytes = scene::address_record(scene::address(5, 1));
                assert_eq!(datagram.destination, frame::Address::from_bytes(&bytes), "{kind:?}");
                assert!(datagram.lengths_agree, "{kind:?}");
            }
        }
    }
}
