//! Do hosts outside of the cluster answer on a network? Of two nodes that do not hear each other, the one whose gateway
//! still answers is not the one that is cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    config::LocalInterface,
    reactor::queue::{Command, Mailbox},
};

/// Routes and neighbours of the thread's network namespace.
const ROUTES: &str = "/proc/thread-self/net/route";
const ROUTES_V6: &str = "/proc/thread-self/net/ipv6_route";
const NEIGHBOURS: &str = "/proc/thread-self/net/arp";
/// The first few tell as much as all.
const ASKED: usize = 4;
/// A host on the same segment answers within a millisecond, a busy gateway within some more.
const PATIENCE: Duration = Duration::from_millis(500);
const ATTEMPTS: u16 = 2;

/// Asks, one question for each network at a time.
pub(super) struct Outside {
    interfaces: BTreeMap<u8, (LocalInterface, AtomicBool)>,
    /// Addresses of the cluster's own nodes: they are not outside.
    members: BTreeSet<IpAddr>,
    mailbox: Arc<Mailbox>,
}

impl Outside {
    pub(super) fn new(interfaces: &[LocalInterface], members: BTreeSet<IpAddr>, mailbox: Arc<Mailbox>) -> Arc<Self> {
        let asked = |interface: &LocalInterface| (interface.network, (interface.clone(), AtomicBool::new(false)));
        Arc::new(Self { interfaces: interfaces.iter().map(asked).collect(), members, mailbox })
    }

    /// Finds out on a thread that may wait, and tells the reactor. A question that is under way answers this one, too.
    pub(super) fn ask(self: &Arc<Self>, network: u8) {
        let Some((_, busy)) = self.interfaces.get(&network) else { return };
        if busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = Arc::clone(self);
        let _task = tokio::task::spawn_blocking(move || {
            let Some((interface, busy)) = this.interfaces.get(&network) else { return };
            let answer = answer(interface, &this.members);
            busy.store(false, Ordering::Release);
            // With a full mailbox the core asks again in a few intervals.
            let _taken = this.mailbox.command(Command::ExternalHosts { network, answer });
        });
    }
}

/// Whether one of the hosts outside answers; `None` where there is none to ask, or no way to ask.
fn answer(interface: &LocalInterface, members: &BTreeSet<IpAddr>) -> Option<bool> {
    let device = &interface.carrier.name;
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let hosts: Vec<IpAddr> = match interface.address {
        IpAddr::V4(_) => {
            let routes = gateways(&read(ROUTES), device).into_iter();
            let neighbours = neighbours(&read(NEIGHBOURS), device);
            routes.chain(neighbours).map(IpAddr::V4).filter(|host| !members.contains(host)).take(ASKED).collect()
        }
        IpAddr::V6(_) => {
            let routes = gateways_v6(&read(ROUTES_V6), device).into_iter();
            routes.map(IpAddr::V6).filter(|host| !members.contains(host)).take(ASKED).collect()
        }
    };
    if hosts.is_empty() {
        return None;
    }
    one_answers(interface, &hosts).ok()
}

/// Gateways of routes over a device: columns device, destination, gateway, flags, addresses in the order of memory.
fn gateways(table: &str, device: &str) -> Vec<Ipv4Addr> {
    let gateway = |line: &str| {
        let mut columns = line.split_whitespace();
        let (name, _destination, gateway) = (columns.next()?, columns.next()?, columns.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
        (name == device).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    };
    table.lines().skip(1).filter_map(gateway).collect()
}

/// Hosts that have been talked to over a device: columns address, type, flags, hardware address, mask, device.
fn neighbours(table: &str, device: &str) -> Vec<Ipv4Addr> {
    /// The hardware address is known (linux/if_arp.h, ATF_COM).
    const COMPLETE: u32 = 2;
    let neighbour = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, .., name] = columns.as_slice() else { return None };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        (*name == device && flags & COMPLETE != 0).then(|| address.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(neighbour).collect()
}

/// As [`gateways`]: destination, its length, source, its length, next hop, four numbers, device.
fn gateways_v6(table: &str, device: &str) -> Vec<Ipv6Addr> {
    let gateway = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (hop, name) = (columns.get(4)?, columns.last()?);
        let hop = u128::from_str_radix(hop, 16).ok().filter(|hop| *hop != 0)?;
        // A link-local next hop needs the device, which the socket is bound to.
        (*name == device).then(|| Ipv6Addr::from(hop))
    };
    table.lines().filter_map(gateway).collect()
}

