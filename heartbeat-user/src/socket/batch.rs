//! Heartbeats of one network in one system call (`sendmmsg`), without allocation after construction.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use bytemuck::Zeroable as _;
use heartbeat_common::wire::{HEARTBEAT_LENGTH, Heartbeat};

/// Kernel limit of one `sendmmsg`.
const CALL_MAX: usize = 1024;

/// Messages with their destinations, in memory that never moves.
pub struct Batch {
    messages: Box<[Heartbeat]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    // Pointed to by `headers`.
    _addresses: Box<[libc::sockaddr_storage]>,
}

// SAFETY: the pointers in `vectors` and `headers` point into the boxes of the same value, which do not move with it.
unsafe impl Send for Batch {}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams handed to the kernel.
    pub sent: usize,
    /// Datagrams that the kernel refused.
    pub failed: usize,
    /// Error of the last refusal, an errno; 0 is none.
    pub errno: i32,
}

impl Sent {
    /// Adds what became of another batch.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        if other.errno != 0 {
            self.errno = other.errno;
        }
    }
}

impl Batch {
    /// A batch with one message for each destination, in this order.
    #[must_use]
    pub fn new(destinations: &[SocketAddr]) -> Self {
        let mut messages = vec![Heartbeat::zeroed(); destinations.len()].into_boxed_slice();
        let mut addresses: Box<[libc::sockaddr_storage]> =
            // SAFETY: all zeros is a valid sockaddr_storage.
            destinations.iter().map(|_| unsafe { std::mem::zeroed() }).collect();
        let mut vectors: Box<[libc::iovec]> = messages
            .iter_mut()
            .map(|message| libc::iovec { iov_base: std::ptr::from_mut(message).cast(), iov_len: HEARTBEAT_LENGTH })
            .collect();
        let headers = destinations
            .iter()
            .zip(addresses.iter_mut())
            .zip(vectors.iter_mut())
            .map(|((destination, address), vector)| {
                let encoded = socket2::SockAddr::from(*destination);
                // SAFETY: both are valid for `len` bytes, and `len` is at most the size of sockaddr_storage.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        encoded.as_ptr().cast::<u8>(),
                        std::ptr::from_mut(address).cast::<u8>(),
                        encoded.len() as usize,
                    );
                }
                // SAFETY: all zeros is a valid mmsghdr: no control data, no flags.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
                header.msg_hdr.msg_namelen = encoded.len();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self { messages, vectors, headers, _addresses: addresses }
    }

    /// The messages, to be filled before [`Self::send`].
    pub fn messages(&mut self) -> &mut [Heartbeat] {
        &mut self.messages
    }

    /// Hands every message to the kernel. One that is refused does not keep the others back.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> Sent {
        self.send_range(socket, 0, self.headers.len())
    }

    /// Hands one message to the kernel.
    pub fn send_one(&mut self, socket: BorrowedFd<'_>, position: usize) -> Sent {
        self.send_range(socket, position, self.headers.len().min(position + 1))
    }

    fn send_range(&mut self, socket: BorrowedFd<'_>, from: usize, end: usize) -> Sent {
        debug_assert_eq!(self.vectors.len(), self.headers.len());
        let mut result = Sent::default();
        let mut next = from;
        while next < end {
            let count = (end - next).min(CALL_MAX);
            let headers = &mut self.headers[next..next + count];
            // SAFETY: `count` headers whose pointers are valid (see `new`); the kernel writes `msg_len` of each.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    u32::try_from(count).unwrap_or(0),
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) => {
                    result.sent += sent;
                    next += sent.max(1);
                }
                // The first of the rest was refused: an unreachable peer, a full queue. Go on behind it.
                Err(_) => {
                    result.errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
                    result.failed += 1;
                    next += 1;
                }
            }
        }
        result
    }
}
