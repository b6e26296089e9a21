//! Records of the maps. Each map has one writer; every record is `repr(C)` without padding, and its size is asserted.
//!
//! A change here is a change of [`crate::ABI_VERSION`].

use bytemuck::{Pod, Zeroable};

use crate::{
    auth::{HeartbeatKey, State},
    ids,
    reject::Reject,
    window::Window,
    wire,
};

/// NODE: who we are. Writer: userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NodeRecord {
    /// [`crate::ABI_VERSION`] of the controller that wrote the maps.
    pub abi: u32,
    /// Own node id.
    pub node: u32,
    /// Cluster id, the bytes of the wire in memory order.
    pub cluster_id: u64,
    /// Own incarnation.
    pub incarnation: u64,
    /// Number of the current view; 0 is none.
    pub view: u64,
    /// Regroup sequence.
    pub regroup_sequence: u64,
    /// End of the lease, CLOCK_BOOTTIME nanoseconds; 0 is none. Programs that protect data check it here.
    pub lease_end_ns: u64,
    /// CLOCK_MONOTONIC nanoseconds when the controller last completed a pass.
    pub controller_pass_ns: u64,
    /// Passes that the controller completed.
    pub controller_beat: u64,
    /// Inode of the network namespace in which the maps were made.
    pub network_namespace: u64,
    /// Regroup stage, 0 is stabilized.
    pub stage: u32,
    /// Links (nodes x networks) that the maps of this instance have room for.
    pub links: u32,
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
    /// Digest of the configuration that all nodes share.
    pub config_digest: [u8; 32],
}

/// One cluster network at this node, in NETWORKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NetworkRecord {
    /// Interface that the XDP program sits on.
    pub ifindex: u32,
    /// VLAN tag; 0 is untagged.
    pub vlan: u16,
    /// Bits `NETWORK_*`; 0 is an empty slot.
    pub flags: u16,
    /// Own address; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Multicast group; zeros when multicast is off.
    pub group: [u8; 16],
}

/// The slot is in use.
pub const NETWORK_PRESENT: u16 = 1;
/// Only datagrams with TTL 255 count.
pub const NETWORK_SINGLE_HOP: u16 = 1 << 1;
/// Addresses are IPv6.
pub const NETWORK_IPV6: u16 = 1 << 2;
/// `group` is set.
pub const NETWORK_GROUP: u16 = 1 << 3;

/// NETWORKS: the cluster networks of this node, slot = network id - 1. Writer: userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NetworkTable {
    /// One slot for each network.
    pub networks: [NetworkRecord; ids::MAX_NETWORK as usize],
}

/// PEERS: what is expected of one peer on one network. Writer: userspace.
///
/// Written in this order, `incarnation` last, after it has been 0: the kernel never sees a new incarnation with old
/// window starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct PeerRecord {
    /// The one incarnation that is accepted; 0 accepts none.
    pub incarnation: u64,
    /// Counts the settings of `incarnation`: a link record of another epoch counts as empty.
    pub epoch: u64,
    /// Expected source address; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// First sequence number accepted of unicast heartbeats.
    pub unicast_start: u64,
    /// First sequence number accepted of multicast heartbeats.
    pub multicast_start: u64,
    /// CLOCK_MONOTONIC nanoseconds when `incarnation` was set: deadlines of a link that was never heard count from here.
    pub since_ns: u64,
    /// 1 when the peer is configured on this network.
    pub present: u64,
}

