//! `struct ifreq`, by which ioctls name an interface (netdevice(7)): of the caller's network namespace, whatever /sys shows.

use std::{io, os::fd::AsRawFd as _};

use socket2::{Domain, Socket, Type};

/// Flags of an interface, as `ip link` shows them.
///
/// # Errors
/// What the system call says.
pub(crate) fn flags(device: &str) -> io::Result<i32> {
    let request = ask(device, libc::SIOCGIFFLAGS)?;
    // SAFETY: SIOCGIFFLAGS has filled this member of the union.
    Ok(i32::from(unsafe { request.ifr_ifru.ifru_flags }))
}

/// Most bytes that a frame of an interface carries, its own header not counted.
///
/// # Errors
/// What the system call says.
pub(crate) fn mtu(device: &str) -> io::Result<u32> {
    let request = ask(device, libc::SIOCGIFMTU)?;
    // SAFETY: SIOCGIFMTU has filled this member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the system names a negative MTU"))
}

/// A request about `device`, everything but its name zero.
///
/// # Errors
/// When the name is longer than interface names are.
pub(crate) fn about(device: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name of the device is too long"));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(request)
}

/// Asks for what the kernel writes into the request itself.
fn ask(device: &str, question: libc::Ioctl) -> io::Result<libc::ifreq> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), None)?;
    let mut request = about(device)?;
    // SAFETY: the request names a device, and the kernel writes within it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), question, &raw mut request) };
    if result == 0 { Ok(request) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_tells_and_what_is_not_there_does_not() {
        assert!(mtu("lo").unwrap() >= 1_280);
        assert!(flags("lo").unwrap() & libc::IFF_LOOPBACK != 0);
        assert!(mtu("not-there").is_err() && flags("a-name-that-is-too-long").is_err());
    }
}
