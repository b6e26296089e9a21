//! What the service manager is told (sd_notify(3)): that the node is up, stops, or lives. Nobody is told where nobody
//! asked: without `NOTIFY_SOCKET`, as in a shell, all of this does nothing.

use std::{
    io,
    sync::Arc,
    thread::{self, Builder},
};

use sd_notify::NotifyState;

use crate::{
    clock,
    config::{Local, Watchdog},
    dataplane::memory::Memory,
    reactor::statistics::ReactorStatistics,
    realtime,
};

/// Signs of life in each period of the watchdog: one may be late without a restart.
const SIGNS_PER_PERIOD: u32 = 3;

/// The node receives and sends: what waits for it may start.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The node has begun to end, in whichever way.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The configuration is being read again; [`ready`] says that this is over.
pub fn reloading() {
    // Since systemd 253 a reload without the time at which it began counts as failed.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // A manager that does not listen is its own affair: the node goes on.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager was not told: {error}");
    }
}

/// Starts the thread that shows the manager's watchdog, if it has set one, that the reactor goes on.
///
/// It has the reactor's priority: at a normal one a busy machine would have a healthy node killed. It ends with the process.
///
/// # Errors
/// When the kernel gives no thread.
pub fn watch(local: &Local, statistics: Arc<ReactorStatistics>, memory: Arc<Memory>) -> io::Result<()> {
    let Some(period) = sd_notify::watchdog_enabled() else { return Ok(()) };
    let mut life = Life::new(local.watchdog);
    let priority = local.rt_priority;
    Builder::new().name("heartbeat-watch".to_owned()).spawn(move || {
        // Without it, it competes with everything else; that the priority is refused is told about the reactor.
        let _granted = realtime::become_realtime(priority);
        loop {
            thread::sleep(period / SIGNS_PER_PERIOD);
            let may_act = memory.node.read(0).is_some_and(|node| node.lease_end_ns > clock::boottime_ns());
            if life.shows(statistics.report().passes, may_act) {
                tell(&[NotifyState::Watchdog]);
            }
        }
    })?;
    Ok(())
}

/// What counts as life.
#[derive(Debug)]
struct Life {
    wanted: Watchdog,
    passes: u64,
    could_act: bool,
}

impl Life {
    fn new(wanted: Watchdog) -> Self {
        Self { wanted, passes: 0, could_act: false }
    }

    /// Whether the reactor has completed a pass since the last look, and the node may act if that is wanted. A node that has
    /// never been able to act since its start is still looking for its cluster, which may take as long as it likes.
    fn shows(&mut self, passes: u64, may_act: bool) -> bool {
        let has_moved = passes != self.passes;
        self.passes = passes;
        self.could_act |= may_act;
        let acts_as_wanted = match self.wanted {
            Watchdog::Alive => true,
            Watchdog::Quorate => may_act || !self.could_act,
        };
        has_moved && acts_as_wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_is_progress_and_not_time() {
        let mut life = Life::new(Watchdog::Alive);
        assert!(!life.shows(0, true), "no pass yet");
        assert!(life.shows(1, false));
        assert!(!life.shows(1, true), "the reactor stands still");
        assert!(life.shows(2, false));
    }

    #[test]
    fn quorum_counts_once_there_was_one() {
        let mut life = Life::new(Watchdog::Quorate);
        assert!(life.shows(1, false), "it still looks for its cluster");
        assert!(life.shows(2, true));
        assert!(!life.shows(2, true), "the reactor stands still");
        assert!(!life.shows(3, false), "it has lost its quorum");
        assert!(life.shows(4, true));
    }
}
