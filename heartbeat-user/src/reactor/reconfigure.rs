//! New settings while the reactor runs: made ready by another thread, and taken over between two passes.

use std::{fmt, sync::Arc};

use heartbeat_common::records::TimingRecord;
use heartbeat_membership::{ConfigDigest, Input, MembershipInput, Staged};

use super::{Loop, hang_watch::HangWatch, queue::Report, watch::JudgeWatch};
use crate::{
    clock,
    reload::{Keyring, SharedPart},
    sender::change::{Change, Changes},
};

/// What changes.
pub enum Reconfiguration {
    /// Keys to accept, and the one to sign with.
    Keys(Box<Keyring>),
    /// A configuration to change to once all members have it; without one, what was staged is taken back.
    Stage(Option<Staging>),
}

/// A configuration that waits.
pub struct Staging {
    /// For the core.
    pub core: Box<Staged>,
    /// For maps, routes and sender.
    pub shared: Box<SharedPart>,
    /// The way to the sender.
    pub sender: Arc<Changes>,
}

/// A change of times on its way: members change within moments of each other, and until all have, the longer of both times
/// is what everybody is judged by, and the shorter of both intervals what is sent at.
pub(super) struct Settling {
    /// When it is over, `CLOCK_MONOTONIC` nanoseconds.
    until_ns: u64,
    judging: TimingRecord,
    interval_ns: u64,
    sender: Arc<Changes>,
}

impl fmt::Debug for Reconfiguration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are not for logs.
        match self {
            Self::Keys(_) => formatter.write_str("Keys(..)"),
            Self::Stage(staging) => write!(formatter, "Stage({})", staging.is_some()),
        }
    }
}

impl Loop {
    /// Takes over what has come, and leaves what it replaces to be freed by others.
    pub(super) fn take_reconfiguration(&mut self) {
        self.settle();
        let Some(mut reconfiguration) = self.mailbox.next_reconfiguration() else { return };
        let failure = match &mut reconfiguration {
            Reconfiguration::Keys(keyring) => self.take_keys(keyring),
            Reconfiguration::Stage(staging) => {
                let staged = staging.as_ref().map(|staging| staging.core.clone());
                std::mem::swap(&mut self.staging, staging);
                self.feed(Input::Membership(MembershipInput::Stage { staged }));
                None
            }
        };
        self.mailbox.retire(reconfiguration);
        self.report(Report::Reconfigured { failure });
    }

    fn take_keys(&mut self, keyring: &mut Keyring) -> Option<String> {
        if let Err(error) = self.dataplane.change_keys(&keyring.slots) {
            return Some(format!("{error:#}"));
        }
        self.receiver.swap_control_keys(&mut keyring.control);
        std::mem::swap(&mut self.signer, &mut keyring.signer);
        None
    }

    /// The core has changed to what was staged: maps, routes and sender follow.
    pub(super) fn switch_config(&mut self, digest: ConfigDigest) {
        let Some(mut staging) = self.staging.take_if(|staging| staging.shared.digest == digest.0) else {
            // The core changes to nothing else than what it was given together with the rest.
            self.report(Report::Switched { digest, failure: Some("it is not what was staged here".to_owned()) });
            return;
        };
        let shared = &mut *staging.shared;
        let now_ns = clock::monotonic_ns();
        let (before, after) = (self.dataplane.judging(), shared.judging);
        let meanwhile = TimingRecord {
            interval_ns: before.interval_ns.min(after.interval_ns),
            late_ns: before.late_ns.max(after.late_ns),
            silent_ns: before.silent_ns.max(after.silent_ns),
            slack_ns: before.slack_ns.max(after.slack_ns),
            active_links: after.active_links,
        };
        let failure = self.dataplane.switch(&meanwhile, shared).err().map(|error| format!("{error:#}"));
        std::mem::swap(&mut self.routes, &mut shared.routes);
        self.receiver.follow_routes(&self.routes);
        let timing = &shared.timing;
        self.interval_ns = timing.interval_ns;
        self.set_period(meanwhile.interval_ns, meanwhile.slack_ns);
        self.watch = JudgeWatch::new(before.interval_ns.max(after.interval_ns), meanwhile.slack_ns);
        self.hang_watch = HangWatch::new(timing.hang_timeout_ns);
        self.clock_watch.set_timing(timing.interval_ns, meanwhile.slack_ns);
        if let Some(lanes) = shared.lanes.take() {
            // One that does not fit waits for nothing: the sender takes changes at once.
            let _sent = staging.sender.push(lanes);
        }
        let _sent = staging.sender.push(Change::Interval(meanwhile.interval_ns));
        self.settling = Some(Settling {
            until_ns: now_ns.saturating_add(meanwhile.silent_ns),
            judging: after,
            interval_ns: after.interval_ns,
            sender: Arc::clone(&staging.sender),
        });
        self.mailbox.retire(Reconfiguration::Stage(Some(staging)));
        self.report(Report::Switched { digest, failure });
    }

    /// Everybody has changed by now: the new times hold alone.
    fn settle(&mut self) {
        let now_ns = clock::monotonic_ns();
        let Some(settling) = self.settling.take_if(|settling| settling.until_ns <= now_ns) else { return };
        if let Err(error) = self.dataplane.change_judging(&settling.judging) {
            self.report(Report::Reconfigured { failure: Some(format!("{error:#}")) });
        }
        let _sent = settling.sender.push(Change::Interval(settling.interval_ns));
        self.set_period(settling.interval_ns, settling.judging.slack_ns);
        self.watch = JudgeWatch::new(settling.interval_ns, settling.judging.slack_ns);
    }
}
