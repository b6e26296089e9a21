//! Does this machine know that an interface of its own is broken: no carrier, switched off, its address or itself gone?
//!
//! The kernel says over netlink that something has changed; what is so is looked at afresh each time, so that a message
//! that was lost, or not understood, costs nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};

use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket},
};
use tokio::time::MissedTickBehavior;

use super::readable;
use crate::{
    config::LocalInterface,
    interface_request,
    reactor::queue::{Command, Mailbox},
};

/// Links, and addresses of both kinds (linux/rtnetlink.h).
const GROUPS: u32 = (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
/// Looked at even if nothing was said; also when the reactor had no room for the last change.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);
/// Attaching a program makes drivers take their carrier away for a moment, and the kernel tells up to a second late that
/// one is back (net/core/link_watch.c): what has not worked since the start is told only if it stays so.
const SETTLING: Duration = Duration::from_secs(2);
/// Larger than any message of the kernel about one interface; what is cut is not read anyway.
const MESSAGE_BYTES: usize = 4_096;

/// Tells the reactor whenever one of these interfaces breaks, or works again; until the task is dropped.
///
/// # Errors
/// When the kernel gives no netlink socket; the interfaces are then known from what is heard on them alone.
pub(super) async fn watch(interfaces: Vec<LocalInterface>, mailbox: Arc<Mailbox>) -> io::Result<()> {
    let changes = readable::descriptor(subscribe()?)?;
    let mut look = tokio::time::interval(LOOK_ANYWAY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // An interface that works is no news to a core that has just been built.
    let mut told: BTreeMap<u8, bool> = interfaces.iter().map(|interface| (interface.network, false)).collect();
    let mut seen_working = BTreeSet::new();
    let settled = tokio::time::sleep(SETTLING);
    tokio::pin!(settled);
    loop {
        tokio::select! {
            () = &mut settled, if !settled.is_elapsed() => {}
            ready = changes.readable() => {
                drain(changes.get_ref());
                ready?.clear_ready();
            }
            _ = look.tick() => {}
        }
        // Where the system does not say, nothing has changed.
        let Ok(addresses) = addresses() else { continue };
        for interface in &interfaces {
            let broken = is_broken(interface, &addresses);
            if !broken {
                seen_working.insert(interface.network);
            } else if !settled.is_elapsed() && !seen_working.contains(&interface.network) {
                continue;
            }
            if told.get(&interface.network) != Some(&broken)
                && mailbox.command(Command::InterfaceBroken { network: interface.network, broken })
            {
                told.insert(interface.network, broken);
            }
        }
    }
}

fn subscribe() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    Ok(descriptor)
}

/// Takes what has been said. That messages were lost (ENOBUFS) is one of the things that can be said.
fn drain(descriptor: &OwnedFd) {
    let mut buffer = [0; MESSAGE_BYTES];
    loop {
        match recv(descriptor.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(1..) | Err(nix::errno::Errno::ENOBUFS | nix::errno::Errno::EINTR) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// Which interface carries each address.
fn addresses() -> io::Result<Vec<(IpAddr, String)>> {
    let mut found = Vec::new();
    for entry in getifaddrs()? {
        let Some(address) = entry.address else { continue };
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let Some(address) = v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()))) else {
            continue;
        };
        // An IPv4 address can have a label behind the name.
        let name = entry.interface_name.split(':').next().unwrap_or_default().to_owned();
        found.push((address, name));
    }
    Ok(found)
}

fn is_broken(interface: &LocalInterface, addresses: &[(IpAddr, String)]) -> bool {
    let has_address =
        addresses.iter().any(|(address, name)| *address == interface.address && *name == interface.carrier.name);
    let works = |name: &str| match interface_request::flags(name) {
        Ok(flags) => flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0,
        // Gone. Any other refusal says nothing about the interface.
        Err(error) => error.raw_os_error() != Some(libc::ENODEV),
    };
    !has_address || !works(&interface.carrier.name) || !works(&interface.attach.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interface;

    #[test]
    fn loopback_works_and_what_is_not_there_is_broken() {
        let addresses = addresses().unwrap();
        let named = |name: &str| Interface { name: name.to_owned(), index: 1 };
        let at = |address: &str, name: &str| LocalInterface {
            network: 1,
            address: address.parse().unwrap(),
            carrier: named(name),
            attach: named(name),
        };
        assert!(!is_broken(&at("127.0.0.1", "lo"), &addresses), "{addresses:?}");
        assert!(is_broken(&at("127.9.9.9", "lo"), &addresses), "an address that nobody has");
        assert!(is_broken(&at("127.0.0.1", "nonesuch0"), &addresses), "an interface that is not there");
    }
}