/// LINKS: what was heard of one peer on one network. Writer: the XDP program.
///
/// Fields are consistent among each other when `lock` is even and the same before and after reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct LinkRecord {
    /// Odd while the record is being written.
    pub lock: u64,
    /// Epoch of [`PeerRecord`] that the fields belong to.
    pub epoch: u64,
    /// Incarnation of the peer.
    pub incarnation: u64,
    /// Arrival of the newest heartbeat, CLOCK_MONOTONIC nanoseconds; 0 is never.
    pub stamp_ns: u64,
    /// Its `sent_ns`, on the peer's clock.
    pub sent_ns: u64,
    /// Arrival of the newest heartbeat before it.
    pub previous_stamp_ns: u64,
    /// Number of the peer's view.
    pub view: u64,
    /// Newest of our own `sent_ns` that the peer echoed; 0 is none.
    pub echo_sent_ns: u64,
    /// Arrival of the heartbeat with that echo.
    pub echo_stamp_ns: u64,
    /// How long the peer held it, microseconds; [`crate::wire::HOLD_UNKNOWN`] is unknown.
    pub echo_hold_us: u32,
    /// Milliseconds since the peer's controller completed a pass.
    pub controller_age_ms: u32,
    /// Passes that the peer's controller completed.
    pub controller_beat: u64,
    /// Flags of the newest heartbeat.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// Heartbeats accepted.
    pub received: u64,
    /// Sequence numbers skipped and not seen since.
    pub lost: u64,
    /// Refused as duplicates.
    pub duplicates: u64,
    /// Accepted behind a newer one.
    pub reordered: u64,
    /// Longest time between two arrivals, nanoseconds.
    pub longest_gap_ns: u64,
    /// Episode of lateness whose end has been reported.
    pub acknowledged_episode: u64,
    /// Slot of ARRIVALS that is written next.
    pub arrival_cursor: u64,
    /// Sequence window of unicast heartbeats.
    pub unicast: Window,
    /// Sequence window of multicast heartbeats.
    pub multicast: Window,
}

/// One arrival, in ARRIVALS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Arrival {
    /// Arrival, CLOCK_MONOTONIC nanoseconds; 0 is an empty slot.
    pub stamp_ns: u64,
    /// `sent_ns` of the heartbeat, on the peer's clock.
    pub sent_ns: u64,
    /// Its sequence number.
    pub sequence: u64,
}

/// Arrivals remembered for each link.
pub const ARRIVALS: usize = 64;

/// ARRIVALS: the last 64 arrivals of one link, a ring. Writer: the XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ArrivalRecord {
    /// Ring; the newest is in the slot before [`LinkRecord::arrival_cursor`].
    pub arrivals: [Arrival; ARRIVALS],
}

/// Buckets of an inter-arrival histogram: 2^39 ns is nine minutes, beyond any timeout.
pub const INTERVAL_BUCKETS: usize = 40;

/// INTERVALS: log2 histogram of the time between arrivals of one link. Writer: the XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct IntervalRecord {
    /// Bucket `i` counts gaps from 2^i to 2^(i+1) - 1 nanoseconds; the last one, everything above.
    pub buckets: [u64; INTERVAL_BUCKETS],
}

/// ADMISSION: limits on what an authenticated peer may ask of userspace. Writer: the XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct AdmissionRecord {
    /// Odd while the record is being written.
    pub lock: u64,
    /// Nanoseconds' worth of control messages that may still pass.
    pub credit_ns: u64,
    /// When `credit_ns` was last topped up.
    pub refilled_ns: u64,
    /// Control messages passed to userspace.
    pub passed: u64,
    /// Control messages dropped by the token bucket.
    pub limited: u64,
    /// When another incarnation of the peer was last reported.
    pub incarnation_reported_ns: u64,
}

/// SEQ: next sequence numbers towards one destination on one network, advanced by atomic add. Writer: the senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SequenceRecord {
    /// Numbers of heartbeats used so far: the next is one more.
    pub heartbeats: u64,
    /// Numbers of control messages used so far.
    pub control: u64,
}

/// One key slot of KEYS. Writer: userspace.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct KeyRecord {
    /// First half of the heartbeat key.
    pub k0: u64,
    /// Second half.
    pub k1: u64,
    /// 1 when the slot holds a key.
    pub present: u64,
    /// First word of an ordinary heartbeat with this key, as it stands in memory.
    pub first_word: u64,
    /// State of the tag's hash once it has absorbed `first_word` and the cluster id.
    pub state: [u64; 4],
}

