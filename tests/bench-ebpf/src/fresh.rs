//! Makes each run of a repeated test a new heartbeat, then runs the program under test, or the empty one, on it.
//!
//! The difference of the two is what the program under test costs: making the heartbeat and the tail call cancel out.

use aya_ebpf::{bindings::xdp_action::XDP_ABORTED, macros::xdp, programs::XdpContext};
use heartbeat_bench_ebpf::{SLOT_EMPTY, SLOT_SUBJECT};

use crate::{maps, payload::HeartbeatFrame};

/// Time between two heartbeats on the clock of the sender that is played, nanoseconds.
const STEP_NS: u64 = 1_000_000;

const SEQUENCE: usize = 4;
const SENT: usize = 5;
const ECHO: usize = 7;

/// The next sequence number, a later `sent_ns`, a newer echo, and the tag over them.
#[inline(always)]
fn refresh(context: &XdpContext) -> Option<()> {
    let mut frame = HeartbeatFrame::new(context)?;
    frame.set_number::<SEQUENCE>(frame.number::<SEQUENCE>().wrapping_add(1));
    frame.set_number::<SENT>(frame.number::<SENT>().wrapping_add(STEP_NS));
    frame.set_number::<ECHO>(frame.number::<ECHO>().wrapping_add(STEP_NS));
    frame.sign()
}

/// Refreshes, then runs the program under test.
#[xdp(frags)]
pub(crate) fn fresh_subject(context: XdpContext) -> u32 {
    if refresh(&context).is_some() {
        // SAFETY: nothing lives on that would have to be dropped.
        unsafe { maps::PROGRAMS.tail_call(&context, SLOT_SUBJECT) };
    }
    XDP_ABORTED
}

/// Refreshes, then runs the empty program.
#[xdp(frags)]
pub(crate) fn fresh_empty(context: XdpContext) -> u32 {
    if refresh(&context).is_some() {
        // SAFETY: as above.
        unsafe { maps::PROGRAMS.tail_call(&context, SLOT_EMPTY) };
    }
    XDP_ABORTED
}
