//! A sender in userspace that beats for many nodes at once: every millisecond a tenth of them, on each network.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use heartbeat_user::clock;

use crate::{
    arena::{MAC, Wire},
    cpu::{self, GENERATOR_CPU, Priority, THIS_THREAD},
    frames::{self, Beat},
};

/// Between two beats of a node.
pub(crate) const INTERVAL_NS: u64 = 10_000_000;
/// Between two groups of nodes.
const TICK_NS: u64 = 1_000_000;
const GROUPS: usize = 10;
/// As heartbeat's own sender: above the threads of interrupts.
const PRIORITY: Priority = Priority::Fifo(60);

/// How the sending went.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Sending {
    /// Frames that the kernel took.
    pub(crate) sent: u64,
    /// Frames that the kernel refused.
    pub(crate) refused: u64,
    /// Latest that a group was sent after its time, nanoseconds.
    pub(crate) latest_ns: u64,
    /// Groups sent more than an interval's eighth after their time.
    pub(crate) late_groups: u64,
}

/// Sends for `peers` on all `wires`, whose sending ends are in the namespace of this thread, until `stop`.
pub(crate) fn send(wires: &[Wire], peers: &[u16], stop: &AtomicBool) -> Result<Sending> {
    cpu::pin(THIS_THREAD, GENERATOR_CPU)?;
    cpu::schedule(THIS_THREAD, PRIORITY)?;
    let mut lines = wires.iter().map(|wire| Line::open(wire, peers)).collect::<Result<Vec<_>>>()?;
    let mut sending = Sending::default();
    let start_ns = clock::monotonic_ns() + TICK_NS;
    for tick in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due_ns = start_ns + tick * TICK_NS;
        let now_ns = clock::monotonic_ns();
        if now_ns < due_ns {
            thread::sleep(Duration::from_nanos(due_ns - now_ns));
        }
        let late_ns = clock::monotonic_ns().saturating_sub(due_ns);
        sending.latest_ns = sending.latest_ns.max(late_ns);
        sending.late_groups += u64::from(late_ns > INTERVAL_NS / 8);
        let group = usize::try_from(tick).unwrap_or(0) % GROUPS;
        for line in &mut lines {
            line.beat(group, &mut sending)?;
        }
    }
    Ok(sending)
}

/// One network: a packet socket, and what is sent next.
struct Line {
    socket: OwnedFd,
    beats: Vec<Beat>,
}

impl Line {
    fn open(wire: &Wire, peers: &[u16]) -> Result<Self> {
        let index = i32::try_from(wire.sender_index()?)?;
        // SAFETY: a plain system call; the descriptor is owned from here on.
        let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        ensure!(socket >= 0, "no packet socket: {}", io::Error::last_os_error());
        // SAFETY: just opened, and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: all zeros is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET)?;
        address.sll_ifindex = index;
        let length = libc::socklen_t::try_from(size_of_val(&address))?;
        // SAFETY: a valid address of that length.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        ensure!(bound == 0, "the packet socket cannot be bound: {}", io::Error::last_os_error());
        let beats = peers.iter().map(|node| Beat { sequence: 0, ..Beat::first(*node, wire.network) }).collect();
        Ok(Self { socket, beats })
    }

    /// One heartbeat of every node of the group.
    fn beat(&mut self, group: usize, sending: &mut Sending) -> Result<()> {
        let share = self.beats.len().div_ceil(GROUPS);
        let sent_ns = clock::monotonic_ns();
        let mut frames: Vec<[u8; frames::LENGTH]> = Vec::with_capacity(share);
        for beat in self.beats.iter_mut().skip(group * share).take(share) {
            beat.sequence += 1;
            beat.sent_ns = sent_ns;
            frames.push(frames::heartbeat(MAC, *beat));
        }
        let mut vectors: Vec<libc::iovec> = frames
            .iter_mut()
            .map(|frame| libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = vectors
            .iter_mut()
            .map(|vector| {
                // SAFETY: all zeros is a valid mmsghdr.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        let count = libc::c_uint::try_from(headers.len())?;
        // SAFETY: the headers point to vectors and frames that live until the end of this function.
        let taken = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
        let taken = u64::try_from(taken).map_err(|_| io::Error::last_os_error()).context("cannot send")?;
        sending.sent += taken;
        sending.refused += u64::from(count) - taken;
        Ok(())
    }
}
