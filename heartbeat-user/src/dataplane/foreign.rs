//! Who else has an XDP program on an interface.

use std::{fmt, io};

use aya::programs::{ProgramInfo, loaded_programs};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A program, by id and, where it may be known, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttachedProgram {
    /// The kernel's id, as `bpftool prog show id` takes it.
    pub id: u32,
    /// Its name.
    pub name: Option<String>,
}

impl fmt::Display for AttachedProgram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "the XDP program `{name}` (id {})", self.id),
            None => write!(formatter, "an XDP program with the id {}", self.id),
        }
    }
}

/// The program that the kernel shows at an interface; `None` when there is none, or it cannot be found out.
#[must_use]
pub(super) fn attached_program(ifindex: u32) -> Option<AttachedProgram> {
    let id = program_id(ifindex).ok()??;
    let name = loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == id)
        .and_then(|info: ProgramInfo| info.name_as_str().map(ToOwned::to_owned))
        .filter(|name| !name.is_empty());
    Some(AttachedProgram { id, name })
}

/// The id of the program at an interface, `None` where there is none.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn program_id(ifindex: u32) -> io::Result<Option<u32>> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetLink(message)));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer.payload else {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    };
    Ok(link.attributes.iter().find_map(|attribute| {
        let LinkAttribute::Xdp(xdp) = attribute else { return None };
        xdp.iter().find_map(|entry| {
            let LinkXdp::ProgId(id) = entry else { return None };
            (*id != 0).then_some(*id)
        })
    }))
}
