//! Records of the ring buffer: state changes, and nothing else.

use bytemuck::{Pod, Zeroable};

use crate::{account::Restored, decode::Heartbeat, ids, judge::LocalStall};

/// A link is late: no heartbeat for `late_ns`.
pub const NOTICE_LATE: u32 = 1;
/// A link is heard again, or for the first time.
pub const NOTICE_RESTORED: u32 = 2;
/// A peer is silent on all counting networks.
pub const NOTICE_SILENT: u32 = 3;
/// A silent peer is heard again.
pub const NOTICE_HEARD_AGAIN: u32 = 4;
/// A well-tagged heartbeat of an incarnation that is not the accepted one.
pub const NOTICE_OTHER_INCARNATION: u32 = 5;
/// This machine was stalled: the judge ran later than slack.
pub const NOTICE_LOCAL_STALL: u32 = 6;

/// First heartbeat of an incarnation (in `flags` of [`NOTICE_RESTORED`]).
pub const NOTICE_FLAG_FIRST: u8 = 1;
/// Nothing was ever heard (in `flags` of [`NOTICE_LATE`] and [`NOTICE_SILENT`]).
pub const NOTICE_FLAG_NEVER_HEARD: u8 = 1 << 1;
/// The credit for stalls was used up (in `flags` of [`NOTICE_LATE`], [`NOTICE_SILENT`], [`NOTICE_LOCAL_STALL`]).
pub const NOTICE_FLAG_STALL_BUDGET_SPENT: u8 = 1 << 2;

/// Bytes of the ring: 256 KiB hold about 2,700 notices, so a node that loses 1,000 peers on two networks at once tells it
/// all before anybody reads. What a larger one loses stands in VERDICTS.
pub const RING_BYTES: usize = 256 * 1024;

/// One state change. Which fields mean something depends on `kind`; the others are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Notice {
    /// One of `NOTICE_*`.
    pub kind: u32,
    /// The peer.
    pub node: u16,
    /// The network; 0 where the whole peer, or the machine, is meant.
    pub network: u8,
    /// Bits `NOTICE_FLAG_*`.
    pub flags: u8,
    /// Newest arrival stamp, CLOCK_MONOTONIC nanoseconds; 0 is never.
    pub stamp_ns: u64,
    /// The stamp before it (restored).
    pub previous_stamp_ns: u64,
    /// Deadline that passed (late, silent), or when the judge should have run (local stall).
    pub deadline_ns: u64,
    /// When it was found.
    pub judged_ns: u64,
    /// The incarnation judged (late, silent), heard (restored) or seen (other incarnation).
    pub incarnation: u64,
    /// How long the machine was stalled.
    pub length_ns: u64,
    /// Number of the episode (late, silent).
    pub episode: u64,
    /// `sent_ns` of the heartbeat, on the peer's clock (restored).
    pub sent_ns: u64,
    /// `sent_ns` of the heartbeat before it (restored).
    pub previous_sent_ns: u64,
    /// Sequence numbers between the two that have not been seen (restored).
    pub lost: u64,
}

const _: () = assert!(size_of::<Notice>() == 88);

impl Notice {
    /// A link is heard (again), by a heartbeat that arrived at `stamp_ns`; its incarnation has been accepted since
    /// `since_ns`, and `episode` is the number of the last bad verdict.
    #[inline(always)]
    #[must_use]
    pub fn restored(
        link: u32,
        heartbeat: &Heartbeat,
        restored: &Restored,
        stamp_ns: u64,
        since_ns: u64,
        episode: u64,
    ) -> Self {
        Self {
            kind: NOTICE_RESTORED,
            node: ids::link_node(link),
            network: ids::link_network(link),
            flags: if restored.first { NOTICE_FLAG_FIRST } else { 0 },
            stamp_ns,
            previous_stamp_ns: restored.previous_stamp_ns,
            judged_ns: stamp_ns,
            incarnation: heartbeat.incarnation,
            length_ns: stamp_ns.saturating_sub(since_ns),
            episode,
            sent_ns: heartbeat.sent_ns,
            previous_sent_ns: restored.previous_sent_ns,
            lost: restored.lost,
            ..Self::zeroed()
        }
    }

    /// A heartbeat of an incarnation that is not accepted arrived at `stamp_ns`.
    #[inline(always)]
    #[must_use]
    pub fn other_incarnation(link: u32, heartbeat: &Heartbeat, stamp_ns: u64) -> Self {
        Self {
            kind: NOTICE_OTHER_INCARNATION,
            node: ids::link_node(link),
            network: ids::link_network(link),
            stamp_ns,
            judged_ns: stamp_ns,
            incarnation: heartbeat.incarnation,
            sent_ns: heartbeat.sent_ns,
            ..Self::zeroed()
        }
    }

    /// The judge, due at `due_ns`, ran at `now_ns`.
    #[inline(always)]
    #[must_use]
    pub fn local_stall(stall: &LocalStall, due_ns: u64, now_ns: u64) -> Self {
        Self {
            kind: NOTICE_LOCAL_STALL,
            flags: if stall.budget_spent { NOTICE_FLAG_STALL_BUDGET_SPENT } else { 0 },
            deadline_ns: due_ns,
            judged_ns: now_ns,
            length_ns: stall.length_ns,
            ..Self::zeroed()
        }
    }
}
