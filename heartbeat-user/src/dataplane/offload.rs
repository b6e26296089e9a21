//! VLAN offload: a driver that takes the tag off a frame hides it from XDP, which then cannot tell one VLAN from another.

use std::{io, os::fd::AsRawFd as _};

use socket2::{Domain, Socket, Type};

use crate::interface_request;

/// Legacy ethtool command that reads the flags of an interface (linux/ethtool.h).
const ETHTOOL_GFLAGS: u32 = 0x25;
/// Received VLAN tags are taken off the frame.
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Does the driver of `device` take VLAN tags off what it receives?
///
/// # Errors
/// What the system call says.
pub(super) fn hides_vlan_tags(device: &str) -> io::Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)?;
    let mut request = interface_request::about(device)?;
    let mut value = EthtoolValue { command: ETHTOOL_GFLAGS, data: 0 };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names a device and points to a value of the shape that the command takes; both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(value.data & ETH_FLAG_RXVLAN != 0) } else { Err(io::Error::last_os_error()) }
}
