//! Questions about a device's driver, by the ioctl that every driver answers (linux/ethtool.h).

use std::{io, os::fd::AsRawFd as _};

use socket2::{Domain, Socket, Type};

use crate::interface_request;

const GET_DRIVER: u32 = 0x03;
const GET_COALESCE: u32 = 0x0e;
const GET_RINGS: u32 = 0x10;
const GET_FLAGS: u32 = 0x25;
const GET_GRO: u32 = 0x2b;

/// TCP segments are merged before XDP sees them.
const FLAG_LRO: u32 = 1 << 15;
/// Received VLAN tags are taken off the frame.
const FLAG_RX_VLAN: u32 = 1 << 8;

/// Receive descriptors: in use, and as many as the device can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceiveRing {
    pub(crate) now: u32,
    pub(crate) most: u32,
}

/// A structure that begins with its command, as the kernel fills it.
///
/// # Safety
///
/// `repr(C)`, valid for any bytes, and as long as the kernel's structure of `COMMAND`, which it writes whole.
unsafe trait Question: Default {
    const COMMAND: u32;
    fn command(&mut self) -> &mut u32;
}

macro_rules! questions {
    ($($(#[$doc:meta])* $name:ident = $command:expr, [$element:ty; $length:literal];)*) => {$(
        $(#[$doc])*
        #[repr(C)]
        struct $name {
            command: u32,
            rest: [$element; $length],
        }

        impl Default for $name {
            fn default() -> Self {
                Self { command: 0, rest: [0; $length] }
            }
        }

        // SAFETY: integers after a command, as many as linux/ethtool.h has for it.
        unsafe impl Question for $name {
            const COMMAND: u32 = $command;
            fn command(&mut self) -> &mut u32 {
                &mut self.command
            }
        }
    )*};
}

questions! {
    /// struct ethtool_value: one word.
    Flags = GET_FLAGS, [u32; 1];
    /// The same: 1 where it is on.
    Gro = GET_GRO, [u32; 1];
    /// struct ethtool_ringparam: rx_max, rx_mini_max, rx_jumbo_max, tx_max, then the same in use.
    RingParameters = GET_RINGS, [u32; 8];
    /// struct ethtool_coalesce: rx_coalesce_usecs and 21 more words.
    Coalesce = GET_COALESCE, [u32; 22];
    /// struct ethtool_drvinfo: driver in 32 bytes, then version, firmware, bus and others, 192 bytes in all.
    Driver = GET_DRIVER, [u8; 192];
}

/// Does the driver of `device` take VLAN tags off what it receives?
///
/// # Errors
/// What the system call says.
pub(crate) fn hides_vlan_tags(device: &str) -> io::Result<bool> {
    ask::<Flags>(device).map(|flags| flags.rest[0] & FLAG_RX_VLAN != 0)
}

/// Does the driver of `device` merge TCP segments?
///
/// # Errors
/// What the system call says.
pub(crate) fn merges_segments(device: &str) -> io::Result<bool> {
    ask::<Flags>(device).map(|flags| flags.rest[0] & FLAG_LRO != 0)
}

/// Does the kernel merge what the device has received, before generic XDP sees it?
///
/// # Errors
/// What the system call says.
pub(crate) fn merges_packets(device: &str) -> io::Result<bool> {
    ask::<Gro>(device).map(|gro| gro.rest[0] != 0)
}

/// # Errors
/// What the system call says; not every driver has rings.
pub(crate) fn receive_ring(device: &str) -> io::Result<ReceiveRing> {
    ask::<RingParameters>(device).map(|rings| ReceiveRing { most: rings.rest[0], now: rings.rest[4] })
}

/// For how many microseconds the device may hold back an interrupt for received frames.
///
/// # Errors
/// What the system call says; not every driver can.
pub(crate) fn moderation_us(device: &str) -> io::Result<u32> {
    ask::<Coalesce>(device).map(|coalesce| coalesce.rest[0])
}

/// Name of the driver.
///
/// # Errors
/// What the system call says.
pub(crate) fn driver(device: &str) -> io::Result<String> {
    ask::<Driver>(device).map(|info| {
        let name: Vec<u8> = info.rest.iter().take(32).copied().take_while(|byte| *byte != 0).collect();
        String::from_utf8_lossy(&name).into_owned()
    })
}

fn ask<Q: Question>(device: &str) -> io::Result<Q> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)?;
    let mut request = interface_request::about(device)?;
    let mut question = Q::default();
    *question.command() = Q::COMMAND;
    request.ifr_ifru.ifru_data = (&raw mut question).cast();
    // SAFETY: the request names a device and points to a structure of the command's shape; both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(question) } else { Err(io::Error::last_os_error()) }
}
