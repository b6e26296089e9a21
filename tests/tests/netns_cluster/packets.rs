//! Frames as they are: sent and captured on an interface of any namespace.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use heartbeat_tests::namespace::Namespace;
use nix::{
    net::if_::if_nametoindex,
    sys::{
        socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
    unistd,
};
use serde_json::Value;

/// Longest frame that is looked at.
const FRAME: usize = 2048;
/// Frames that wait to be looked at: some seconds of all heartbeats of a small cluster.
const BUFFER: usize = 4 << 20;

/// A packet socket on one interface.
#[derive(Debug)]
pub(crate) struct Packets {
    socket: OwnedFd,
}

impl Packets {
    /// Opens one; from now on it keeps what passes the interface in either direction.
    pub(crate) fn open(namespace: &Namespace, interface: &str) -> Self {
        let socket = namespace.run(|| bound_to(interface)).unwrap();
        let socket = socket.unwrap_or_else(|error| panic!("{interface} in {}: {error}", namespace.name()));
        Self { socket }
    }

    /// Sends a frame, Ethernet header included.
    pub(crate) fn send(&self, frame: &[u8]) {
        assert_eq!(self.try_send(frame), Ok(frame.len()));
    }

    /// As [`Packets::send`]; a full queue is an error.
    pub(crate) fn try_send(&self, frame: &[u8]) -> nix::Result<usize> {
        unistd::write(&self.socket, frame)
    }

    /// The next frame; `None` when none comes within `limit`.
    pub(crate) fn receive(&self, limit: Duration) -> Option<Vec<u8>> {
        // Zero would mean: for ever.
        let limit = i64::try_from(limit.as_micros()).unwrap().max(1);
        setsockopt(&self.socket, sockopt::ReceiveTimeout, &TimeVal::microseconds(limit)).unwrap();
        let mut frame = vec![0; FRAME];
        let length = unistd::read(&self.socket, &mut frame).ok()?;
        frame.truncate(length);
        Some(frame)
    }

    /// Frames that satisfy `wanted`, until there are `count` of them.
    pub(crate) fn collect(&self, count: usize, limit: Duration, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let mut frames = Vec::new();
        while frames.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} frames within {limit:?}", frames.len());
            frames.extend(self.receive(left).filter(|frame| wanted(frame)));
        }
        frames
    }

    /// Everything that waits, without waiting for more.
    pub(crate) fn drain(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.receive(Duration::from_millis(1)) {
            if wanted(&frame) {
                frames.push(frame);
            }
        }
        frames
    }
}

/// The MAC address of an interface.
pub(crate) fn mac(namespace: &Namespace, interface: &str) -> [u8; 6] {
    let output = namespace.command("ip").unwrap().args(["-j", "link", "show", interface]).output().unwrap();
    let links: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut mac = [0; 6];
    for (byte, digits) in mac.iter_mut().zip(links[0]["address"].as_str().unwrap().split(':')) {
        *byte = u8::from_str_radix(digits, 16).unwrap();
    }
    mac
}

fn bound_to(interface: &str) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET.cast_unsigned() as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: if_nametoindex(interface)?.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address is a whole sockaddr_ll, and its length is given.
    let bound = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    if bound == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}
