//! Requests to the kernel's routing socket, and their answers.

use std::{io, os::fd::AsRawFd as _};

use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkLayerType, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike as _},
};

use super::targets::HardwareAddress;

/// The kernel answers before the request returns; without an answer something is wrong, and waiting does not mend it.
const ANSWER_SECONDS: i64 = 2;

/// What is wanted of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its index.
    pub index: u32,
    /// Its address; `None` where it is not an Ethernet.
    pub address: Option<HardwareAddress>,
}

/// A routing socket of the caller's network namespace.
pub(super) struct Requests {
    socket: Socket,
}

impl Requests {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // SAFETY: the descriptor is open as long as `socket` is, which outlives the call.
        let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        setsockopt(&descriptor, ReceiveTimeout, &TimeVal::seconds(ANSWER_SECONDS))?;
        Ok(Self { socket })
    }

    /// Asks for a change; done when this returns.
    pub(super) fn change(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            for answer in messages(&bytes) {
                if let NetlinkPayload::Error(error) = answer.payload {
                    return match error.code {
                        None => Ok(()),
                        Some(code) => Err(io::Error::from_raw_os_error(-code.get())),
                    };
                }
            }
        }
    }

    /// Asks for everything of a kind.
    pub(super) fn dump(
        &self,
        message: RouteNetlinkMessage,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            for answer in messages(&bytes) {
                if let NetlinkPayload::InnerMessage(message) = answer.payload {
                    each(message);
                } else if let NetlinkPayload::Done(_) = answer.payload {
                    return Ok(());
                } else if let NetlinkPayload::Error(error) = answer.payload {
                    return Err(refusal(&error));
                }
            }
        }
    }

    /// An interface by its name; an error of kind `NotFound` or `ENODEV` when there is none.
    pub(super) fn link_named(&self, name: &str) -> io::Result<Link> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.link(message)
    }

    /// An interface by its index.
    pub(super) fn link_of(&self, index: u32) -> io::Result<Link> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.link(message)
    }

    fn link(&self, message: LinkMessage) -> io::Result<Link> {
        self.send(RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST)?;
        let (bytes, _) = self.socket.recv_from_full()?;
        for answer in messages(&bytes) {
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer.payload {
                let address = link.attributes.iter().find_map(|attribute| {
                    let LinkAttribute::Address(bytes) = attribute else { return None };
                    bytes.as_slice().try_into().ok()
                });
                let ethernet = link.header.link_layer_type == LinkLayerType::Ether;
                return Ok(Link { index: link.header.index, address: address.filter(|_| ethernet) });
            } else if let NetlinkPayload::Error(error) = answer.payload {
                return Err(refusal(&error));
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Sends without asking for an answer.
    pub(super) fn send(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }
}

fn refusal(error: &ErrorMessage) -> io::Error {
    io::Error::from_raw_os_error(error.code.map_or(libc::EIO, |code| -code.get()))
}

/// The messages of one datagram; what cannot be read is left out.
pub(super) fn messages(bytes: &[u8]) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    /// Length in the header, and where the next message begins.
    fn length_of(bytes: &[u8]) -> Option<usize> {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk::<4>()?)).ok()?;
        (length >= 16 && length <= bytes.len()).then_some(length)
    }
    let mut rest = bytes;
    let mut found = Vec::new();
    while let Some(length) = length_of(rest) {
        found.extend(NetlinkMessage::deserialize(&rest[..length]));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}
