//! Whole Ethernet frames, many at a time, out of one interface.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, setsockopt, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};

/// Longer than any frame of ours.
const LONGEST: usize = 2048;

/// A packet socket that sends only, or hears everything as well.
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Bound to an interface of the calling thread's namespace; it receives nothing.
    pub(crate) fn open(interface: u32) -> Result<Self> {
        Self::bound(interface, 0)
    }

    /// The same, and it keeps what passes the interface in either direction until it is received.
    pub(crate) fn listening(interface: u32) -> Result<Self> {
        Self::bound(interface, u16::try_from(libc::ETH_P_ALL)?.to_be())
    }

    /// The next frame; `None` when none comes within a second, or it is longer than any of ours.
    pub(crate) fn receive(&self) -> Result<Option<Vec<u8>>> {
        let mut buffer = [0; LONGEST];
        match nix::sys::socket::recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) => Ok(buffer.get(..length).map(<[u8]>::to_vec)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(error) => Err(error).context("cannot receive"),
        }
    }

    fn bound(interface: u32, protocol: u16) -> Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: a plain system call; the descriptor is owned from here on. Protocol 0 receives nothing.
        let socket = unsafe { libc::socket(libc::AF_PACKET, kind, protocol.into()) };
        ensure!(socket >= 0, "no packet socket: {}", io::Error::last_os_error());
        // SAFETY: just opened, and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: all zeros is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET)?;
        address.sll_protocol = protocol;
        address.sll_ifindex = i32::try_from(interface)?;
        let length = libc::socklen_t::try_from(size_of_val(&address))?;
        // SAFETY: a valid address of that length.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        ensure!(bound == 0, "the packet socket cannot be bound: {}", io::Error::last_os_error());
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(1)).context("no limit for receiving")?;
        Ok(Self(socket))
    }

    /// Sends these in order, and returns how many of them the kernel took: none where the interface's queue is full.
    pub(crate) fn send<Frame: AsMut<[u8]>>(&self, frames: &mut [Frame]) -> Result<u64> {
        let mut vectors: Vec<libc::iovec> = frames
            .iter_mut()
            .map(AsMut::as_mut)
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
        let taken = unsafe { libc::sendmmsg(self.0.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
        match u64::try_from(taken) {
            Ok(taken) => Ok(taken),
            Err(_) => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(0),
                error => Err(error).context("cannot send"),
            },
        }
    }
}
