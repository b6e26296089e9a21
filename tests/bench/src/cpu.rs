//! On which CPU and with which priority threads run, this process's and the kernel's.

use std::{fs, io};

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// The CPU of generators, and of all else that is not under test.
pub(crate) const GENERATOR_CPU: usize = 0;
/// The CPU of what is under test.
pub(crate) const SUBJECT_CPU: usize = 1;

/// How a thread is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// SCHED_OTHER at the best nice value, so that other work on the machine disturbs less.
    Other,
    /// SCHED_FIFO.
    Fifo(u8),
}

/// The calling thread.
pub(crate) const THIS_THREAD: Pid = Pid::from_raw(0);

/// Binds a thread to one CPU.
pub(crate) fn pin(thread: Pid, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("there is no CPU {cpu}"))?;
    sched_setaffinity(thread, &set).with_context(|| format!("cannot bind thread {thread} to CPU {cpu}"))
}

/// Sets a thread's policy and priority.
pub(crate) fn schedule(thread: Pid, priority: Priority) -> Result<()> {
    let (policy, fifo) = match priority {
        Priority::Other => (libc::SCHED_OTHER, 0),
        Priority::Fifo(priority) => (libc::SCHED_FIFO, priority),
    };
    let parameter = libc::sched_param { sched_priority: i32::from(fifo) };
    // SAFETY: a plain system call with a valid parameter block.
    if unsafe { libc::sched_setscheduler(thread.as_raw(), policy, &raw const parameter) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("cannot schedule thread {thread}"));
    }
    if priority == Priority::Other {
        let id = libc::id_t::try_from(thread.as_raw()).context("a negative thread id")?;
        // SAFETY: a plain system call.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, id, -20) } != 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("cannot renice thread {thread}"));
        }
    }
    Ok(())
}

/// Number of CPUs that are online, whichever of them this thread may use.
pub(crate) fn online() -> Result<usize> {
    // SAFETY: a plain call.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).context("cannot count the CPUs")
}

/// The kernel's thread that polls the one queue of `interface`, once threaded NAPI is on.
pub(crate) fn napi_thread(interface: &str) -> Result<Pid> {
    let prefix = format!("napi/{interface}-");
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let name = entry.context("cannot read /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if comm.trim_end().starts_with(&prefix) {
            return Ok(Pid::from_raw(pid));
        }
    }
    bail!("there is no kernel thread {prefix}...: threaded NAPI is not on")
}
