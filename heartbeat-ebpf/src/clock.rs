//! CLOCK_MONOTONIC, the clock of every stamp and deadline.

/// Nanoseconds of CLOCK_MONOTONIC.
#[inline(always)]
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: the helper takes no argument and is allowed in every program type.
    unsafe { aya_ebpf::helpers::bpf_ktime_get_ns() }
}
