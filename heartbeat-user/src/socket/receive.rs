//! One datagram with what the kernel says about it: source, TTL, receive stamp.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use heartbeat_common::wire::MESSAGE_LENGTH_MAX;

use crate::clock;

/// Room for one datagram; one that is longer than any message is cut, and then refused for its length.
pub const BUFFER_LENGTH: usize = MESSAGE_LENGTH_MAX + 1;
/// Room for the control messages that are asked for: a stamp and a TTL.
const CONTROL_LENGTH: usize = 128;

/// Aligned for `cmsghdr`.
#[repr(align(8))]
struct ControlBuffer([u8; CONTROL_LENGTH]);

/// A datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Bytes in the buffer.
    pub length: usize,
    /// Source address.
    pub source: IpAddr,
    /// TTL or hop limit.
    pub time_to_live: Option<u8>,
    /// Receive stamp of the kernel, CLOCK_REALTIME nanoseconds.
    pub realtime_ns: Option<u64>,
}

/// Takes the next datagram; `None` when there is none.
///
/// # Errors
/// What the system call says.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8; BUFFER_LENGTH]) -> io::Result<Option<Incoming>> {
    // SAFETY: all zeros is a valid sockaddr_storage.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut control = ControlBuffer([0; CONTROL_LENGTH]);
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut address).cast();
    header.msg_namelen = libc::socklen_t::try_from(size_of_val(&address)).unwrap_or(0);
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LENGTH;
    // SAFETY: every pointer in `header` is valid for its length during the call.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(received) else {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    };
    let source = source_address(&address)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a datagram of an unknown address family"))?;
    let mut incoming = Incoming { length, source, time_to_live: None, realtime_ns: None };
    read_control(&header, &mut incoming);
    Ok(Some(incoming))
}

fn source_address(address: &libc::sockaddr_storage) -> Option<IpAddr> {
    let pointer = std::ptr::from_ref(address);
    match i32::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says so, and sockaddr_storage is large and aligned enough for every address.
            let address = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            Some(IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::from(address.sin6_addr.s6_addr))
        }
        _ => None,
    }
}

fn read_control(header: &libc::msghdr, incoming: &mut Incoming) {
    // SAFETY: the kernel filled the control buffer and its length; the macros walk within it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so a whole header lies within the buffer; the kernel puts an int or a timespec behind it.
        unsafe {
            let data = libc::CMSG_DATA(message);
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                    incoming.time_to_live = u8::try_from(data.cast::<i32>().read_unaligned()).ok();
                }
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    incoming.realtime_ns = u64::try_from(time.tv_sec)
                        .ok()
                        .zip(u64::try_from(time.tv_nsec).ok())
                        .and_then(|(seconds, nanos)| seconds.checked_mul(1_000_000_000)?.checked_add(nanos));
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
}

/// The arrival on CLOCK_MONOTONIC: the stamp's age is taken off the time of reading.
///
/// The kernel stamps on CLOCK_REALTIME, which somebody may set between arrival and reading. A datagram cannot be younger
/// than now, nor older than the time when the socket was last seen empty, so the result is kept between the two.
#[must_use]
pub fn monotonic_stamp(incoming: &Incoming, last_empty_ns: u64) -> u64 {
    let (now_ns, realtime_ns) = (clock::monotonic_ns(), clock::realtime_ns());
    clamp_stamp(now_ns, realtime_ns, incoming.realtime_ns, last_empty_ns)
}

fn clamp_stamp(now_ns: u64, realtime_ns: u64, stamp_realtime_ns: Option<u64>, last_empty_ns: u64) -> u64 {
    let age_ns = stamp_realtime_ns.map_or(0, |stamp_ns| realtime_ns.saturating_sub(stamp_ns));
    now_ns.saturating_sub(age_ns).max(last_empty_ns.min(now_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000_000;

    #[test]
    fn the_age_is_taken_off() {
        assert_eq!(clamp_stamp(1_000_000, DAY, Some(DAY - 300), 0), 999_700);
    }

    #[test]
    fn a_clock_that_was_set_does_not_move_the_stamp_out_of_bounds() {
        assert_eq!(clamp_stamp(1_000_000, DAY, Some(2 * DAY), 0), 1_000_000, "set back: not younger than now");
        assert_eq!(clamp_stamp(1_000_000, DAY, Some(1), 900_000), 900_000, "set forward: not older than the last look");
        assert_eq!(clamp_stamp(1_000_000, DAY, None, 0), 1_000_000, "no stamp: now");
    }

    #[test]
    fn source_ttl_and_stamp_come_with_the_datagram() {
        use std::{net::UdpSocket, os::fd::AsFd as _};
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bind");
        for (level, name) in [(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS), (libc::IPPROTO_IP, libc::IP_RECVTTL)] {
            super::super::option(&receiver.try_clone().expect("clone").into(), level, name, 1).expect("option");
        }
        let mut buffer = [0; BUFFER_LENGTH];
        assert_eq!(receive(receiver.as_fd(), &mut buffer).expect("receive"), None);
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
        sender.set_ttl(255).expect("ttl");
        let before = clock::realtime_ns();
        sender.send_to(b"hello", receiver.local_addr().expect("address")).expect("send");
        let incoming = receive(receiver.as_fd(), &mut buffer).expect("receive").expect("a datagram");
        assert_eq!((incoming.length, incoming.time_to_live), (5, Some(255)));
        assert!(incoming.source.is_loopback());
        assert!(incoming.realtime_ns.is_some_and(|stamp| stamp >= before));
    }
}
