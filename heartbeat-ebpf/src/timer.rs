//! `bpf_timer`, for which aya-ebpf has no safe wrapper.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_timer,
    helpers::{bpf_timer_init, bpf_timer_set_callback, bpf_timer_start},
};

use crate::maps;

/// Value of the JUDGE map.
#[repr(C)]
pub(crate) struct JudgeTimer {
    /// The kernel finds the timer by its BTF type.
    pub(crate) timer: bpf_timer,
}

/// CLOCK_MONOTONIC, as in every stamp.
const CLOCK: u64 = 1;
const EBUSY: i64 = -16;

/// Called by the kernel with the map, the key and the value.
pub(crate) type Callback = fn(*mut c_void, *mut u32, *mut JudgeTimer) -> i32;

/// Initialises the timer if it is new, sets its callback to one of the calling program, and starts it `delay_ns` from
/// now. After a program replacement this is what ends the old program's callback.
///
/// Returns the error of the helper that failed, negative.
#[inline(always)]
pub(crate) fn start(delay_ns: u64, callback: Callback) -> Result<(), i64> {
    let element = maps::JUDGE.get_ptr_mut(0).ok_or(-2_i64)?;
    // SAFETY: `element` is the value of the map whose address is passed; the callback is a static subprogram with the
    // signature that the kernel calls. Relative start: absolute ones fail on 6.1.
    unsafe {
        let timer = &raw mut (*element).timer;
        let initialised = bpf_timer_init(timer, (&raw const maps::JUDGE).cast_mut().cast(), CLOCK);
        if initialised != 0 && initialised != EBUSY {
            return Err(initialised);
        }
        let set = bpf_timer_set_callback(timer, callback as *mut c_void);
        if set != 0 {
            return Err(set);
        }
        let started = bpf_timer_start(timer, delay_ns, 0);
        if started != 0 {
            return Err(started);
        }
    }
    Ok(())
}

/// Starts the timer of `element` again, from its own callback.
#[inline(always)]
pub(crate) fn restart(element: *mut JudgeTimer, delay_ns: u64) -> Result<(), i64> {
    // SAFETY: `element` is what the kernel passed to the callback.
    let started = unsafe { bpf_timer_start(&raw mut (*element).timer, delay_ns, 0) };
    if started == 0 { Ok(()) } else { Err(started) }
}
