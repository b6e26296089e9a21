//! Records of the ring buffer: state changes, and nothing else.

use bytemuck::{Pod, Zeroable};

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
