//! UDP sockets of the cluster networks: one for each, bound to its address and device, shared by reactor and sender.
//!
//! No SO_REUSEPORT and no connected sockets: either would steal control messages.

pub mod batch;
mod filter;
pub mod receive;

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use heartbeat_common::wire;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::LocalInterface;

/// Bytes of receive buffer: control messages of 1,023 peers at once, at most 1,452 bytes each.
const RECEIVE_BUFFER: usize = 2 << 20;

/// The sockets of one network.
#[derive(Debug)]
pub struct NetworkSocket {
    /// Network id.
    pub network: u8,
    device: String,
    unicast: Socket,
    group: Option<(Socket, SocketAddr)>,
    scope: u32,
}

/// A socket that could not be made. Nothing is bound.
#[derive(Debug, thiserror::Error)]
#[error("UDP port {port} of {address} on {device} cannot be used: {step}: {source}", port = wire::PORT)]
pub struct SocketError {
    address: IpAddr,
    device: String,
    step: &'static str,
    source: io::Error,
}

impl NetworkSocket {
    /// Binds the sockets of a network: its address, and its group if it has one.
    ///
    /// # Errors
    /// Which step failed, for which address and device.
    pub fn open(interface: &LocalInterface, group: Option<IpAddr>) -> Result<Self, SocketError> {
        let device = interface.carrier.name.as_str();
        let scope = interface.carrier.index;
        let fail = |address| {
            move |(step, source)| SocketError { address, device: interface.carrier.name.clone(), step, source }
        };
        let unicast = bound(device, socket_address(interface.address, scope)).map_err(fail(interface.address))?;
        send_options(&unicast, interface.address, scope).map_err(fail(interface.address))?;
        let group = group
            .map(|address| {
                let target = socket_address(address, scope);
                let socket = bound(device, target).and_then(|socket| {
                    join(&socket, address, interface.address, scope)
                        .map_err(|error| ("joining the group", error))
                        .map(|()| socket)
                });
                socket.map(|socket| (socket, target)).map_err(fail(address))
            })
            .transpose()?;
        if let Some((socket, target)) = &group
            && let Err(error) = filter::add(socket.as_fd(), device, target.ip())
        {
            // Drivers without a filter let everything through.
            tracing::debug!("{device} keeps no multicast filter for {}: {error}", target.ip());
        }
        Ok(Self { network: interface.network, device: device.to_owned(), unicast, group, scope })
    }

    /// Binds them to the interface of the same name that has been made anew; a group is joined there again.
    ///
    /// # Errors
    /// When the interface is not there, or the kernel refuses.
    pub fn rebind(&self) -> io::Result<()> {
        self.unicast.bind_device(Some(self.device.as_bytes()))?;
        let Some((socket, target)) = &self.group else { return Ok(()) };
        socket.bind_device(Some(self.device.as_bytes()))?;
        let scope = nix::net::if_::if_nametoindex(self.device.as_str())?;
        let own = self.unicast.local_addr()?.as_socket().map_or(target.ip(), |address| address.ip());
        match join(socket, target.ip(), own, scope) {
            // The kernel forgets memberships with the interface, and knows this one where it has not.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Takes the group out of the interface's filter: an orderly exit leaves nothing behind.
    pub fn forget_group(&self) {
        if let Some((socket, target)) = &self.group {
            // Where it could not be added it cannot be removed.
            let _removed = filter::remove(socket.as_fd(), &self.device, target.ip());
        }
    }

    /// Where a peer is reached on this network.
    #[must_use]
    pub fn address_of(&self, peer: IpAddr) -> SocketAddr {
        socket_address(peer, self.scope)
    }

    /// Where the group is reached, if there is one.
    #[must_use]
    pub fn group_address(&self) -> Option<SocketAddr> {
        self.group.as_ref().map(|(_, address)| *address)
    }

    /// The socket that sends, and that receives unicast.
    #[must_use]
    pub fn unicast(&self) -> BorrowedFd<'_> {
        self.unicast.as_fd()
    }

    /// The socket that receives what is sent to the group.
    #[must_use]
    pub fn group(&self) -> Option<BorrowedFd<'_>> {
        self.group.as_ref().map(|(socket, _)| socket.as_fd())
    }

    /// Datagrams that the kernel has dropped at these sockets since they were made, for the most part because the receive
    /// buffer was full; what it says of each counts to 2^32 and begins anew.
    ///
    /// # Errors
    /// What the system call says.
    pub fn dropped(&self) -> io::Result<u64> {
        let group = self.group.as_ref().map(|(socket, _)| dropped_at(socket)).transpose()?;
        Ok(u64::from(dropped_at(&self.unicast)?) + u64::from(group.unwrap_or(0)))
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// What the system call says; a datagram may be lost without one.
    pub fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.unicast.send_to(bytes, &to.into()).map(drop)
    }
}

