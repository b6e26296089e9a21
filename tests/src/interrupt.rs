//! Ctrl-C, SIGTERM and SIGHUP, so that an interrupted run still cleans up.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
    },
};

use crate::{leftovers, naming::Prefix};

/// The signal that arrived, 0 for none.
static ARRIVED: AtomicI32 = AtomicI32::new(0);
/// Descriptor that the handler writes to, -1 before there is one.
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// Says whether this process was asked to end.
#[derive(Debug)]
pub struct Interrupt {
    wake: EventFd,
}

impl Interrupt {
    /// From now on Ctrl-C, SIGTERM and SIGHUP no longer end the process, but are told here; a second one ends it.
    ///
    /// # Errors
    ///
    /// When the system refuses a descriptor or a handler.
    pub fn install() -> Result<&'static Self> {
        static INSTALLED: OnceLock<Interrupt> = OnceLock::new();
        if let Some(interrupt) = INSTALLED.get() {
            return Ok(interrupt);
        }
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags).context("cannot create an eventfd")?;
        let interrupt = INSTALLED.get_or_init(|| Self { wake });
        WAKE.store(interrupt.wake.as_fd().as_raw_fd(), Ordering::SeqCst);
        let flags = SaFlags::SA_RESTART | SaFlags::SA_RESETHAND;
        let action = SigAction::new(SigHandler::Handler(on_signal), flags, SigSet::empty());
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: the handler only stores to an atomic and writes to a descriptor that is never closed.
            unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot handle {signal}"))?;
        }
        Ok(interrupt)
    }

    /// Whether a signal arrived.
    pub fn requested(&self) -> bool {
        ARRIVED.load(Ordering::SeqCst) != 0
    }

    /// Waits for a signal, at most so long (`None`: until there is one); says whether there was one.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            PollTimeout::try_from(limit.as_millis().max(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut descriptors = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        while !self.requested() {
            match poll(&mut descriptors, timeout) {
                Err(nix::errno::Errno::EINTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.requested()
    }
}

extern "C" fn on_signal(signal: i32) {
    ARRIVED.store(signal, Ordering::SeqCst);
    let one = 1_u64.to_ne_bytes();
    // SAFETY: `write` is async-signal-safe, and the buffer is a live local of the given length.
    unsafe { libc::write(WAKE.load(Ordering::SeqCst), one.as_ptr().cast(), one.len()) };
}

/// Topologies that a thread removes when a signal comes.
static REGISTERED: Mutex<Vec<Prefix>> = Mutex::new(Vec::new());

/// When a signal comes, removes this topology (until [`forget`]) and ends the process the way the signal would have:
/// for tests, which have no loop that could ask.
///
/// # Errors
///
/// As [`Interrupt::install`].
pub(crate) fn clean_up_when_interrupted(prefix: &Prefix) -> Result<()> {
    static WATCH: OnceLock<()> = OnceLock::new();
    let interrupt = Interrupt::install()?;
    registered().push(prefix.clone());
    WATCH.get_or_init(|| {
        std::thread::spawn(|| {
            interrupt.wait(None);
            for prefix in registered().iter() {
                if let Err(error) = leftovers::remove(prefix) {
                    eprintln!("after a signal: {error:#}");
                }
            }
            // What a shell reports for a process that a signal ended.
            std::process::exit(128 + ARRIVED.load(Ordering::SeqCst));
        });
    });
    Ok(())
}

/// The topology is gone.
pub(crate) fn forget(prefix: &Prefix) {
    registered().retain(|registered| registered != prefix);
}

fn registered() -> std::sync::MutexGuard<'static, Vec<Prefix>> {
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}
