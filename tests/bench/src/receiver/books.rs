//! Link records in plain memory: what the XDP program does to its maps, done by the same functions.

use bytemuck::Zeroable as _;
use heartbeat_common::{
    account::{account, interval_bucket, next_arrival},
    frame::{Address, Datagram},
    ids,
    records::{
        ArrivalRecord, IntervalRecord, KeyRecord, LinkRecord, NetworkTable, NodeRecord, PeerRecord, RejectRecord,
        VerdictRecord,
    },
    reject::Reject,
    verify::{self, Ingress, Message, Tables},
};

use crate::scene;

/// A datagram as the socket gives it.
pub(super) struct Received<'a> {
    pub(super) payload: &'a [u8],
    pub(super) source: [u8; 4],
    pub(super) time_to_live: u8,
    /// CLOCK_REALTIME nanoseconds.
    pub(super) stamp_ns: u64,
}

/// Tables and records.
pub(super) struct Books {
    network: u8,
    tables: TableRecords,
    verdicts: Vec<VerdictRecord>,
    links: Vec<LinkRecord>,
    arrivals: Vec<ArrivalRecord>,
    intervals: Vec<IntervalRecord>,
    rejects: RejectRecord,
}

struct TableRecords {
    node: NodeRecord,
    networks: NetworkTable,
    keys: [KeyRecord; ids::MAX_KEY as usize + 1],
    peers: Vec<PeerRecord>,
}

impl<'a> Tables<'a> for &'a TableRecords {
    fn node(self) -> Option<&'a NodeRecord> {
        Some(&self.node)
    }

    fn networks(self) -> Option<&'a NetworkTable> {
        Some(&self.networks)
    }

    fn peer(self, link: u32) -> Option<&'a PeerRecord> {
        self.peers.get(link as usize)
    }

    fn key(self, slot: u8) -> Option<&'a KeyRecord> {
        self.keys.get(usize::from(slot))
    }
}

impl Books {
    /// Empty books for these peers on one network.
    pub(super) fn new(network: u8, peers: &[u16]) -> Self {
        let nodes = usize::from(peers.iter().copied().max().unwrap_or(0)) + 1;
        let links = nodes * usize::from(ids::MAX_NETWORK);
        let mut records = vec![PeerRecord::zeroed(); links];
        for node in peers {
            records[ids::link_index(*node, network) as usize] = scene::peer(*node, network, 1);
        }
        Self {
            network,
            tables: TableRecords {
                node: scene::node(),
                networks: scene::networks(&[1]),
                keys: scene::keys(),
                peers: records,
            },
            verdicts: vec![VerdictRecord::zeroed(); links],
            links: vec![LinkRecord::zeroed(); links],
            arrivals: vec![ArrivalRecord::zeroed(); links],
            intervals: vec![IntervalRecord::zeroed(); links],
            rejects: RejectRecord::default(),
        }
    }

    /// Checks, stamps and books a datagram, as the XDP program does.
    pub(super) fn book(&mut self, received: &Received<'_>, ahead_ns: u64) -> Result<(), Reject> {
        let result = self.checked(received, ahead_ns);
        if let Err(reason) = result {
            self.rejects.counters()[reason as usize] += 1;
        }
        result
    }

    fn checked(&mut self, received: &Received<'_>, ahead_ns: u64) -> Result<(), Reject> {
        let datagram = Datagram {
            payload: received.payload,
            payload_length: u16::try_from(received.payload.len()).unwrap_or(u16::MAX),
            lengths_agree: true,
            source: Address::from_bytes(&scene::address_record(received.source)),
            destination: Address::default(),
            time_to_live: received.time_to_live,
            ipv6: false,
            vlan: 0,
        };
        let ingress = Ingress { network: self.network, single_hop: true, multicast: false };
        let verified = verify::verify(&self.tables, &datagram, ingress)?;
        let Message::Heartbeat(heartbeat) = verified.message else { return Ok(()) };
        let index = verified.link as usize;
        let (Some(peer), Some(link)) = (self.tables.peers.get(index), self.links.get_mut(index)) else {
            return Err(Reject::UnknownPeer);
        };
        if peer.incarnation == 0 || peer.incarnation != heartbeat.incarnation {
            return Err(Reject::WrongIncarnation);
        }
        let stamp_ns = received.stamp_ns.wrapping_sub(ahead_ns);
        let accounted = account(link, peer, &self.verdicts[index], &heartbeat, || stamp_ns)?;
        let (slot, arrival) = next_arrival(link, &heartbeat, accounted.stamp_ns);
        self.arrivals[index].arrivals[slot] = arrival;
        if accounted.gap_ns != 0 {
            self.intervals[index].buckets[interval_bucket(accounted.gap_ns)] += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{self, Beat, PAYLOAD};

    fn book(books: &mut Books, frame: &[u8], source: [u8; 4], time_to_live: u8) -> Result<(), Reject> {
        books.book(&Received { payload: &frame[PAYLOAD..], source, time_to_live, stamp_ns: 5_000 }, 1_000)
    }

    #[test]
    fn a_heartbeat_counts_once_and_only_as_the_data_plane_would_count_it() {
        let mut books = Books::new(1, &[2, 3]);
        let frame = frames::heartbeat([2, 0, 0, 0, 0, 1], Beat::first(3, 1));
        let source = scene::address(3, 1);
        assert_eq!(book(&mut books, &frame, source, 64), Err(Reject::Ttl));
        assert_eq!(book(&mut books, &frame, scene::address(2, 1), 255), Err(Reject::WrongAddress));
        let mut forged = frame;
        forged[frames::LENGTH - 1] ^= 1;
        assert_eq!(book(&mut books, &forged, source, 255), Err(Reject::BadTag));
        assert_eq!(book(&mut books, &frame, source, 255), Ok(()));
        assert_eq!(book(&mut books, &frame, source, 255), Err(Reject::Duplicate));
        let link = books.links[ids::link_index(3, 1) as usize];
        assert_eq!((link.received, link.stamp_ns, link.duplicates), (1, 4_000, 1));
        assert_eq!(*books.rejects.counters(), {
            let mut expected = [0; Reject::COUNT];
            for reason in [Reject::Ttl, Reject::WrongAddress, Reject::BadTag, Reject::Duplicate] {
                expected[reason as usize] = 1;
            }
            expected
        });
    }
}
