//! `recvmmsg`: a batch of datagrams with source, TTL and stamp.

use std::{io, os::fd::RawFd};

use heartbeat_common::wire;

use super::books::Received;

/// Datagrams in one system call.
pub(super) const BATCH: usize = 64;
/// Room for a stamp and a TTL.
const CONTROL_LENGTH: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Slot {
    control: [u8; CONTROL_LENGTH],
    payload: [u8; wire::MESSAGE_LENGTH_MAX],
    source: libc::sockaddr_in,
}

/// Buffers, and the headers that point to them.
pub(super) struct Batch {
    slots: Box<[Slot]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: all zeros is a valid value of these plain C structures and byte arrays.
        let (slot, vector, header) =
            unsafe { (std::mem::zeroed::<Slot>(), std::mem::zeroed(), std::mem::zeroed::<libc::mmsghdr>()) };
        let mut batch = Self {
            slots: vec![slot; BATCH].into_boxed_slice(),
            vectors: vec![vector; BATCH].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
        };
        for ((slot, vector), header) in batch.slots.iter_mut().zip(&mut batch.vectors).zip(&mut batch.headers) {
            *vector = libc::iovec { iov_base: slot.payload.as_mut_ptr().cast(), iov_len: slot.payload.len() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut slot.source).cast();
            header.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
        }
        batch
    }

    /// Waits for at least one datagram and takes what there is; 0 after the socket's timeout.
    pub(super) fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        for header in &mut self.headers {
            header.msg_hdr.msg_controllen = CONTROL_LENGTH;
            header.msg_hdr.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap_or(0);
        }
        let (headers, length) = (self.headers.as_mut_ptr(), libc::c_uint::try_from(BATCH).unwrap_or(0));
        // SAFETY: the headers point to buffers of this value, which stay where they are on the heap.
        let received = unsafe { libc::recvmmsg(socket, headers, length, libc::MSG_WAITFORONE, std::ptr::null_mut()) };
        match usize::try_from(received) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
                error => Err(error),
            },
        }
    }

    /// One datagram of the batch; `None` when it came without stamp or TTL.
    pub(super) fn datagram(&self, index: usize) -> Option<Received<'_>> {
        let (slot, header) = (self.slots.get(index)?, self.headers.get(index)?);
        let (mut time_to_live, mut stamp_ns) = (None, None);
        // SAFETY: the kernel filled the control buffer and its length; the macros walk within it.
        let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header.msg_hdr) };
        while !message.is_null() {
            // SAFETY: not null, so a whole header lies within the buffer; the kernel puts an int or a timespec behind it.
            unsafe {
                let data = libc::CMSG_DATA(message);
                match ((*message).cmsg_level, (*message).cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_TTL) => {
                        time_to_live = u8::try_from(data.cast::<i32>().read_unaligned()).ok();
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                        let time = data.cast::<libc::timespec>().read_unaligned();
                        let (seconds, nanos) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
                        stamp_ns = Some(seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos));
                    }
                    _ => {}
                }
                message = libc::CMSG_NXTHDR(&raw const header.msg_hdr, message);
            }
        }
        Some(Received {
            payload: slot.payload.get(..header.msg_len as usize)?,
            source: slot.source.sin_addr.s_addr.to_ne_bytes(),
            time_to_live: time_to_live?,
            stamp_ns: stamp_ns?,
        })
    }
}