impl KeyRecord {
    /// The record of a key in a slot, for a cluster id as it stands in memory.
    #[must_use]
    pub const fn new(slot: u8, key: HeartbeatKey, cluster_id: u64) -> Self {
        let (k0, k1) = key.halves();
        let [m, a, g, i] = wire::MAGIC;
        let first_word = u64::from_ne_bytes([m, a, g, i, wire::VERSION, wire::KIND_HEARTBEAT, 0, slot]);
        let state = State::new(key).absorb(first_word).absorb(cluster_id).words();
        Self { k0, k1, present: 1, first_word, state }
    }
}

/// TIMING: what the judge goes by. Writer: userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TimingRecord {
    /// Heartbeat interval, nanoseconds.
    pub interval_ns: u64,
    /// A link is late when its newest stamp is older than this, nanoseconds; slack included.
    pub late_ns: u64,
    /// A peer is silent when all its stamps are older than this, nanoseconds; slack included.
    pub silent_ns: u64,
    /// What a datagram or the judge may be late without anybody saying so, nanoseconds.
    pub slack_ns: u64,
    /// Entries of ACTIVE that are in use.
    pub active_links: u64,
}

/// ACTIVE: one link that the judge watches; those of one peer stand together. Writer: userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ActiveRecord {
    /// Index of the link.
    pub link: u32,
    /// Bits `ACTIVE_*`.
    pub flags: u32,
}

/// Being heard here keeps the peer from being silent: an internal or mixed network.
pub const ACTIVE_COUNTING: u32 = 1;
/// The last link of its peer.
pub const ACTIVE_LAST: u32 = 1 << 1;

/// Nothing is known: no heartbeat of this incarnation yet.
pub const STATE_INIT: u32 = 0;
/// Heard in time.
pub const STATE_UP: u32 = 1;
/// Not heard for `late_ns`.
pub const STATE_LATE: u32 = 2;
/// Peer verdicts only: not heard on any counting network for `silent_ns`.
pub const STATE_SILENT: u32 = 3;

/// Nothing of this incarnation was ever heard.
pub const VERDICT_NEVER_HEARD: u32 = 1;
/// Judged although the machine itself was stalled: the credit for stalls was used up.
pub const VERDICT_STALL_BUDGET_SPENT: u32 = 1 << 1;

/// VERDICTS (by link) and PEER_VERDICTS (by node): what the judge found. Writer: the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct VerdictRecord {
    /// Epoch of [`PeerRecord`] that was judged.
    pub epoch: u64,
    /// One of `STATE_*`.
    pub state: u32,
    /// Bits `VERDICT_*` of the last bad verdict.
    pub flags: u32,
    /// Counts the bad verdicts (late, or silent).
    pub episode: u64,
    /// Newest stamp when the last bad verdict fell; 0 is never heard.
    pub stamp_ns: u64,
    /// Deadline that had passed.
    pub deadline_ns: u64,
    /// When it fell.
    pub judged_ns: u64,
    /// Newest stamp that the judge has seen.
    pub seen_ns: u64,
    /// Sum of all stalls when it saw it: stalls since then are credited.
    pub stall_mark_ns: u64,
}

/// The stalls of this machine as the judge saw them, in JUDGE_STATE. Writer: the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct StallRecord {
    /// Sum of all credited stalls, nanoseconds.
    pub total_ns: u64,
    /// No deadline falls before this.
    pub floor_ns: u64,
    /// Start of the window in which the credit is bounded; 0 is none open.
    pub window_ns: u64,
    /// Credit given in that window.
    pub spent_ns: u64,
    /// Stalls seen, credited or not.
    pub count: u64,
    /// Longest stall.
    pub longest_ns: u64,
    /// 1 when the credit of the window is used up and the judge judges anyway.
    pub exhausted: u64,
}

