//! The same work without XDP: `recvmmsg` with receive stamps, the same checks, the same books, one thread.

mod books;
mod message;

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};
use heartbeat_common::wire;
use heartbeat_user::clock;
use nix::sys::socket::{setsockopt, sockopt};

use self::{
    books::Books,
    message::{BATCH, Batch},
};
use crate::{
    cpu::{self, Priority, SUBJECT_CPU, THIS_THREAD},
    scene,
};

/// Receive buffer: 4 MiB, about 5,000 heartbeats, and more than a batch by far.
const BUFFER_BYTES: usize = 4 << 20;
/// How long the end of a round may go unnoticed when nothing arrives.
const PATIENCE: Duration = Duration::from_millis(50);

/// A bound socket with its books.
pub(crate) struct Receiver {
    socket: UdpSocket,
    books: Books,
}

impl Receiver {
    /// Binds to the address of the node under test.
    pub(crate) fn bind(network: u8, peers: &[u16]) -> Result<Self> {
        let address = SocketAddrV4::new(Ipv4Addr::from(scene::address(scene::NODE, network)), wire::PORT);
        let socket = UdpSocket::bind(address).with_context(|| format!("cannot bind to {address}"))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).context("cannot set the receive buffer")?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("cannot ask for stamps")?;
        setsockopt(&socket, sockopt::Ipv4RecvTtl, &true).context("cannot ask for the TTL")?;
        socket.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
        Ok(Self { socket, books: Books::new(network, peers) })
    }

    /// Receives until `stop`; heartbeats accepted are added to `accepted`.
    pub(crate) fn receive(&mut self, priority: Priority, stop: &AtomicBool, accepted: &AtomicU64) -> Result<()> {
        cpu::pin(THIS_THREAD, SUBJECT_CPU)?;
        cpu::schedule(THIS_THREAD, priority)?;
        let mut batch = Batch::new();
        while !stop.load(Ordering::Relaxed) {
            let count = batch.receive(self.socket.as_raw_fd()).context("recvmmsg failed")?;
            // One pair of readings turns the stamps of a batch, which are of CLOCK_REALTIME, into those of the books.
            let ahead_ns = clock::realtime_ns().wrapping_sub(clock::monotonic_ns());
            let mut booked = 0;
            for index in 0..count.min(BATCH) {
                let Some(datagram) = batch.datagram(index) else { continue };
                booked += u64::from(self.books.book(&datagram, ahead_ns).is_ok());
            }
            accepted.fetch_add(booked, Ordering::Relaxed);
        }
        Ok(())
    }
}
