//! Hardware addresses of the peers, as the kernel's neighbour tables have them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
};

use super::{
    requests::Requests,
    targets::{HardwareAddress, Target},
};

/// Interface and address.
pub(super) type Place = (u32, IpAddr);

/// What is known of neighbours.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    known: BTreeMap<Place, HardwareAddress>,
    /// Those that somebody has set for good.
    permanent: BTreeSet<Place>,
}

impl Neighbours {
    /// Everything that the kernel knows now.
    pub(super) fn read() -> io::Result<Self> {
        let requests = Requests::open()?;
        let mut neighbours = Self::default();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            requests.dump(RouteNetlinkMessage::GetNeighbour(message), |message| {
                neighbours.learn(&message);
            })?;
        }
        Ok(neighbours)
    }

    /// Takes what a message says; the place about which something changed.
    pub(super) fn learn(&mut self, message: &RouteNetlinkMessage) -> Option<Place> {
        let gone = matches!(message, RouteNetlinkMessage::DelNeighbour(_));
        let (RouteNetlinkMessage::NewNeighbour(message) | RouteNetlinkMessage::DelNeighbour(message)) = message else {
            return None;
        };
        let mut address = None;
        let mut hardware: Option<HardwareAddress> = None;
        for attribute in &message.attributes {
            if let NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) = attribute {
                address = Some(IpAddr::V4(*ip));
            } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) = attribute {
                address = Some(IpAddr::V6(*ip));
            } else if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute {
                hardware = bytes.as_slice().try_into().ok();
            }
        }
        let place = (message.header.ifindex, address?);
        let hardware = hardware.filter(|_| !gone && is_usable(message.header.state));
        if !gone && message.header.state == NeighbourState::Permanent {
            self.permanent.insert(place);
        } else {
            self.permanent.remove(&place);
        }
        let before = match hardware {
            Some(hardware) => self.known.insert(place, hardware),
            None => self.known.remove(&place),
        };
        (before != hardware).then_some(place)
    }

    /// Whether the kernel shall confirm it. Asked for an address that was set for good, it would forget that it was, and
    /// then the address, if nobody answers for it.
    pub(super) fn is_to_be_confirmed(&self, target: &Target) -> bool {
        !target.group && !self.permanent.contains(&(target.carrier, target.destination))
    }

    /// Hardware address of a target's destination.
    pub(super) fn of(&self, target: &Target) -> Option<HardwareAddress> {
        self.known.get(&(target.carrier, target.destination)).copied()
    }
}

/// Without a hardware address of its own (NOARP) there is nothing that the metronome could send to.
fn is_usable(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    )
}

/// Asks the kernel to find or confirm a destination's hardware address: heartbeats of the metronome pass the neighbour table
/// by, so that nothing else would.
pub(super) fn confirm(requests: &Requests, target: &Target) -> io::Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = target.carrier;
    message.header.flags = NeighbourFlags::Use;
    let destination = match target.destination {
        IpAddr::V4(address) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(address)
        }
        IpAddr::V6(address) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(address)
        }
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    requests.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE)
}
