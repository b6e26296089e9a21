//! From a verified heartbeat to its link record, under the record's lock.

use heartbeat_common::{
    account::{account, interval_bucket, next_arrival},
    decode::Heartbeat,
    notice::Notice,
    records::{Arrival, IntervalRecord, PeerRecord},
    reject::Reject,
};

use crate::{atomic, clock, maps, notify};

/// What became of a heartbeat that verified.
pub(crate) enum Booked {
    /// It counts.
    Accepted,
    /// Another CPU was writing the record: counted, not booked.
    Contended,
}

/// Books a heartbeat.
///
/// # Errors
/// [`Reject::WrongIncarnation`], [`Reject::Duplicate`], [`Reject::TooOld`].
#[inline(always)]
pub(crate) fn book(index: u32, heartbeat: &Heartbeat) -> Result<Booked, Reject> {
    let peer = maps::PEERS.get(index).ok_or(Reject::UnknownPeer)?;
    let incarnation = atomic::load(&peer.incarnation);
    if incarnation == 0 || incarnation != heartbeat.incarnation {
        report_incarnation(index, heartbeat);
        return Err(Reject::WrongIncarnation);
    }
    let (Some(link), Some(verdict)) = (maps::LINKS.get_ptr_mut(index), maps::VERDICTS.get(index)) else {
        return Err(Reject::UnknownPeer);
    };
    // SAFETY: a map value; who else may write it is settled by the lock below.
    let link = unsafe { &mut *link };
    let lock = atomic::load(&link.lock);
    if lock & 1 != 0 || !atomic::compare_and_swap(&mut link.lock, lock, lock + 1) {
        notify::count(|counters| &mut counters.contended);
        return Ok(Booked::Contended);
    }
    // Userspace writes 0 before it changes anything, and the next incarnation last: what was read between two sights of the
    // same incarnation belongs to it. Else a heartbeat of the old one could open the window of its successor. And whoever
    // clears the incarnation, then waits for an even lock, knows that no stamp moves any more (membership.md 2.1).
    let expected = PeerRecord {
        incarnation,
        epoch: atomic::load(&peer.epoch),
        address: [0; 16],
        unicast_start: atomic::load(&peer.unicast_start),
        multicast_start: atomic::load(&peer.multicast_start),
        since_ns: atomic::load(&peer.since_ns),
        present: 1,
    };
    // The epoch too: the same incarnation may have been set again, with other window starts.
    if atomic::load(&peer.incarnation) != incarnation || atomic::load(&peer.epoch) != expected.epoch {
        atomic::store_release(&mut link.lock, lock + 2);
        return Err(Reject::WrongIncarnation);
    }
    let result = account(link, &expected, verdict, heartbeat, clock::monotonic_ns);
    let arrival = result.map(|accounted| (accounted, next_arrival(link, heartbeat, accounted.stamp_ns)));
    if let Ok((accounted, (slot, arrival))) = &arrival {
        if let Some(record) = maps::ARRIVALS.get_ptr_mut(index) {
            // SAFETY: `slot` is below ARRIVALS, and the link's lock is held.
            unsafe { (&raw mut (*record).arrivals).cast::<Arrival>().add(*slot).write(*arrival) };
        }
        if accounted.gap_ns != 0 {
            count_gap(index, accounted.gap_ns);
        }
    }
    atomic::store_release(&mut link.lock, lock + 2);
    let (accounted, _) = arrival?;
    if let Some(restored) = accounted.restored {
        let stamp_ns = accounted.stamp_ns;
        let since_ns = expected.since_ns;
        notify::tell(&Notice::restored(index, heartbeat, &restored, stamp_ns, since_ns, verdict.episode));
    }
    notify::count(|counters| &mut counters.accepted);
    Ok(Booked::Accepted)
}

#[inline(always)]
fn count_gap(index: u32, gap_ns: u64) {
    if let Some(record) = maps::INTERVALS.get_ptr_mut(index) {
        let record: *mut IntervalRecord = record;
        // SAFETY: the bucket is below INTERVAL_BUCKETS, and the link's lock is held.
        unsafe { *(&raw mut (*record).buckets).cast::<u64>().add(interval_bucket(gap_ns)) += 1 };
    }
}

/// Tells userspace, once per interval, that a peer runs as another incarnation: it starts the handshake.
#[inline(never)]
fn report_incarnation(index: u32, heartbeat: &Heartbeat) {
    let (Some(admission), Some(timing)) = (maps::ADMISSION.get_ptr_mut(index), maps::TIMING.get(0)) else { return };
    // SAFETY: a map value, of which one word is changed, by compare-and-swap.
    let admission = unsafe { &mut *admission };
    let now_ns = clock::monotonic_ns();
    let reported_ns = admission.incarnation_reported_ns;
    if reported_ns != 0 && now_ns.wrapping_sub(reported_ns) < timing.interval_ns {
        return;
    }
    if !atomic::compare_and_swap(&mut admission.incarnation_reported_ns, reported_ns, now_ns) {
        return;
    }
    notify::notify(&Notice::other_incarnation(index, heartbeat, now_ns));
}
