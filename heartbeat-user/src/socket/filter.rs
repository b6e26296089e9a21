//! The interface's multicast filter, set so that it outlives the process.
//!
//! Membership of a group ends with the socket that joined it. With XDP in the kernel a node goes on hearing its peers
//! while its controller restarts, but only if the interface still lets the group through.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use crate::interface_request;

/// Lets frames of the group through, until the interface goes away or [`remove`] is called. Doing it twice is doing it once.
///
/// # Errors
/// What the system call says; a driver without a filter lets everything through and refuses with EOPNOTSUPP or EINVAL.
pub(super) fn add(socket: BorrowedFd<'_>, device: &str, group: IpAddr) -> io::Result<()> {
    change(socket, device, group, libc::SIOCADDMULTI)
}

/// Undoes [`add`].
///
/// # Errors
/// What the system call says, for instance that the group was not let through.
pub(super) fn remove(socket: BorrowedFd<'_>, device: &str, group: IpAddr) -> io::Result<()> {
    change(socket, device, group, libc::SIOCDELMULTI)
}

fn change(socket: BorrowedFd<'_>, device: &str, group: IpAddr, request: libc::c_ulong) -> io::Result<()> {
    let mut ifreq = interface_request::about(device)?;
    let mut address = libc::sockaddr { sa_family: 0, sa_data: [0; 14] };
    for (slot, byte) in address.sa_data.iter_mut().zip(hardware_address(group)) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    ifreq.ifr_ifru.ifru_hwaddr = address;
    // SAFETY: the request takes an ifreq, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut ifreq) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ethernet address of a group: RFC 1112 section 6.4, RFC 2464 section 7.
fn hardware_address(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(group) => {
            let octets = group.octets();
            [0x33, 0x33, octets[12], octets[13], octets[14], octets[15]]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_map_to_ethernet_addresses() {
        let of = |text: &str| hardware_address(text.parse().expect("an address"));
        assert_eq!(of("239.192.0.1"), [0x01, 0x00, 0x5e, 0x40, 0, 1]);
        assert_eq!(of("224.129.2.3"), [0x01, 0x00, 0x5e, 0x01, 2, 3]);
        assert_eq!(of("ff15::1:2"), [0x33, 0x33, 0, 1, 0, 2]);
    }
}
