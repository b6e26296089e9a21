//! Bounded queues between the reactor and the rest of the program. A full queue drops and counts; it never blocks.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use crossbeam_queue::ArrayQueue;
use heartbeat_membership::{ConfigDigest, Event, Refusal, Snapshot};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::reconfigure::Reconfiguration;

/// Reports that may wait: every link of a node with 1,000 peers on two networks changing its state twice.
pub const REPORTS: usize = 4_096;
/// Commands that may wait: they come from operators and from the incarnation store.
pub const COMMANDS: usize = 64;

/// New settings that may wait: one is taken in every pass, and who sends them waits for the report.
const RECONFIGURATIONS: usize = 2;
/// What was replaced, and waits for a thread that may take its time to free it.
const RETIRED: usize = 2 * RECONFIGURATIONS;

/// What the rest of the program asks of the reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Leave the cluster in order, then stop.
    Leave,
    /// A new incarnation has been persisted.
    IncarnationTaken(u64),
    /// A form epoch has been persisted.
    EpochPersisted(u32),
    /// Something that only this machine knows: an interface of its own is broken, or works again.
    InterfaceBroken {
        /// The network.
        network: u8,
        /// Whether it is broken.
        broken: bool,
    },
    /// Whether hosts outside of the cluster answer on a network; `None` where there was nobody to ask.
    ExternalHosts {
        /// The network.
        network: u8,
        /// The answer.
        answer: Option<bool>,
    },
    /// An operator's order; its outcome comes back as [`Report::Carried`] with the same ticket.
    Ordered {
        /// Names the order.
        ticket: u64,
        /// What to do.
        order: Order,
    },
}

/// What an operator may order of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The operator, or a fencing agent, says that the node is off.
    ConfirmFenced(u16),
    /// The operator says that all other nodes are off: form without a majority.
    FormForced,
    /// The operator lets a quarantined node in again.
    ClearQuarantine(u16),
}

/// What the reactor tells the rest of the program.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// An event of the core.
    Event(Event),
    /// New settings were taken over, or why not.
    Reconfigured {
        /// Why the kernel refused them.
        failure: Option<String>,
    },
    /// All members have changed to another configuration, and so has this node.
    Switched {
        /// Its digest.
        digest: ConfigDigest,
        /// What did not follow.
        failure: Option<String>,
    },
    /// Ask hosts outside of the cluster on this network, then [`Command::ExternalHosts`].
    AskExternalHosts(u8),
    /// An order was carried out, or refused; what it raised was reported before.
    Carried {
        /// The ticket of the order.
        ticket: u64,
        /// Why the core refused it, if it did.
        refusal: Option<Refusal>,
    },
    /// The judge in the kernel had stopped; whether it runs again.
    JudgeRestarted {
        /// When it last ran, CLOCK_MONOTONIC nanoseconds.
        ran_ns: u64,
        /// When that was found.
        found_ns: u64,
        /// Why the restart failed, if it did.
        failure: Option<String>,
    },
    /// The core's record does not fit the MEMBERSHIP map: a restart will not find it.
    RecordTooLong(usize),
    /// A message could not be sent because it does not fit a datagram.
    MessageTooLong {
        /// Its kind.
        kind: u8,
        /// Length of its body.
        length: usize,
    },
}

/// What the reactor cannot go on without. Not in the queue of reports: it must not be lost behind events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// Persist a new incarnation that is at least this, then [`Command::IncarnationTaken`].
    pub incarnation: Option<u64>,
    /// Make this form epoch durable, then [`Command::EpochPersisted`].
    pub epoch: Option<u32>,
    /// The reactor has ended.
    pub stopped: bool,
}

/// Both queues, and the newest snapshot.
#[derive(Debug)]
pub struct Mailbox {
    commands: ArrayQueue<Command>,
    commands_wake: EventFd,
    reports: ArrayQueue<Report>,
    reports_wake: EventFd,
    reports_dropped: AtomicU64,
    incarnation_needed: AtomicU64,
    epoch_needed: AtomicU32,
    stopped: AtomicBool,
    reconfigurations: ArrayQueue<Reconfiguration>,
    retired: ArrayQueue<Reconfiguration>,
    snapshot: ArrayQueue<Snapshot>,
}

impl Mailbox {
    /// Empty queues.
    ///
    /// # Errors
    /// When the kernel gives no event descriptor.
    pub fn new() -> io::Result<Self> {
        let descriptor = || {
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(io::Error::from)
        };
        Ok(Self {
            commands: ArrayQueue::new(COMMANDS),
            commands_wake: descriptor()?,
            reports: ArrayQueue::new(REPORTS),
            reports_wake: descriptor()?,
            reports_dropped: AtomicU64::new(0),
            incarnation_needed: AtomicU64::new(0),
            epoch_needed: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
            reconfigurations: ArrayQueue::new(RECONFIGURATIONS),
            retired: ArrayQueue::new(RETIRED),
            snapshot: ArrayQueue::new(1),
        })
    }

