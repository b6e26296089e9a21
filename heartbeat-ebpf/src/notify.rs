//! State changes to the ring, counts to the per-CPU maps.

use heartbeat_common::{
    notice::Notice,
    records::{CounterRecord, RejectRecord},
    reject::Reject,
};

use crate::maps;

/// Puts a notice into the ring. A full ring is counted: VERDICTS still has what the notice said.
#[inline(always)]
pub(crate) fn notify(notice: &Notice) {
    match maps::EVENTS.reserve(0) {
        Some(mut entry) => {
            entry.write(*notice);
            entry.submit(0);
        }
        None => count(|counters| &mut counters.ring_full),
    }
}

/// [`notify`] out of line, for the hot path, where a change is the exception. Only plain structs may be arguments of what
/// is not inlined: the kernel refuses the BTF of enums with fields.
#[inline(never)]
pub(crate) fn tell(notice: &Notice) {
    notify(notice);
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: impl Fn(&mut CounterRecord) -> &mut u64) {
    if let Some(counters) = maps::COUNTERS.get_ptr_mut(0) {
        // SAFETY: the element of this CPU, and a program is not interrupted by another one that counts here, except a
        // timer callback, which touches `ring_full` only.
        unsafe { *counter(&mut *counters) += 1 };
    }
}

/// Adds one to the counter of a reason.
#[inline(always)]
pub(crate) fn count_reject(reason: Reject) {
    if let Some(rejects) = maps::REJECTS.get_ptr_mut(0) {
        let rejects: *mut RejectRecord = rejects;
        // SAFETY: the element of this CPU; fields are in the order of the discriminants (tested), which are below COUNT.
        unsafe { *rejects.cast::<u64>().add(reason as usize) += 1 };
    }
}
