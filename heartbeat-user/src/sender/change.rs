//! What a running sender shall do otherwise: made ready by another thread, taken over between two rounds.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use crossbeam_queue::ArrayQueue;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Lane, Setup};
use crate::{control::Signer, metronome::standby::Standby};

/// Changes that may wait: they are taken at once, and come from operators.
const WAITING: usize = 4;

/// One change.
pub enum Change {
    /// Sign with this key from the next heartbeat on.
    Signer(Box<Signer>),
    /// Send to these peers and no others.
    Lanes(Vec<Lane>),
    /// Send in this interval, nanoseconds.
    Interval(u64),
}

/// The way to a running sender.
pub struct Changes {
    waiting: ArrayQueue<Change>,
    /// What was replaced; the sender frees nothing.
    retired: ArrayQueue<Change>,
    wake: EventFd,
    stopping: AtomicBool,
}

impl Changes {
    /// None yet.
    ///
    /// # Errors
    /// When the kernel gives no event descriptor.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            waiting: ArrayQueue::new(WAITING),
            retired: ArrayQueue::new(WAITING),
            wake: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            stopping: AtomicBool::new(false),
        })
    }

    /// Hands a change to the sender; false when too many wait already.
    pub fn push(&self, change: Change) -> bool {
        while self.retired.pop().is_some() {}
        let accepted = self.waiting.push(change).is_ok();
        // The counter of the descriptor cannot overflow by one.
        let _woken = self.wake.write(1);
        accepted
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _woken = self.wake.write(1);
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Takes over what has come.
    pub(super) fn take(&self, setup: &mut Setup) {
        // The counter is reset before the queue is looked at: a change that comes in between wakes again.
        let _counted = self.wake.read();
        for _change in 0..WAITING {
            let Some(mut change) = self.waiting.pop() else { return };
            match &mut change {
                Change::Signer(signer) => {
                    std::mem::swap(&mut setup.signer, signer);
                    setup.standby.iter().for_each(|standby| standby.sign_with(setup.signer.key_id));
                }
                Change::Lanes(lanes) => {
                    std::mem::swap(&mut setup.lanes, lanes);
                    setup.standby.iter_mut().for_each(Standby::retire);
                }
                Change::Interval(interval_ns) => {
                    if *interval_ns != setup.interval_ns {
                        setup.standby.iter_mut().for_each(Standby::retire);
                    }
                    std::mem::swap(&mut setup.interval_ns, interval_ns);
                }
            }
            let _one_too_many = self.retired.push(change);
        }
    }
}
