//! The thread of normal priority that looks after a metronome: hardware addresses from netlink into TARGETS, and new devices
//! where the old ones are gone. What must not wait for it, the real-time thread does (`standby`).

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use netlink_packet_core::NetlinkPayload;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use super::{
    Body,
    neighbours::{Neighbours, confirm},
    requests::{Requests, messages},
    standby::RETIRED,
};

/// Multicast group of the routing socket with changes of neighbours (RTNLGRP_NEIGH).
const GROUP_NEIGHBOURS: u32 = 3;
/// Between two looks at the counters.
const LOOK: Duration = Duration::from_secs(1);
/// Between two confirmations of a hardware address; the kernel itself takes one for good for 15 to 45 s.
const CONFIRM: Duration = Duration::from_secs(15);
/// After this many seeds without a lap the devices are made anew.
const FRUITLESS_SEEDS: u64 = 3;
/// Between two attempts at that.
const REBUILD: Duration = Duration::from_secs(10);

/// Told of what an operator should hear.
pub type Tell = Box<dyn Fn(String) + Send>;

/// The running thread.
#[derive(Debug)]
pub(super) struct Keeper {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<Option<Body>>>,
}

impl Keeper {
    /// Starts it; it has the metronome until it is stopped.
    pub(super) fn start(body: Body, tell: Tell) -> io::Result<Self> {
        let stop = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let changes = changes()?;
        let requests = Requests::open()?;
        let thread = Builder::new().name("heartbeat-keep".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut work =
                    Work { body, tell, requests, rebuilt: None, seeds: 0, takeovers: 0, said: None, retired: false };
                work.run(&changes, &stop);
                Some(work.body)
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops it, and gives the metronome back.
    pub(super) fn stop(&mut self) -> Option<Body> {
        // The counter of the descriptor cannot overflow by one.
        let _woken = self.stop.write(1);
        // A panic of the thread has been reported by the panic hook.
        self.thread.take().and_then(|thread| thread.join().ok().flatten())
    }
}

fn changes() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.add_membership(GROUP_NEIGHBOURS)?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

struct Work {
    body: Body,
    tell: Tell,
    requests: Requests,
    rebuilt: Option<Instant>,
    seeds: u64,
    takeovers: u64,
    said: Option<Instant>,
    retired: bool,
}

impl Work {
    fn run(&mut self, changes: &Socket, stop: &EventFd) {
        // Between the first reading and the subscription something may have changed.
        self.read_all();
        self.seeds = self.body.standby_report().seeds;
        let mut confirmed: Option<Instant> = None;
        loop {
            if confirmed.is_none_or(|at| at.elapsed() >= CONFIRM) {
                confirmed = Some(Instant::now());
                self.confirm_all();
            }
            // SAFETY: the descriptor is open as long as `changes` is, which outlives the call.
            let descriptor = unsafe { BorrowedFd::borrow_raw(changes.as_raw_fd()) };
            let mut descriptors =
                [PollFd::new(descriptor, PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
            if poll(&mut descriptors, timeout).is_err() {
                std::thread::sleep(LOOK);
                continue;
            }
            let [changed, stopped] = &descriptors;
            if stopped.any().unwrap_or(true) {
                return;
            }
            if changed.any().unwrap_or(true) {
                self.take(changes);
            }
            self.look();
        }
    }

    /// At most what the socket's buffer holds: it is asked again in the next turn.
    fn take(&mut self, changes: &Socket) {
        match changes.recv_from_full() {
            Ok((bytes, _)) => {
                for message in messages(&bytes) {
                    if let NetlinkPayload::InnerMessage(message) = message.payload
                        && let Some(place) = self.body.neighbours.learn(&message)
                    {
                        self.body.write_targets(Some(place));
                    }
                }
            }
            // Messages were lost: read it all.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.read_all(),
            Err(_) => {}
        }
    }

    fn read_all(&mut self) {
        match Neighbours::read() {
            Ok(neighbours) => {
                self.body.neighbours = neighbours;
                self.body.read_carriers(&self.requests);
                self.body.write_targets(None);
            }
            Err(error) => tracing::warn!("the neighbours cannot be read: {error}; the thread sends to those unknown"),
        }
    }

    fn confirm_all(&mut self) {
        if self.body.read_carriers(&self.requests) {
            self.body.write_targets(None);
        }
        for target in self.body.targets.iter().filter(|target| self.body.neighbours.is_to_be_confirmed(target)) {
            // An interface that is down confirms nothing; the next turn asks again.
            let _asked = confirm(&self.requests, target);
        }
    }

    fn look(&mut self) {
        let report = self.body.standby_report();
        if report.retired {
            if !std::mem::replace(&mut self.retired, true) {
                (self.tell)(RETIRED.to_owned());
            }
            return;
        }
        let reseeded = report.seeds.saturating_sub(self.seeds);
        // The first seed is the start; and what goes on is not told every second.
        if reseeded > 0 && self.seeds > 0 && self.said.is_none_or(|said| said.elapsed() >= REBUILD) {
            self.said = Some(Instant::now());
            (self.tell)(format!(
                "The metronome was lost, and started again {reseeded} times; the real-time thread sent meanwhile, in {} \
                 intervals{}",
                report.takeovers.saturating_sub(self.takeovers),
                match report.last_errno {
                    0 => String::new(),
                    code => format!(". Last error: {}", io::Error::from_raw_os_error(code)),
                }
            ));
            (self.seeds, self.takeovers) = (report.seeds, report.takeovers);
        } else if self.seeds == 0 {
            (self.seeds, self.takeovers) = (report.seeds, report.takeovers);
        }
        let due = self.rebuilt.is_none_or(|rebuilt| rebuilt.elapsed() >= REBUILD);
        if report.fruitless >= FRUITLESS_SEEDS && due {
            self.rebuilt = Some(Instant::now());
            let text = match self.body.rebuild() {
                Ok(()) => "The metronome's devices were gone, and have been made again".to_owned(),
                Err(error) => format!(
                    "The metronome's devices are gone, and cannot be made again: {error}. The real-time thread sends"
                ),
            };
            (self.tell)(text);
        }
    }
}
