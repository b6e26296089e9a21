//! The token bucket for control messages: what one peer may ask of userspace on one network.

use crate::{atomic, clock, maps};

/// One control message costs this much time: 1,000 a second on average. A regroup repeats its message every millisecond
/// at the fastest tick.
const COST_NS: u64 = 1_000_000;
/// A full bucket: 64 messages at once, a regroup's worth of answers from one peer.
const FULL_NS: u64 = 64 * COST_NS;

/// Takes a token of the link; false when there is none left, or when another CPU takes one at this very moment.
#[inline(always)]
pub(crate) fn admit(index: u32) -> bool {
    let Some(admission) = maps::ADMISSION.get_ptr_mut(index) else { return false };
    // SAFETY: a map value, written under the lock below.
    let admission = unsafe { &mut *admission };
    let lock = atomic::load(&admission.lock);
    if lock & 1 != 0 || !atomic::compare_and_swap(&mut admission.lock, lock, lock + 1) {
        return false;
    }
    let now_ns = clock::monotonic_ns();
    let elapsed_ns = now_ns.saturating_sub(admission.refilled_ns);
    let credit_ns = admission.credit_ns.saturating_add(elapsed_ns).min(FULL_NS);
    admission.refilled_ns = now_ns;
    let admitted = credit_ns >= COST_NS;
    if admitted {
        admission.credit_ns = credit_ns - COST_NS;
        admission.passed += 1;
    } else {
        admission.credit_ns = credit_ns;
        admission.limited += 1;
    }
    atomic::store_release(&mut admission.lock, lock + 2);
    admitted
}
