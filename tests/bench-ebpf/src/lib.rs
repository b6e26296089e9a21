//! What the benchmark and its programs agree on.

#![cfg_attr(target_arch = "bpf", no_std)]

use bytemuck::{Pod, Zeroable};

/// Entries of SOURCES.
pub const SOURCES: usize = 256;

/// STREAM: what the program `generate` sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct StreamRecord {
    /// Sources in use, at most [`SOURCES`]; they take turns.
    pub sources: u32,
    /// Whose turn it is.
    pub next: u32,
    /// Heartbeats made.
    pub made: u64,
}

/// SOURCES: one node that `generate` speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SourceRecord {
    /// Sequence number used last.
    pub sequence: u64,
    /// IPv4 address as on the wire.
    pub address: u32,
    /// Checksum of the IPv4 header with that address, as on the wire.
    pub checksum: u16,
    /// Node id as on the wire.
    pub node: u16,
}

/// Slot of PROGRAMS for the empty program.
pub const SLOT_EMPTY: u32 = 0;
/// Slot of PROGRAMS for the program under test.
pub const SLOT_SUBJECT: u32 = 1;
/// Offset of the UDP payload in the frames that `generate` and `fresh_*` rewrite: Ethernet, IPv4 without options, UDP.
pub const PAYLOAD_OFFSET: usize = 14 + 20 + 8;

/// Turns of the program `hold`, as many as `bpf_loop` allows: at 25 ns or more each they last for 200 ms.
pub const HOLD_TURNS: u32 = 1 << 23;
