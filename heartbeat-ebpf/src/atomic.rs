//! Atomic operations: the BPF target has no compare-and-swap in `core`, so they are written as instructions (ISA v3,
//! kernel 5.12).

use core::arch::asm;

/// Stores `new` where `old` stands; true if it stood there. A full barrier.
#[inline(always)]
pub(crate) fn compare_and_swap(cell: &mut u64, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: `cell` is a valid, aligned pointer to a map value; the instruction touches nothing else.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({cell} + 0, r0, {new})",
            cell = in(reg) core::ptr::from_mut(cell),
            new = in(reg) new,
            inout("r0") old => found,
            options(nostack),
        );
    }
    found == old
}

/// Adds, and gives what stood there before.
#[inline(always)]
pub(crate) fn fetch_add(cell: &mut u64, value: u64) -> u64 {
    let before: u64;
    // SAFETY: `cell` is a valid, aligned pointer to a map value; the instruction touches nothing else.
    unsafe {
        asm!(
            "{value} = atomic_fetch_add((u64 *)({cell} + 0), {value})",
            cell = in(reg) core::ptr::from_mut(cell),
            value = inout(reg) value => before,
            options(nostack),
        );
    }
    before
}

/// Stores `value` after everything before it.
#[inline(always)]
pub(crate) fn store_release(cell: &mut u64, value: u64) {
    #[cfg(bpf_target_arch = "x86_64")]
    {
        // x86 keeps the order of stores; volatile and the fence keep the compiler from changing it.
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
        // SAFETY: a valid, aligned reference.
        unsafe { core::ptr::from_mut(cell).write_volatile(value) };
    }
    #[cfg(not(bpf_target_arch = "x86_64"))]
    {
        let _old: u64;
        // SAFETY: as in `compare_and_swap`; an exchange is a full barrier on every architecture.
        unsafe {
            asm!(
                "{value} = xchg_64({cell} + 0, {value})",
                cell = in(reg) core::ptr::from_mut(cell),
                value = inout(reg) value => _old,
                options(nostack),
            );
        }
    }
}

/// Loads a word that another CPU may be writing; loads after it in the program come after it.
#[inline(always)]
pub(crate) fn load(cell: &u64) -> u64 {
    // SAFETY: a valid, aligned reference.
    let value = unsafe { core::ptr::from_ref(cell).read_volatile() };
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Acquire);
    value
}
