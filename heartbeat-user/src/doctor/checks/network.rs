//! The networks beside each other, and what passes on them.

use std::net::IpAddr;

use super::{NAME_THE_CONFIG, START_THE_NODE};
use crate::doctor::{Facts, Findings, InterfaceFacts};
use crate::status::LinkState;

/// Heartbeats to this node's address in the time of looking before it counts that none came to the group: less may be chance.
const ENOUGH: u64 = 3;
/// Control messages seen by XDP before it counts that no peer has proved itself: a handshake takes three, each on all networks.
const CONTROL_ENOUGH: u64 = 24;

pub(super) fn one_network(facts: &Facts, found: &mut Findings) {
    let Some(config) = found.known(&facts.config, NAME_THE_CONFIG) else { return };
    if let [only] = config.networks.as_slice() {
        found.wrong(
            format!(
                "all heartbeats go over one network ({}): a cable or switch port looks like a dead node",
                only.name
            ),
            "add a second [[network]] on its own adapter and switch",
        );
    }
}

pub(super) fn shared_device(facts: &Facts, found: &mut Findings) {
    for_each_pair(facts, found, |one, other, found| {
        if let Some(device) = one.devices.iter().find(|device| other.devices.contains(device)) {
            found.wrong(
                format!("networks {} and {} both run over {device}: they fail together", one.network, other.network),
                "give each network an adapter of its own",
            );
        }
    });
}

pub(super) fn shared_subnet(facts: &Facts, found: &mut Findings) {
    for_each_pair(facts, found, |one, other, found| {
        let (Some((here, length)), Some((there, _))) = (one.address, other.address) else { return };
        if prefix(here, length).is_some() && prefix(here, length) == prefix(there, length) {
            found.wrong(
                format!(
                    "networks {} and {} are in one subnet ({here}/{length}, {there}): the kernel sends both over one interface",
                    one.network, other.network
                ),
                "give each network a subnet of its own",
            );
        }
    });
}

pub(super) fn multicast(facts: &Facts, found: &mut Findings) {
    let Some(config) = found.known(&facts.config, NAME_THE_CONFIG) else { return };
    let groups: Vec<_> = config.networks.iter().filter(|network| network.multicast).collect();
    if groups.is_empty() {
        return;
    }
    let Some(node) = found.known(&facts.node, START_THE_NODE) else { return };
    let Some(group) = found.known(&node.group_heartbeats, "run the doctor as root, with the node's configuration")
    else {
        return;
    };
    let Some(unicast) = found.known(&node.unicast_heartbeats, "run the doctor as root") else { return };
    for network in groups {
        for (peer, id, count) in unicast.iter().filter(|(_, id, count)| *id == network.id && *count >= ENOUGH) {
            if group.iter().any(|(other, network, count)| other == peer && network == id && *count == 0) {
                found.wrong(
                    format!(
                        "from node {peer} on {}, {count} heartbeats came to this node's address and none to the group",
                        network.name
                    ),
                    "switch IGMP snooping off for the group, or add a querier; or set multicast = \"off\" for the network",
                );
            }
        }
    }
}

pub(super) fn firewall(facts: &Facts, found: &mut Findings) {
    if let Some(rules) =
        found.known(&facts.machine.firewall, "install nftables, or look at the rules yourself: UDP 3343")
    {
        for rule in blocking(rules) {
            found.wrong(
                format!("a rule keeps UDP 3343 out: {rule}"),
                "accept udp dport 3343 from the cluster's nodes: XDP takes heartbeats before the firewall, control \
                 messages and the socket dataplane need it",
            );
        }
    }
    let Ok(node) = &facts.node else { return };
    let control = node.status.counters.get("control_passed").copied().unwrap_or(0);
    let unproven = |peer: u16| node.status.nodes.iter().any(|other| other.id == peer && other.incarnation == 0);
    let all_new = node.links.iter().all(|link| link.state == LinkState::Init && unproven(link.peer));
    if !node.links.is_empty() && all_new && control >= CONTROL_ENOUGH {
        found.wrong(
            format!(
                "XDP let {control} control messages pass, and no peer could prove itself: they do not reach the node"
            ),
            "look for a rule that drops UDP 3343 on this machine or on the peers",
        );
    }
}

/// Rules that drop the port, and chains for incoming packets that drop what no rule accepts.
fn blocking(rules: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut closed: Option<String> = None;
    for line in rules.lines().map(str::trim) {
        let about_port = line.contains("3343");
        if about_port && (line.contains("drop") || line.contains("reject")) {
            found.push(line.to_owned());
        }
        if line.contains("hook input") && line.contains("policy drop") {
            closed = Some(line.to_owned());
        } else if about_port && line.contains("accept") || line == "accept" {
            closed = None;
        } else if line == "}" {
            found.extend(closed.take().map(|chain| format!("{chain} and nothing in it accepts the port")));
        }
    }
    found
}

fn for_each_pair(facts: &Facts, found: &mut Findings, judge: impl Fn(&InterfaceFacts, &InterfaceFacts, &mut Findings)) {
    let Some(interfaces) = found.known(&facts.interfaces, NAME_THE_CONFIG) else { return };
    for (index, one) in interfaces.iter().enumerate() {
        for other in interfaces.iter().skip(index + 1) {
            judge(one, other, found);
        }
    }
}

/// The first `length` bits of an address; nothing for a length that it does not have.
fn prefix(address: IpAddr, length: u8) -> Option<u128> {
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32_u32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let below = width.checked_sub(u32::from(length))?;
    // A shift by the whole width is no shift.
    Some(bits.checked_shr(below).unwrap_or(0))
}
