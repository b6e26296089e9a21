//! Datagrams that reach a socket: the checks of the XDP program, run again in userspace.
//!
//! On an interface that XDP serves, control messages arrive here after the kernel has checked them; the socket cannot
//! know by which door they came, so address, TTL and tag are checked once more. With the socket data plane, heartbeats
//! are booked here.

use std::net::IpAddr;

use bytemuck::Zeroable as _;
use heartbeat_common::{
    account::{account, interval_bucket, next_arrival},
    decode::Heartbeat,
    frame::{Address, Datagram},
    ids,
    notice::Notice,
    records::{
        AdmissionRecord, IntervalRecord, KeyRecord, NETWORK_SINGLE_HOP, NetworkTable, NodeRecord, PeerRecord,
        VerdictRecord,
    },
    reject::Reject,
    verify::{self, Ingress, Tables, Verified},
};

use super::{memory::Memory, peers::address_bytes};

/// A datagram as a socket hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// UDP payload.
    pub payload: &'a [u8],
    /// Source address.
    pub source: IpAddr,
    /// Network of the socket.
    pub network: u8,
    /// The socket is the one of the group.
    pub multicast: bool,
    /// TTL or hop limit; `None` when the kernel did not say.
    pub time_to_live: Option<u8>,
    /// When it arrived, CLOCK_MONOTONIC nanoseconds.
    pub stamp_ns: u64,
}

/// The tables that the checks look up, as this process holds them.
#[derive(Clone)]
pub struct LocalTables {
    /// Who we are.
    pub node: NodeRecord,
    /// Our networks.
    pub networks: NetworkTable,
    /// Keys by slot.
    pub keys: [KeyRecord; ids::MAX_KEY as usize + 1],
    /// Peers by link, as configured: addresses, nothing that changes.
    pub peers: Vec<PeerRecord>,
}

impl<'a> Tables<'a> for &'a LocalTables {
    fn node(self) -> Option<&'a NodeRecord> {
        Some(&self.node)
    }

    fn networks(self) -> Option<&'a NetworkTable> {
        Some(&self.networks)
    }

    fn peer(self, link: u32) -> Option<&'a PeerRecord> {
        self.peers.get(usize::try_from(link).ok()?)
    }

    fn key(self, slot: u8) -> Option<&'a KeyRecord> {
        self.keys.get(usize::from(slot))
    }
}

/// Checks a datagram up to its tag.
///
/// # Errors
/// The first reason that applies.
pub fn check(tables: &LocalTables, received: &Received<'_>) -> Result<Verified, Reject> {
    let slot = usize::from(received.network.wrapping_sub(1));
    let single_hop = tables.networks.networks.get(slot).is_some_and(|network| network.flags & NETWORK_SINGLE_HOP != 0);
    let datagram = Datagram {
        payload: received.payload,
        payload_length: u16::try_from(received.payload.len()).unwrap_or(u16::MAX),
        lengths_agree: true,
        source: Address::from_bytes(&address_bytes(received.source)),
        // The socket is bound to the destination; the check of it is behind us.
        destination: Address::default(),
        time_to_live: received.time_to_live.unwrap_or(0),
        ipv6: received.source.is_ipv6(),
        vlan: 0,
    };
    let ingress = Ingress { network: received.network, single_hop, multicast: received.multicast };
    verify::verify(tables, &datagram, ingress)
}

/// What a heartbeat did to the books of the socket data plane.
#[derive(Debug)]
pub enum Booked {
    /// It counts; a state change to tell, if there is one.
    Accepted(Option<Notice>),
    /// Refused; another incarnation to tell, if it is time.
    Refused(Reject, Option<Notice>),
}

/// Books a heartbeat that [`check`] let pass, as the XDP program does.
pub fn book(memory: &Memory, link: u32, heartbeat: &Heartbeat, stamp_ns: u64, interval_ns: u64) -> Booked {
    let Some(peer) = memory.peers.read(link) else { return Booked::Refused(Reject::UnknownPeer, None) };
    if peer.incarnation == 0 || peer.incarnation != heartbeat.incarnation {
        return Booked::Refused(
            Reject::WrongIncarnation,
            other_incarnation(memory, link, heartbeat, stamp_ns, interval_ns),
        );
    }
    let verdict = memory.verdicts.read(link).unwrap_or_else(VerdictRecord::zeroed);
    let result = memory.links.update_locked(link, |record| {
        account(record, &peer, &verdict, heartbeat, || stamp_ns)
            .map(|accounted| (accounted, next_arrival(record, heartbeat, stamp_ns)))
    });
    let Some(result) = result else { return Booked::Refused(Reject::UnknownPeer, None) };
    let (accounted, (slot, arrival)) = match result {
        Ok(booked) => booked,
        Err(reason) => return Booked::Refused(reason, None),
    };
    if let Some(mut arrivals) = memory.arrivals.read(link) {
        arrivals.arrivals[slot] = arrival;
        memory.arrivals.write(link, &arrivals);
    }
    if accounted.gap_ns != 0 {
        let offset =
            std::mem::offset_of!(IntervalRecord, buckets) + interval_bucket(accounted.gap_ns) * size_of::<u64>();
        if let Some(bucket) = memory.intervals.word(link, offset) {
            bucket.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    Booked::Accepted(
        accounted
            .restored
            .map(|restored| Notice::restored(link, heartbeat, &restored, stamp_ns, peer.since_ns, verdict.episode)),
    )
}

fn other_incarnation(
    memory: &Memory,
    link: u32,
    heartbeat: &Heartbeat,
    stamp_ns: u64,
    interval_ns: u64,
) -> Option<Notice> {
    let reported = memory.admission.word(link, std::mem::offset_of!(AdmissionRecord, incarnation_reported_ns))?;
    let reported_ns = reported.load(std::sync::atomic::Ordering::Relaxed);
    if reported_ns != 0 && stamp_ns.saturating_sub(reported_ns) < interval_ns {
        return None;
    }
    reported.store(stamp_ns, std::sync::atomic::Ordering::Relaxed);
    Some(Notice::other_incarnation(link, heartbeat, stamp_ns))
}