impl AsRawFd for NetworkSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.unicast.as_raw_fd()
    }
}

type Step = (&'static str, io::Error);

fn socket_address(address: IpAddr, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, wire::PORT),
        IpAddr::V6(address) => {
            let scope = if needs_scope(address) { scope } else { 0 };
            SocketAddr::V6(SocketAddrV6::new(address, wire::PORT, 0, scope))
        }
    }
}

/// Link-local addresses and groups mean something only together with an interface.
fn needs_scope(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.is_multicast()
}

fn bound(device: &str, address: SocketAddr) -> Result<Socket, Step> {
    let step = |name| move |error| (name, error);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))
        .map_err(step("making a socket"))?;
    socket.bind_device(Some(device.as_bytes())).map_err(step("binding it to the device"))?;
    if address.is_ipv6() {
        socket.set_only_v6(true).map_err(step("restricting it to IPv6"))?;
    }
    socket.bind(&address.into()).map_err(step("binding it to the address"))?;
    // The kernel caps what it grants; a smaller buffer only loses control messages of a burst, which are repeated.
    let _granted = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).map_err(step("asking for receive stamps"))?;
    if address.is_ipv4() {
        option(&socket, libc::IPPROTO_IP, libc::IP_RECVTTL, 1).map_err(step("asking for the TTL"))?;
    } else {
        option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1).map_err(step("asking for the hop limit"))?;
    }
    Ok(socket)
}

fn send_options(socket: &Socket, own: IpAddr, scope: u32) -> Result<(), Step> {
    let step = |name| move |error| (name, error);
    let hops = i32::from(wire::TIME_TO_LIVE);
    let class = i32::from(wire::TRAFFIC_CLASS);
    match own {
        IpAddr::V4(address) => {
            option(socket, libc::IPPROTO_IP, libc::IP_TTL, hops).map_err(step("setting the TTL"))?;
            option(socket, libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, hops).map_err(step("setting the TTL"))?;
            option(socket, libc::IPPROTO_IP, libc::IP_TOS, class).map_err(step("setting DSCP CS6"))?;
            option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
                .map_err(step("forbidding fragments"))?;
            socket.set_multicast_if_v4(&address).map_err(step("choosing the interface for multicast"))?;
            socket.set_multicast_loop_v4(false).map_err(step("switching loopback of multicast off"))
        }
        IpAddr::V6(_) => {
            option(socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, hops).map_err(step("setting the hop limit"))?;
            option(socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, hops)
                .map_err(step("setting the hop limit"))?;
            option(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class).map_err(step("setting DSCP CS6"))?;
            option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
                .map_err(step("forbidding fragments"))?;
            socket.set_multicast_if_v6(scope).map_err(step("choosing the interface for multicast"))?;
            socket.set_multicast_loop_v6(false).map_err(step("switching loopback of multicast off"))
        }
    }
}

fn join(socket: &Socket, group: IpAddr, own: IpAddr, scope: u32) -> io::Result<()> {
    match (group, own) {
        (IpAddr::V4(group), IpAddr::V4(own)) => socket.join_multicast_v4(&group, &own),
        (IpAddr::V6(group), _) => socket.join_multicast_v6(&group, scope),
        (IpAddr::V4(_), IpAddr::V6(_)) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "group and address are of different families"))
        }
    }
}

/// What the kernel has dropped at one socket.
fn dropped_at(socket: &Socket) -> io::Result<u32> {
    /// Values that the kernel tells (`SK_MEMINFO_VARS`).
    const VALUES: usize = 9;
    /// The place of the drops among them (`SK_MEMINFO_DROPS`).
    const DROPS: usize = 8;
    let mut values = [0_u32; VALUES];
    let mut length = libc::socklen_t::try_from(size_of_val(&values)).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, which is the size of `values`; both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(values[DROPS]) } else { Err(io::Error::last_os_error()) }
}

/// An integer option that socket2 has no name for.
fn option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: `value` outlives the call and its size is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_buffer_loses_is_told() {
        const SENT: u32 = 200;
        let receiver = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP)).expect("a socket");
        receiver.set_recv_buffer_size(4096).expect("a small buffer");
        receiver.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
        let address = receiver.local_addr().expect("address");
        assert_eq!(dropped_at(&receiver).expect("the kernel tells"), 0);
        let sender = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
        for _ in 0..SENT {
            sender.send_to(&[0; 500], &address).expect("send");
        }
        let dropped = dropped_at(&receiver).expect("the kernel tells");
        let mut buffer = [0; receive::BUFFER_LENGTH];
        let mut kept = 0;
        while receive::receive(receiver.as_fd(), &mut buffer).expect("receive").is_some() {
            kept += 1;
        }
        assert!(dropped > 0 && kept > 0, "{dropped} dropped, {kept} kept");
        assert_eq!(dropped + kept, SENT);
    }
}
