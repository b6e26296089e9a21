//! Real-time priority and locked memory for the reactor and the sender, and whether they were granted.

use std::io;

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

/// Touches the stack that the calling thread will need.
#[inline(never)]
pub fn prefault_stack() {
    let mut stack = [0_u8; STACK_BYTES];
    std::hint::black_box(&mut stack);
}
