//! Frames as fast as one thread can send them, or at a pace.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use heartbeat_tests::{naming::node_name, topology::Topology};
use nix::net::if_::if_nametoindex;

use crate::packet::PacketSocket;

/// Frames in one system call.
const BATCH: usize = 200;

/// A flood at work; ends with [`Flood::stop`] or on drop.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Flood {
    /// Sends these frames in turn, from the bridge's side of a node's cable on a network: nothing but this node sees them.
    /// `pace` is the time of each 200; as fast as it goes if `None`.
    ///
    /// # Errors
    ///
    /// When the cable's end cannot be opened.
    pub fn start(
        topology: &Topology,
        (node, network): (u16, u8),
        frames: Vec<Vec<u8>>,
        pace: Option<Duration>,
    ) -> Result<Self> {
        let socket = cable(topology, node, network)?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = thread::spawn(move || pour(&socket, &frames, pace, &asked));
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it, and says how many frames the kernel took.
    ///
    /// # Errors
    ///
    /// When it could not send.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the flood has ended already")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The bridge's end of a node's cable on a network.
pub(crate) fn cable(topology: &Topology, node: u16, network: u8) -> Result<PacketSocket> {
    opened(topology, node, network, PacketSocket::open)
}

/// The same, to hear what passes.
pub(crate) fn listening_cable(topology: &Topology, node: u16, network: u8) -> Result<PacketSocket> {
    opened(topology, node, network, PacketSocket::listening)
}

fn opened(
    topology: &Topology,
    node: u16,
    network: u8,
    open: impl FnOnce(u32) -> Result<PacketSocket> + Send,
) -> Result<PacketSocket> {
    let port = node_name(node);
    topology.network(network).run(|| {
        let index = if_nametoindex(port.as_str()).with_context(|| format!("there is no interface {port}"))?;
        open(index)
    })?
}

/// Sends until `stop`, and once at least: on a busy machine the thread may have its first turn only then. How many frames
/// the kernel took.
pub(crate) fn pour(
    socket: &PacketSocket,
    frames: &[impl AsRef<[u8]>],
    pace: Option<Duration>,
    stop: &AtomicBool,
) -> Result<u64> {
    let mut batch: Vec<Vec<u8>> = frames.iter().cycle().take(BATCH).map(|frame| frame.as_ref().to_vec()).collect();
    let mut next = Instant::now();
    let mut sent = 0;
    loop {
        if let Some(pace) = pace {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next += pace;
        }
        sent += socket.send(&mut batch)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(sent);
        }
    }
}