/// JUDGE_STATE: the judge's own books, readable without touching the element that holds the timer. Writer: the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct JudgeRecord {
    /// Scans completed; a reactor that sees it stand still restarts the judge.
    pub scans: u64,
    /// When the judge should run next; 0 is never armed.
    pub due_ns: u64,
    /// When it last ran.
    pub ran_ns: u64,
    /// Longest lateness of the timer.
    pub latest_ns: u64,
    /// Failures of `bpf_timer_start`.
    pub arm_failures: u64,
    /// Stalls of this machine.
    pub stalls: StallRecord,
}

/// Room for what the membership core must find again: a view of 1,024 members takes about 32 KiB as JSON.
pub const MEMBERSHIP_BYTES: usize = 65_528;

/// MEMBERSHIP: what the core wrote down before a message that follows from it left; only a restarted controller reads it.
/// Writer: userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct MembershipRecord {
    /// Bytes in use; written last, after it has been 0.
    pub length: u64,
    /// The core's record as JSON.
    pub bytes: [u8; MEMBERSHIP_BYTES],
}

/// REJECTS: datagrams refused, one field for each reason in the order of [`Reject`]. Writer: the XDP program, each CPU
/// its own copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RejectRecord {
    /// [`Reject::Malformed`].
    pub malformed: u64,
    /// [`Reject::Version`].
    pub version: u64,
    /// [`Reject::Cluster`].
    pub cluster: u64,
    /// [`Reject::Destination`].
    pub destination: u64,
    /// [`Reject::UnknownPeer`].
    pub unknown_peer: u64,
    /// [`Reject::WrongInterface`].
    pub wrong_interface: u64,
    /// [`Reject::WrongAddress`].
    pub wrong_address: u64,
    /// [`Reject::Ttl`].
    pub ttl: u64,
    /// [`Reject::UnknownKey`].
    pub unknown_key: u64,
    /// [`Reject::BadTag`].
    pub bad_tag: u64,
    /// [`Reject::WrongIncarnation`].
    pub wrong_incarnation: u64,
    /// [`Reject::Duplicate`].
    pub duplicate: u64,
    /// [`Reject::TooOld`].
    pub too_old: u64,
}

impl RejectRecord {
    /// The counters as an array that [`Reject`] indexes.
    #[inline(always)]
    pub fn counters(&mut self) -> &mut [u64; Reject::COUNT] {
        bytemuck::cast_mut(self)
    }
}

/// COUNTERS: what else happened to datagrams and records. Writer: the XDP program and the judge, each CPU its own copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct CounterRecord {
    /// Heartbeats accepted.
    pub accepted: u64,
    /// Control messages passed to userspace.
    pub control_passed: u64,
    /// Control messages dropped by the token bucket.
    pub control_limited: u64,
    /// Heartbeats not counted because another CPU held the link record.
    pub contended: u64,
    /// Ring-buffer records lost because the ring was full.
    pub ring_full: u64,
}

macro_rules! assert_sizes {
    ($($record:ty = $size:expr),+ $(,)?) => {
        $(const _: () = assert!(size_of::<$record>() == $size);)+
        #[cfg(feature = "user")]
        mod user {
            //! What lets aya read and write the records.
            #![expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
            use super::*;
            $(
                // SAFETY: the record derives bytemuck::Pod, which refuses padding and any bit pattern that is not a value.
                unsafe impl aya::Pod for $record {}
            )+
        }
    };
}

assert_sizes! {
    NodeRecord = 128,
    NetworkTable = 320,
    PeerRecord = 64,
    LinkRecord = 184,
    ArrivalRecord = 1536,
    IntervalRecord = 320,
    AdmissionRecord = 48,
    SequenceRecord = 16,
    KeyRecord = 64,
    TimingRecord = 40,
    ActiveRecord = 8,
    VerdictRecord = 64,
    JudgeRecord = 96,
    MembershipRecord = 65_536,
    RejectRecord = 8 * Reject::COUNT,
    CounterRecord = 40,
}
