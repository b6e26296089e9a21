//! An interface: /sys/class/net, and what its driver tells.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use nix::ifaddrs::getifaddrs;

use crate::config::LocalInterface;
use crate::doctor::facts::{InterfaceFacts, Rings};
use crate::{ethtool, interface_request};

/// Devices may be stacked on devices; more layers than this are a loop.
const MOST_LAYERS: usize = 8;

pub(super) fn facts(root: &Path, network: &str, interface: &LocalInterface) -> InterfaceFacts {
    let name = &interface.attach.name;
    let class = root.join("sys/class/net");
    let directory = class.join(name);
    InterfaceFacts {
        network: network.to_owned(),
        name: name.clone(),
        address: Some((
            interface.address,
            prefix_length(interface.address).unwrap_or(if interface.address.is_ipv4() { 32 } else { 128 }),
        )),
        driver: ethtool::driver(name).ok(),
        bond: [&interface.attach.name, &interface.carrier.name].into_iter().any(|name| is_bonded(&class.join(name))),
        devices: devices(&class, name),
        mtu: interface_request::mtu(name).ok(),
        missed: missed(&directory),
        rings: ethtool::receive_ring(name).ok().map(|ring| Rings { now: ring.now, most: ring.most }),
        lro: ethtool::merges_segments(name).ok(),
        gro: ethtool::merges_packets(name).ok(),
        moderation_us: ethtool::moderation_us(name).ok(),
        physical: directory.join("device").exists(),
    }
}

/// A bond, or a port of one.
fn is_bonded(directory: &Path) -> bool {
    directory.join("bonding").exists() || directory.join("master/bonding").exists()
}

/// What is at the bottom: the kernel links each device to those that it is stacked on.
fn devices(class: &Path, name: &str) -> Vec<String> {
    let mut bottom = BTreeSet::new();
    let mut layer = BTreeSet::from([name.to_owned()]);
    for _depth in 0..MOST_LAYERS {
        let mut below = BTreeSet::new();
        for device in &layer {
            let lower = lower(&class.join(device));
            if lower.is_empty() {
                bottom.insert(device.clone());
            }
            below.extend(lower);
        }
        if below.is_empty() {
            break;
        }
        layer = below;
    }
    bottom.into_iter().collect()
}

fn lower(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let name = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("lower_").map(str::to_owned);
    entries.flatten().filter_map(name).collect()
}

fn missed(directory: &Path) -> Option<u64> {
    let count = |name: &str| number(&directory.join("statistics").join(name));
    Some(count("rx_missed_errors")? + count("rx_fifo_errors").unwrap_or(0))
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Length of the prefix that the address has here.
fn prefix_length(address: IpAddr) -> Option<u8> {
    let entry = getifaddrs().ok()?.find(|entry| {
        entry.address.as_ref().is_some_and(|own| {
            own.as_sockaddr_in().map(|own| IpAddr::V4(own.ip())) == Some(address)
                || own.as_sockaddr_in6().map(|own| IpAddr::V6(own.ip())) == Some(address)
        })
    })?;
    let mask = entry.netmask?;
    let ones = match (mask.as_sockaddr_in(), mask.as_sockaddr_in6()) {
        (Some(mask), _) => mask.ip().to_bits().count_ones(),
        (None, Some(mask)) => mask.ip().to_bits().count_ones(),
        (None, None) => return None,
    };
    u8::try_from(ones).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_devices_at_the_bottom_are_found_through_vlans_and_bonds() {
        let root = tempfile::tempdir().expect("a folder");
        let class = root.path();
        for path in
            ["vlan7/lower_bond0", "bond0/lower_eth0", "bond0/lower_eth1", "bond0/bonding", "eth0", "eth1", "eth2"]
        {
            fs::create_dir_all(class.join(path)).expect("a folder");
        }
        assert_eq!(devices(class, "vlan7"), ["eth0", "eth1"]);
        assert_eq!(devices(class, "eth2"), ["eth2"]);
        assert!(is_bonded(&class.join("bond0")) && !is_bonded(&class.join("eth2")));
    }

    #[test]
    fn missed_frames_are_those_of_the_device_and_of_its_queue() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join("statistics")).expect("a folder");
        assert_eq!(missed(root.path()), None);
        for (name, count) in [("rx_missed_errors", "3\n"), ("rx_fifo_errors", "4\n")] {
            fs::write(root.path().join("statistics").join(name), count).expect("a file");
        }
        assert_eq!(missed(root.path()), Some(7));
    }
}
