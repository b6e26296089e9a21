//! A sender in userspace that beats for many nodes at once: every millisecond some of them, on each network.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use heartbeat_user::clock;

use crate::{
    arena::{MAC, Wire},
    cpu::{self, GENERATOR_CPU, Priority, THIS_THREAD},
    frames::{self, Beat},
    packet::PacketSocket,
};

/// Between two groups of nodes.
const TICK_NS: u64 = 1_000_000;
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

/// Sends for `peers` on all `wires`, whose sending ends are in the namespace of this thread, once in each interval until
/// `stop`.
pub(crate) fn send(wires: &[Wire], peers: &[u16], interval_ns: u64, stop: &AtomicBool) -> Result<Sending> {
    cpu::pin(THIS_THREAD, GENERATOR_CPU)?;
    cpu::schedule(THIS_THREAD, PRIORITY)?;
    let groups = usize::try_from(interval_ns / TICK_NS)?.max(1);
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
        sending.late_groups += u64::from(late_ns > interval_ns / 8);
        let group = usize::try_from(tick).unwrap_or(0) % groups;
        for line in &mut lines {
            line.beat(group, groups, &mut sending)?;
        }
    }
    Ok(sending)
}

/// One network: a packet socket, and what is sent next.
struct Line {
    socket: PacketSocket,
    beats: Vec<Beat>,
}

impl Line {
    fn open(wire: &Wire, peers: &[u16]) -> Result<Self> {
        let socket = PacketSocket::open(wire.sender_index()?)?;
        let beats = peers.iter().map(|node| Beat { sequence: 0, ..Beat::first(*node, wire.network) }).collect();
        Ok(Self { socket, beats })
    }

    /// One heartbeat of every node of the group.
    fn beat(&mut self, group: usize, groups: usize, sending: &mut Sending) -> Result<()> {
        let share = self.beats.len().div_ceil(groups);
        let sent_ns = clock::monotonic_ns();
        let mut frames: Vec<[u8; frames::LENGTH]> = Vec::with_capacity(share);
        for beat in self.beats.iter_mut().skip(group * share).take(share) {
            beat.sequence += 1;
            beat.sent_ns = sent_ns;
            frames.push(frames::heartbeat(MAC, *beat));
        }
        if frames.is_empty() {
            return Ok(());
        }
        let count = u64::try_from(frames.len())?;
        let taken = self.socket.send(&mut frames)?;
        sending.sent += taken;
        sending.refused += count - taken;
        Ok(())
    }
}
