//! A CPU that is held in the kernel: no softirq and no thread runs on it meanwhile, as if a host had taken it away.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    helpers::bpf_loop,
    macros::xdp,
    programs::XdpContext,
};
use heartbeat_bench_ebpf::HOLD_TURNS;

use crate::{clock, maps};

/// Holds the CPU for as many nanoseconds as HOLD says; XDP_PASS where the turns did not last that long. BPF_PROG_TEST_RUN
/// keeps softirqs off while a program runs.
#[xdp(frags)]
pub(crate) fn hold(_context: XdpContext) -> u32 {
    let Some(length_ns) = maps::HOLD.get(0) else { return XDP_PASS };
    let mut end_ns = clock::monotonic_ns() + *length_ns;
    // SAFETY: the callback is a static subprogram, and its context outlives the call.
    unsafe {
        bpf_loop(HOLD_TURNS, turn as *mut c_void, (&raw mut end_ns).cast(), 0);
    }
    if clock::monotonic_ns() < end_ns { XDP_PASS } else { XDP_DROP }
}

#[inline(never)]
fn turn(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `hold` passes a pointer to a word on its stack.
    let end_ns = unsafe { *context.cast::<u64>() };
    i64::from(clock::monotonic_ns() >= end_ns)
}