    /// Asks something of the reactor; false when it has too much to do already.
    pub fn command(&self, command: Command) -> bool {
        let accepted = self.commands.push(command).is_ok();
        // Waking fails only when the counter is full, and then it is awake.
        let _woken = self.commands_wake.write(1);
        accepted
    }

    /// Becomes readable when there is a command.
    #[must_use]
    pub fn commands_fd(&self) -> BorrowedFd<'_> {
        self.commands_wake.as_fd()
    }

    /// Hands new settings to the reactor, which reports when it has taken them over; false when too many wait already.
    pub fn reconfigure(&self, reconfiguration: Reconfiguration) -> bool {
        // What the reactor has replaced is freed here: its thread frees nothing large.
        while self.retired.pop().is_some() {}
        let accepted = self.reconfigurations.push(reconfiguration).is_ok();
        let _woken = self.commands_wake.write(1);
        accepted
    }

    pub(super) fn next_reconfiguration(&self) -> Option<Reconfiguration> {
        self.reconfigurations.pop()
    }

    /// Keeps what was replaced until somebody else frees it; one too many is freed at once.
    pub(super) fn retire(&self, reconfiguration: Reconfiguration) {
        let _one_too_many = self.retired.push(reconfiguration);
    }

    pub(super) fn next_command(&self) -> Option<Command> {
        // The counter is reset before the queue is looked at: a command that comes in between wakes again.
        let _counted = self.commands_wake.read();
        self.commands.pop()
    }

    pub(super) fn report(&self, report: Report) {
        if self.reports.push(report).is_err() {
            self.reports_dropped.fetch_add(1, Ordering::Relaxed);
        }
        let _woken = self.reports_wake.write(1);
    }

    pub(super) fn demand_incarnation(&self, at_least: u64) {
        self.incarnation_needed.store(at_least, Ordering::SeqCst);
        let _woken = self.reports_wake.write(1);
    }

    pub(super) fn demand_epoch(&self, epoch: u32) {
        self.epoch_needed.store(epoch, Ordering::SeqCst);
        let _woken = self.reports_wake.write(1);
    }

    pub(super) fn tell_stopped(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _woken = self.reports_wake.write(1);
    }

    /// What the reactor waits for; each demand is given once.
    pub fn demands(&self) -> Demands {
        Demands {
            incarnation: Some(self.incarnation_needed.swap(0, Ordering::SeqCst)).filter(|at_least| *at_least != 0),
            epoch: Some(self.epoch_needed.swap(0, Ordering::SeqCst)).filter(|epoch| *epoch != 0),
            stopped: self.stopped.load(Ordering::SeqCst),
        }
    }

    pub(super) fn publish_snapshot(&self, snapshot: Snapshot) {
        self.snapshot.force_push(snapshot);
    }

    /// Becomes readable when there is a report.
    #[must_use]
    pub fn reports_fd(&self) -> BorrowedFd<'_> {
        self.reports_wake.as_fd()
    }

    /// The next report.
    pub fn next_report(&self) -> Option<Report> {
        let _counted = self.reports_wake.read();
        self.reports.pop()
    }

    /// The newest snapshot that has not been taken yet.
    pub fn take_snapshot(&self) -> Option<Snapshot> {
        self.snapshot.pop()
    }

    /// Reports lost because nobody took them.
    #[must_use]
    pub fn reports_dropped(&self) -> u64 {
        self.reports_dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queues_drop_and_count_but_demands_get_through() {
        let mailbox = Mailbox::new().expect("descriptors");
        for length in 0..REPORTS {
            mailbox.report(Report::RecordTooLong(length));
        }
        assert_eq!(mailbox.reports_dropped(), 0);
        mailbox.report(Report::RecordTooLong(0));
        assert_eq!(mailbox.reports_dropped(), 1);
        mailbox.demand_incarnation(7);
        mailbox.tell_stopped();
        assert_eq!(mailbox.demands(), Demands { incarnation: Some(7), epoch: None, stopped: true });
        assert_eq!(mailbox.demands(), Demands { incarnation: None, epoch: None, stopped: true });
        assert_eq!(mailbox.next_report(), Some(Report::RecordTooLong(0)));

        for _ in 0..COMMANDS {
            assert!(mailbox.command(Command::Leave));
        }
        assert!(!mailbox.command(Command::Leave));
    }
}
