//! The little of netlink that is needed to change an nftables set in one system call.
//!
//! Starting `nft` takes about ten milliseconds; a cut has to be in place within one, or a test at a millisecond's
//! interval could not say when it happened. Formats: linux/netlink.h, linux/netfilter/nfnetlink.h, nf_tables.h.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
        sockopt::ReceiveTimeout,
    },
    time::TimeVal,
};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_BRIDGE: u8 = 7;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_DELSETELEM: u16 = 14;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const HEADER: usize = 16;

/// What to do with the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// They must not be there yet.
    Add,
    /// They must be there.
    Remove,
}

/// A netfilter socket; it acts on the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Netfilter {
    socket: OwnedFd,
}

impl Netfilter {
    pub(crate) fn open() -> io::Result<Self> {
        let protocol = SockProtocol::NetlinkNetFilter;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // The kernel answers before `send` returns; without an answer something is wrong, and waiting does not mend it.
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(1, 0))?;
        Ok(Self { socket })
    }

    /// Adds or removes keys of a set of a bridge table, all or none. In place when this returns.
    pub(crate) fn change(&self, change: Change, table: &str, set: &str, keys: &[Vec<u8>]) -> io::Result<()> {
        let kind = match change {
            Change::Add => NFT_MSG_NEWSETELEM,
            Change::Remove => NFT_MSG_DELSETELEM,
        };
        let flags = match change {
            Change::Add => libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL,
            Change::Remove => libc::NLM_F_REQUEST | libc::NLM_F_ACK,
        };
        let mut elements = Vec::new();
        for key in keys {
            let value = attribute(NFTA_DATA_VALUE, key);
            let key = attribute(NFTA_SET_ELEM_KEY | NLA_F_NESTED, &value);
            elements.extend(attribute(NFTA_LIST_ELEM | NLA_F_NESTED, &key));
        }
        let mut body = attribute(NFTA_SET_ELEM_LIST_TABLE, &terminated(table));
        body.extend(attribute(NFTA_SET_ELEM_LIST_SET, &terminated(set)));
        body.extend(attribute(NFTA_SET_ELEM_LIST_ELEMENTS | NLA_F_NESTED, &elements));

        let border = |kind| message(kind, libc::NLM_F_REQUEST, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES, &[]);
        let mut batch = border(NFNL_MSG_BATCH_BEGIN);
        batch.extend(message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, NFPROTO_BRIDGE, 0, &body));
        batch.extend(border(NFNL_MSG_BATCH_END));
        send(self.socket.as_raw_fd(), &batch, MsgFlags::empty())?;
        self.acknowledgement()
    }

    /// The kernel's answer: an error number, 0 for done.
    fn acknowledgement(&self) -> io::Result<()> {
        let mut answer = [0_u8; 8192];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let number = answer.get(HEADER..HEADER + 4).filter(|_| length >= HEADER + 4);
        let kind = u16::from_ne_bytes([answer[4], answer[5]]);
        match number {
            Some(number) if i32::from(kind) == libc::NLMSG_ERROR => {
                match i32::from_ne_bytes([number[0], number[1], number[2], number[3]]) {
                    0 => Ok(()),
                    error => Err(io::Error::from_raw_os_error(-error)),
                }
            }
            Some(_) | None => Err(io::Error::new(io::ErrorKind::InvalidData, "netfilter answered with something else")),
        }
    }
}

/// One message with the header of netfilter; `resource` is the subsystem at the borders of a batch.
fn message(kind: u16, flags: i32, family: u8, resource: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + 4 + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + 4 + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    // Sequence and port: one request at a time, so answers need no telling apart.
    message.extend([0; 8]);
    message.extend([family, 0]);
    message.extend(resource.to_be_bytes());
    message.extend(body);
    message
}

/// One attribute, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // A list of as many elements as `cut::PAIRS_AT_ONCE` allows stays below the 64 KiB that the length can say.
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut attribute = Vec::with_capacity(4 + value.len() + 3);
    attribute.extend(length.to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
