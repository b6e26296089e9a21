//! Real-time priority and locked memory for the reactor and the sender, and whether they were granted.

pub mod constraints;

use std::{fs, io};

use nix::sys::mman::{MlockAllFlags, mlockall};

/// Stack that is touched before real-time work starts, so that it never faults later.
const STACK_BYTES: usize = 64 * 1024;

/// Gives the calling thread SCHED_FIFO at `priority`, and verifies that the kernel granted it.
///
/// # Errors
/// What the system call says (EPERM without CAP_SYS_NICE or an RTPRIO limit), or that it was not granted.
pub fn become_realtime(priority: u8) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: plain system calls about the calling thread, with a valid parameter block.
    let granted = unsafe {
        if libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameter) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK
    };
    if granted == libc::SCHED_FIFO {
        Ok(())
    } else {
        Err(io::Error::other(format!("the kernel answers with policy {granted} instead of SCHED_FIFO")))
    }
}

/// Locks all memory of the process, present and future.
///
/// # Errors
/// What the system call says (ENOMEM or EPERM without CAP_IPC_LOCK or a MEMLOCK limit).
pub fn lock_memory() -> io::Result<()> {
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)?;
    Ok(())
}

/// Kept free of the heap's growth: what the program's threads allocate after its start comes from memory that is there.
const HEAP_BYTES: usize = 4 * 1024 * 1024;

/// More is refused (malloc.c: half of HEAP_MAX_SIZE, on machines with 64 bits).
const LARGEST_MMAP_THRESHOLD: i32 = 32 * 1024 * 1024;

/// Lets the heap grow now, and never shrink: giving memory back and asking for it again are page faults.
pub fn prefault_heap() {
    // SAFETY: plain calls that set parameters of the allocator; they cannot fail for these values.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD);
    }
    let mut heap = vec![0_u8; HEAP_BYTES];
    heap.iter_mut().step_by(1024).for_each(|byte| *byte = 1);
    std::hint::black_box(&mut heap);
}

/// Asks the kernel to end other processes first when memory runs out. Children inherit it.
///
/// # Errors
/// EACCES without CAP_SYS_RESOURCE.
pub fn survive_out_of_memory() -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", constraints::OUT_OF_MEMORY_SCORE.to_string())
}

/// Touches the stack that the calling thread will need.
#[inline(never)]
pub fn prefault_stack() {
    let mut stack = [0_u8; STACK_BYTES];
    std::hint::black_box(&mut stack);
}