/// Sends an echo request to each, and waits for the first reply.
fn one_answers(interface: &LocalInterface, hosts: &[IpAddr]) -> io::Result<bool> {
    let (domain, protocol, request, reply) = match interface.address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let socket = Socket::new(domain, Type::RAW.cloexec(), Some(protocol))?;
    socket.bind_device(Some(interface.carrier.name.as_bytes()))?;
    socket.bind(&SocketAddr::new(interface.address, 0).into())?;
    // The same system calls, with buffers that are initialised.
    let socket = UdpSocket::from(socket);
    // Replies to other programs arrive here as well; this tells ours.
    let mut identifier = [0; 2];
    getrandom::fill(&mut identifier).map_err(io::Error::other)?;
    for sequence in 1..=ATTEMPTS {
        let message = echo(request, identifier, sequence);
        for host in hosts {
            // One that cannot be reached is one that does not answer.
            let _sent = socket.send_to(&message, SocketAddr::new(*host, 0));
        }
        let deadline = Instant::now() + PATIENCE;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left))?;
            let mut buffer = [0; 1_500];
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { break };
            let received = buffer.get(..length).unwrap_or_default();
            let asked = hosts.contains(&from.ip());
            if asked && is_reply(received, interface.address.is_ipv4(), reply, identifier) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// An echo request. The kernel sums up those of ICMPv6 itself.
fn echo(kind: u8, identifier: [u8; 2], sequence: u16) -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = kind;
    message[4..6].copy_from_slice(&identifier);
    message[6..8].copy_from_slice(&sequence.to_be_bytes());
    message[8..].copy_from_slice(b"outside?");
    let sum: u32 = message.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Raw sockets of IPv4 give the IP header as well.
fn is_reply(received: &[u8], ipv4: bool, kind: u8, identifier: [u8; 2]) -> bool {
    let header = if ipv4 { received.first().map_or(0, |first| usize::from(first & 0xf) * 4) } else { 0 };
    let Some(message) = received.get(header..) else { return false };
    message.first() == Some(&kind) && message.get(4..6) == Some(&identifier[..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interface;

    #[test]
    fn gateways_and_neighbours_of_one_device_are_read() {
        let routes = "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t0101A8C0\t0003\neth1\t00000000\t0201A8C0\t0003\n\
                      eth0\t0001A8C0\t00000000\t0001\n";
        assert_eq!(gateways(routes, "eth0"), [Ipv4Addr::new(192, 168, 1, 1)]);
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.7         0x1         0x2         02:00:00:00:00:07     *        eth0\n\
                     10.0.0.8         0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     10.0.0.9         0x1         0x2         02:00:00:00:00:09     *        eth1\n";
        assert_eq!(neighbours(table, "eth0"), [Ipv4Addr::new(10, 0, 0, 7)]);
        let zeros = "0".repeat(32);
        let routes = format!(
            "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 0 0 00000003     eth0\n\
                              {zeros} 00 {zeros} 00 {zeros} 00000400 0 0 00000001     eth0\n"
        );
        assert_eq!(gateways_v6(&routes, "eth0"), ["fe80::1".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn a_request_has_the_checksum_of_the_internet() {
        let message = echo(8, [0x12, 0x34], 1);
        let sum: u32 = message.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        let reply = [&[0x45; 1][..], &[0; 19], &echo(0, [0x12, 0x34], 1)].concat();
        assert!(is_reply(&reply, true, 0, [0x12, 0x34]) && !is_reply(&reply, true, 0, [0x12, 0x35]));
        assert!(!is_reply(&[], true, 0, [0, 0]) && !is_reply(&[0x4f], true, 0, [0, 0]));
    }

    /// Needs CAP_NET_RAW, as the node does; without it nothing is asked, and nothing is claimed.
    #[test]
    fn loopback_answers_and_nobody_else_does() {
        let named = || Interface { name: "lo".to_owned(), index: 1 };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let interface = LocalInterface { network: 1, address, carrier: named(), attach: named() };
        match one_answers(&interface, &[address]) {
            Ok(answers) => {
                assert!(answers);
                assert!(!one_answers(&interface, &["192.0.2.1".parse().unwrap()]).unwrap());
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
        assert_eq!(answer(&interface, &[address].into()), None, "there is nobody outside on loopback");
    }
}
