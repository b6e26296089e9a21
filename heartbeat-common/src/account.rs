//! What an authentic heartbeat does to its link record.
//!
//! The caller holds the record: [`LinkRecord::lock`] is odd while these functions run.

use bytemuck::Zeroable as _;

use crate::{
    decode::Heartbeat,
    records::{ARRIVALS, Arrival, INTERVAL_BUCKETS, LinkRecord, PeerRecord, STATE_LATE, VerdictRecord},
    reject::Reject,
    window::{Position, Window},
};

/// How far a stamp may lie before the moment of its arrival: those of sockets are converted from another clock.
const STAMP_ERROR_NS: u64 = 1_000_000;

/// What the heartbeat turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounted {
    /// Arrival stamp.
    pub stamp_ns: u64,
    /// The heartbeat is the newest: it moved the stamp. False: it was behind a newer one.
    pub newest: bool,
    /// Time since the newest one before, nanoseconds; 0 when there is none, or when this is not the newest.
    pub gap_ns: u64,
    /// The link is heard again, and somebody should say so.
    pub restored: Option<Restored>,
}

/// A link that is heard (again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// First heartbeat of this incarnation, rather than the end of an episode of lateness.
    pub first: bool,
    /// The newest stamp before; 0 is none.
    pub previous_stamp_ns: u64,
    /// `sent_ns` of the newest heartbeat before, on the peer's clock; 0 is none.
    pub previous_sent_ns: u64,
    /// Sequence numbers between the two that have not been seen.
    pub lost: u64,
}

/// Books an authentic heartbeat of the accepted incarnation. `clock` is read once the sequence number has been accepted.
///
/// # Errors
/// [`Reject::Duplicate`] and [`Reject::TooOld`]; only the link's `duplicates` count has changed then, and the record has been
/// emptied where it was of an earlier epoch.
#[inline(always)]
pub fn account(
    link: &mut LinkRecord,
    peer: &PeerRecord,
    verdict: &VerdictRecord,
    heartbeat: &Heartbeat,
    clock: impl FnOnce() -> u64,
) -> Result<Accounted, Reject> {
    let first = link.epoch != peer.epoch;
    if first {
        begin_epoch(link, peer, heartbeat.incarnation);
    }
    let (window, start) = if heartbeat.is_multicast() {
        (&mut link.multicast, peer.multicast_start)
    } else {
        (&mut link.unicast, peer.unicast_start)
    };
    // Numbers sent between the handshake and the moment when userspace set the incarnation were refused; they are not
    // lost on the way.
    let untouched = window.newest < start;
    match window.record(heartbeat.sequence) {
        Position::Ahead { skipped } => {
            let lost = if untouched { 0 } else { skipped };
            link.lost += lost;
            Ok(newest(link, verdict, heartbeat, clock(), first, lost))
        }
        Position::Behind => {
            link.lost = link.lost.saturating_sub(1);
            link.reordered += 1;
            link.received += 1;
            Ok(Accounted { stamp_ns: clock(), newest: false, gap_ns: 0, restored: None })
        }
        Position::Duplicate => {
            link.duplicates += 1;
            Err(Reject::Duplicate)
        }
        Position::TooOld => Err(Reject::TooOld),
    }
}

/// Empties the record for a newly accepted incarnation; totals that an operator watches go on.
#[inline(always)]
fn begin_epoch(link: &mut LinkRecord, peer: &PeerRecord, incarnation: u64) {
    link.epoch = peer.epoch;
    link.incarnation = incarnation;
    link.stamp_ns = 0;
    link.sent_ns = 0;
    link.previous_stamp_ns = 0;
    link.echo_sent_ns = 0;
    link.echo_stamp_ns = 0;
    link.echo_hold_us = 0;
    link.unicast = Window::starting_at(peer.unicast_start);
    link.multicast = Window::starting_at(peer.multicast_start);
}

#[inline(always)]
fn newest(
    link: &mut LinkRecord,
    verdict: &VerdictRecord,
    heartbeat: &Heartbeat,
    stamp_ns: u64,
    first: bool,
    lost: u64,
) -> Accounted {
    let (previous_stamp_ns, previous_sent_ns) = (link.stamp_ns, link.sent_ns);
    let gap_ns = if previous_stamp_ns == 0 { 0 } else { stamp_ns.saturating_sub(previous_stamp_ns) };
    link.previous_stamp_ns = previous_stamp_ns;
    link.stamp_ns = stamp_ns;
    link.received += 1;
    link.longest_gap_ns = link.longest_gap_ns.max(gap_ns);
    // A datagram that is ahead in its own window may still be older than the newest of the other one (unicast and
    // multicast overtake each other): what the peer said last is what it sent last.
    if heartbeat.sent_ns >= link.sent_ns {
        link.sent_ns = heartbeat.sent_ns;
        link.view = heartbeat.view;
        link.controller_age_ms = heartbeat.controller_age_ms;
        link.controller_beat = heartbeat.controller_beat;
        link.flags = u32::from(heartbeat.flags);
    }
    // Of before this machine was started anew, on a clock that has begun again: it would hide what is sent now until the
    // clock has come as far once more.
    let possible = heartbeat.echo_sent_ns <= stamp_ns.saturating_add(STAMP_ERROR_NS);
    if heartbeat.echo_sent_ns > link.echo_sent_ns && possible {
        link.echo_sent_ns = heartbeat.echo_sent_ns;
        link.echo_hold_us = heartbeat.echo_hold_us;
        link.echo_stamp_ns = stamp_ns;
    }
    let ends_episode =
        verdict.epoch == link.epoch && verdict.state == STATE_LATE && verdict.episode != link.acknowledged_episode;
    let was_first = first || previous_stamp_ns == 0;
    let restored =
        (was_first || ends_episode).then_some(Restored { first: was_first, previous_stamp_ns, previous_sent_ns, lost });
    if ends_episode {
        link.acknowledged_episode = verdict.episode;
    }
    Accounted { stamp_ns, newest: true, gap_ns, restored }
}

/// The entry of the flight recorder for a heartbeat, and its slot; the cursor of the record moves on.
#[inline(always)]
pub fn next_arrival(link: &mut LinkRecord, heartbeat: &Heartbeat, stamp_ns: u64) -> (usize, Arrival) {
    let slot = link.arrival_cursor as usize % ARRIVALS;
    link.arrival_cursor = (slot as u64 + 1) % ARRIVALS as u64;
    (slot, Arrival { stamp_ns, sent_ns: heartbeat.sent_ns, sequence: heartbeat.sequence })
}

/// Bucket of a gap in an inter-arrival histogram: floor(log2), capped.
///
/// Written with shifts: BPF has no instruction that counts leading zeros.
#[inline(always)]
#[must_use]
pub const fn interval_bucket(gap_ns: u64) -> usize {
    let mut rest = gap_ns;
    let mut bucket = 0;
    let mut step = 32;
    while step > 0 {
        if rest >> step != 0 {
            rest >>= step;
            bucket += step;
        }
        step >>= 1;
    }
    if bucket >= INTERVAL_BUCKETS { INTERVAL_BUCKETS - 1 } else { bucket }
}

/// A record of a link that was never heard.
#[must_use]
pub fn empty_link() -> LinkRecord {
    LinkRecord::zeroed()
}

#[cfg(test)]
mod tests;
