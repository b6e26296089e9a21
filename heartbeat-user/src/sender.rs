//! The real-time sender: its own SCHED_FIFO thread, an absolute timer, one `sendmmsg` for each network.
//!
//! Nothing on this path allocates, logs, takes a lock or touches a file. Where a metronome sends, the thread looks whether it
//! does, and does what it does not (`metronome::standby`).

pub mod change;
mod heartbeat;
pub mod statistics;

use std::{
    io,
    os::fd::AsFd as _,
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
};

pub use self::heartbeat::Lane;
use self::{change::Changes, statistics::SenderStatistics};
use crate::{
    clock,
    control::Signer,
    dataplane::memory::Memory,
    metronome::{
        Records,
        standby::{Duty, Standby},
    },
    realtime,
};

/// Pause after a failed wait: well below the shortest interval.
const WAIT_AGAIN: Duration = Duration::from_micros(100);

/// What the sender needs.
pub struct Setup {
    /// Time between heartbeats.
    pub interval_ns: u64,
    /// SCHED_FIFO priority.
    pub priority: u8,
    /// Who signs.
    pub signer: Signer,
    /// What is sent where.
    pub lanes: Vec<Lane>,
    /// The records.
    pub memory: Arc<Memory>,
    /// The metronome that sends, where there is one.
    pub standby: Option<Standby>,
}

/// A sender at work.
pub struct Sender {
    /// What it measures of itself.
    pub statistics: Arc<SenderStatistics>,
    /// What it shall do otherwise.
    pub changes: Arc<Changes>,
    metronome: Option<Arc<Records>>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Starts the thread. Whether it got its priority stands in the statistics once it runs.
    ///
    /// # Errors
    /// When the kernel gives no timer, event descriptor or thread.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let statistics = Arc::new(SenderStatistics::default());
        let changes = Arc::new(Changes::new()?);
        let metronome = setup.standby.as_ref().map(Standby::records);
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let first_ns = clock::monotonic_ns() + 1;
        arm(&timer, first_ns, setup.interval_ns)?;
        let thread = Builder::new().name("heartbeat-send".to_owned()).spawn({
            let (statistics, changes) = (Arc::clone(&statistics), Arc::clone(&changes));
            move || run(setup, &timer, first_ns, &changes, &statistics)
        })?;
        Ok(Self { statistics, changes, metronome, thread: Some(thread) })
    }

    /// Stops at once, the metronome too: after this no heartbeat leaves.
    pub fn stop(&mut self) {
        self.end_thread();
        self.metronome.iter().for_each(|records| records.silence());
    }

    fn end_thread(&mut self) {
        self.changes.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic hook; there is nothing left to stop.
            let _ended = thread.join();
        }
    }
}

impl Drop for Sender {
    /// Ends the thread alone: whoever drops a sender without stopping it hands over, and a metronome goes on.
    fn drop(&mut self) {
        self.end_thread();
    }
}

fn run(mut setup: Setup, timer: &TimerFd, first_ns: u64, changes: &Changes, statistics: &SenderStatistics) {
    realtime::prefault_stack();
    statistics.set_realtime(setup.priority, realtime::become_realtime(setup.priority).is_ok());
    let mut due_ns = first_ns;
    loop {
        let mut descriptors =
            [PollFd::new(timer.as_fd(), PollFlags::POLLIN), PollFd::new(changes.wake_fd(), PollFlags::POLLIN)];
        if poll(&mut descriptors, PollTimeout::NONE).is_err() {
            // Interrupted, or the kernel is short of memory: look again soon, but never spin above everybody else.
            statistics.count_wait_failure();
            std::thread::sleep(WAIT_AGAIN);
            continue;
        }
        let [timer_fd, changes_fd] = &descriptors;
        if changes_fd.any().unwrap_or(true) {
            if changes.stopping() {
                return;
            }
            let before_ns = setup.interval_ns;
            changes.take(&mut setup);
            if setup.interval_ns != before_ns {
                // One new interval behind the last round, which may be at once.
                let next_ns = due_ns.saturating_sub(before_ns).saturating_add(setup.interval_ns);
                due_ns = next_ns.max(clock::monotonic_ns() + 1);
                if arm(timer, due_ns, setup.interval_ns).is_err() {
                    statistics.count_wait_failure();
                }
                continue;
            }
        }
        if !timer_fd.any().unwrap_or(false) {
            continue;
        }
        // Intervals that passed while this thread did not run are skipped: catching up would only crowd the network.
        let Some(expirations) = read_expirations(timer) else { continue };
        let now_ns = clock::monotonic_ns();
        due_ns += (expirations - 1) * setup.interval_ns;
        statistics.record_wake(now_ns, now_ns.saturating_sub(due_ns), expirations - 1);
        due_ns += setup.interval_ns;
        let duty = setup.standby.as_mut().map_or(Duty::Everything, |standby| standby.duty(now_ns));
        for lane in &mut setup.lanes {
            let sent = match (&setup.standby, duty) {
                (Some(standby), Duty::Rest) => {
                    lane.send_rest(&setup.signer, &setup.memory, |link| standby.serves(link))
                }
                (Some(_) | None, Duty::Everything) | (None, Duty::Rest) => lane.send(&setup.signer, &setup.memory),
            };
            statistics.record_sent(&sent);
        }
        if let Some(next_ns) = setup.standby.as_ref().and_then(|standby| standby.next_look_ns(now_ns)) {
            due_ns = next_ns.max(clock::monotonic_ns() + 1);
            if arm(timer, due_ns, setup.interval_ns).is_err() {
                statistics.count_wait_failure();
            }
        }
    }
}

fn arm(timer: &TimerFd, first_ns: u64, interval_ns: u64) -> nix::Result<()> {
    let time = |nanoseconds| TimeSpec::from_duration(Duration::from_nanos(nanoseconds));
    let expiration = Expiration::IntervalDelayed(time(first_ns), time(interval_ns));
    timer.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
}

fn read_expirations(timer: &TimerFd) -> Option<u64> {
    let mut bytes = [0; 8];
    let read = nix::unistd::read(timer.as_fd(), &mut bytes).ok()?;
    let expirations = u64::from_ne_bytes(bytes);
    (read == bytes.len() && expirations > 0).then_some(expirations)
}
