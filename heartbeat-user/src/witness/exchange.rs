//! Between the reactor and the witness's thread: one request at a time, one answer, and nobody waits for anybody.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crossbeam_queue::ArrayQueue;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Claim, Standing};
use crate::clock;

/// What the reactor asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The newest epoch.
    Read,
    /// The epoch behind one that is known.
    Advance(Claim),
}

/// What the witness said, and when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When the operation began, `CLOCK_MONOTONIC` nanoseconds.
    pub started_mono_ns: u64,
    /// The same moment on `CLOCK_BOOTTIME`.
    pub started_boot_ns: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This is the newest epoch: the answer to [`Request::Read`], and to a claim that somebody else won.
    Standing(Standing),
    /// The claim created this epoch.
    Won(u64),
    /// The witness could not be asked.
    Failed,
}

/// What operators are shown of the witness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessReport {
    /// Operations that came to an end, well or not.
    pub operations: u64,
    /// Those that failed.
    pub failures: u64,
    /// Requests that were not made because one was still under way.
    pub refused: u64,
    /// Longest operation, nanoseconds.
    pub longest_ns: u64,
    /// How long the operation that is under way has been, nanoseconds; 0 where there is none.
    pub busy_ns: u64,
    /// Why the newest operation failed; absent when it did not.
    pub error: Option<String>,
    /// The newest epoch as last seen.
    pub standing: Option<Standing>,
}

#[derive(Debug, Default)]
struct Told {
    error: Option<String>,
    standing: Option<Standing>,
}

/// Both slots, and what is shown. The reactor touches atomics and slots only.
#[derive(Debug)]
pub struct Exchange {
    requests: ArrayQueue<Request>,
    requests_wake: EventFd,
    answers: ArrayQueue<Answer>,
    answers_wake: EventFd,
    refused: AtomicU64,
    operations: AtomicU64,
    failures: AtomicU64,
    longest_ns: AtomicU64,
    /// When the operation under way began; 0 when there is none.
    busy_since_ns: AtomicU64,
    /// For threads of normal priority.
    told: Mutex<Told>,
}

impl Exchange {
    /// Empty slots.
    ///
    /// # Errors
    /// When the kernel gives no event descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            // The core has one request outstanding.
            requests: ArrayQueue::new(1),
            // The worker blocks on it.
            requests_wake: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC)?,
            answers: ArrayQueue::new(1),
            answers_wake: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            refused: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            longest_ns: AtomicU64::new(0),
            busy_since_ns: AtomicU64::new(0),
            told: Mutex::default(),
        })
    }

    /// Asks the witness; false when a request is still waiting for its thread.
    pub fn ask(&self, request: Request) -> bool {
        let accepted = self.requests.push(request).is_ok();
        if accepted {
            // The counter of the descriptor cannot overflow by one.
            let _woken = self.requests_wake.write(1);
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        accepted
    }

    /// Becomes readable when there is an answer.
    #[must_use]
    pub fn answers_fd(&self) -> BorrowedFd<'_> {
        self.answers_wake.as_fd()
    }

    /// The answer that has come, if one has.
    pub fn take_answer(&self) -> Option<Answer> {
        // The counter is reset before the slot is looked at: an answer that comes in between wakes again.
        let _counted = self.answers_wake.read();
        self.answers.pop()
    }

    /// Waits for a request.
    pub(super) fn next_request(&self) -> Option<Request> {
        // An interrupted wait finds no request, and the worker waits again.
        let _counted = self.requests_wake.read();
        self.requests.pop()
    }

    pub(super) fn begin(&self, mono_ns: u64) {
        self.busy_since_ns.store(mono_ns, Ordering::Relaxed);
    }

    /// Hands over what came of a request. An answer that nobody took is replaced: there is a newer one.
    pub(super) fn finish(&self, answer: Answer, error: Option<String>) {
        let length_ns = clock::monotonic_ns().saturating_sub(answer.started_mono_ns);
        self.busy_since_ns.store(0, Ordering::Relaxed);
        self.longest_ns.fetch_max(length_ns, Ordering::Relaxed);
        self.operations.fetch_add(1, Ordering::Relaxed);
        if error.is_some() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.error = error;
            if let Outcome::Standing(standing) = &answer.outcome {
                told.standing = Some(standing.clone());
            }
        }
        self.answers.force_push(answer);
        let _woken = self.answers_wake.write(1);
    }

    pub(super) fn tell_standing(&self, standing: Standing) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).standing = Some(standing);
    }

    /// What operators are shown. Not for the reactor: it takes a lock.
    #[must_use]
    pub fn report(&self) -> WitnessReport {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let since_ns = load(&self.busy_since_ns);
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        WitnessReport {
            operations: load(&self.operations),
            failures: load(&self.failures),
            refused: load(&self.refused),
            longest_ns: load(&self.longest_ns),
            busy_ns: if since_ns == 0 { 0 } else { clock::monotonic_ns().saturating_sub(since_ns) },
            error: told.error.clone(),
            standing: told.standing.clone(),
        }
    }
}
