//! The maps as the checks of heartbeat-common look them up.

use heartbeat_common::{
    records::{KeyRecord, NetworkTable, NodeRecord, PeerRecord},
    verify::Tables,
};

use crate::maps;

/// The maps of this program.
#[derive(Clone, Copy)]
pub(crate) struct Maps;

impl Tables<'static> for Maps {
    #[inline(always)]
    fn node(self) -> Option<&'static NodeRecord> {
        maps::NODE.get(0)
    }

    #[inline(always)]
    fn networks(self) -> Option<&'static NetworkTable> {
        maps::NETWORKS.get(0)
    }

    #[inline(always)]
    fn peer(self, link: u32) -> Option<&'static PeerRecord> {
        maps::PEERS.get(link)
    }

    #[inline(always)]
    fn key(self, slot: u8) -> Option<&'static KeyRecord> {
        maps::KEYS.get(u32::from(slot))
    }
}
