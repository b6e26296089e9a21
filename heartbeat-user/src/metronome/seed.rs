//! Putting the packet on its way: one frame on the upper device.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use bytemuck::cast_slice;
use heartbeat_common::metronome::{SEED_BYTES, SEED_ETHER_TYPE, seed_words};

use super::pace::Pace;

/// A packet socket that sends seeds and receives nothing.
#[derive(Debug)]
pub(super) struct Seeder {
    socket: OwnedFd,
    frame: Vec<u8>,
}

impl Seeder {
    /// For packets of this length.
    ///
    /// # Errors
    /// What the kernel says: CAP_NET_RAW is needed.
    pub(super) fn new(pace: &Pace) -> io::Result<Self> {
        // SAFETY: three numbers; protocol 0 receives nothing.
        let descriptor = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // A length fits.
        let length = usize::try_from(pace.length).unwrap_or(SEED_BYTES).max(SEED_BYTES);
        Ok(Self { socket, frame: vec![0; length] })
    }

    /// Sends the packet with this seed through an interface.
    ///
    /// # Errors
    /// What the kernel says; `ENODEV` and the like when the device is gone.
    pub(super) fn send(&mut self, ifindex: u32, seed: u64) -> io::Result<()> {
        self.frame[..SEED_BYTES].copy_from_slice(cast_slice(&seed_words(seed)));
        // SAFETY: all zeros is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
        address.sll_protocol = SEED_ETHER_TYPE.to_be();
        address.sll_ifindex = ifindex.cast_signed();
        address.sll_halen = 6;
        // SAFETY: frame and address outlive the call, and their sizes are passed.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                self.frame.as_ptr().cast(),
                self.frame.len(),
                libc::MSG_DONTWAIT,
                (&raw const address).cast(),
                libc::socklen_t::try_from(size_of_val(&address)).unwrap_or_default(),
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
