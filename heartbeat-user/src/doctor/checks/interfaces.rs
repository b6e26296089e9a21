//! The interfaces that carry the networks.

use super::NAME_THE_CONFIG;
use crate::doctor::{Facts, Findings, InterfaceFacts};
use crate::status::Mode;

/// The longest control message with its headers: 1,348 bytes of body, header and tag, UDP and IPv6 (docs/protocol.md).
const LEAST_MTU: u32 = 1_500;
/// Descriptors below which one burst of 200,000 frames a second that waits for 1 ms does not fit.
const FEW_DESCRIPTORS: u32 = 256;
/// Interrupts that are held back for longer are a visible part of an interval of 1 ms.
const MODERATION_US: u32 = 100;

pub(super) fn bond(facts: &Facts, found: &mut Findings) {
    for_each(facts, found, |interface, found| {
        let team = interface.driver.as_deref() == Some("team");
        if interface.bond || team {
            found.wrong(
                format!(
                    "{} ({}) is {}: while it fails over, heartbeats are lost, and one port's failure is hidden",
                    interface.name,
                    interface.network,
                    if team { "a team" } else { "a bond, or a port of one" }
                ),
                "make each port a [[network]] of its own; heartbeats need no bond",
            );
        }
    });
}

pub(super) fn mtu(facts: &Facts, found: &mut Findings) {
    for_each(facts, found, |interface, found| match interface.mtu {
        Some(mtu) if mtu < LEAST_MTU => found.wrong(
            format!(
                "{} ({}) has an MTU of {mtu}: long control messages are fragmented",
                interface.name, interface.network
            ),
            format!("set it to {LEAST_MTU} or more on all nodes and switches; fragments are never accepted"),
        ),
        Some(_) => {}
        None => found.unknown(format!("the MTU of {} cannot be read", interface.name), "look at `ip link`"),
    });
}

pub(super) fn rings(facts: &Facts, found: &mut Findings) {
    for_each(facts, found, |interface, found| {
        let name = &interface.name;
        if let Some(missed) = interface.missed.filter(|missed| *missed > 0) {
            found.wrong(
                format!("{name} ({}) had no room for {missed} frames since it is there", interface.network),
                format!("ethtool -G {name} rx MAXIMUM; spread its interrupts over more processors"),
            );
        }
        if let Some(rings) = interface.rings.filter(|rings| rings.now < FEW_DESCRIPTORS && rings.now < rings.most) {
            found.advice(
                format!("{name} ({}) uses {} of {} receive descriptors", interface.network, rings.now, rings.most),
                format!("ethtool -G {name} rx {}", rings.most),
            );
        }
    });
}

pub(super) fn offload(facts: &Facts, found: &mut Findings) {
    let generic = |name: &str| {
        facts.node.as_ref().is_ok_and(|node| {
            node.status.dataplane.interfaces.iter().any(|it| it.name == name && it.mode == Mode::Generic)
        })
    };
    for_each(facts, found, |interface, found| {
        if interface.lro == Some(true) {
            let text = format!("{} ({}) has LRO on", interface.name, interface.network);
            let remedy = format!("ethtool -K {} lro off", interface.name);
            if generic(&interface.name) {
                found.wrong(format!("{text}, and therefore perhaps no native XDP"), remedy);
            } else {
                found.advice(format!("{text}: most drivers refuse native XDP with it"), remedy);
            }
        }
        if interface.gro == Some(true) && generic(&interface.name) {
            found.advice(
                format!(
                    "{} ({}) has GRO on and XDP in generic mode, which runs behind it: heartbeats wait for the end of a batch, \
                     and may be merged",
                    interface.name, interface.network
                ),
                format!("ethtool -K {} gro off, or a driver with native XDP, which runs before it", interface.name),
            );
        }
    });
}

pub(super) fn moderation(facts: &Facts, found: &mut Findings) {
    for_each(facts, found, |interface, found| {
        if let Some(us) = interface.moderation_us.filter(|us| *us > MODERATION_US) {
            found.advice(
                format!("{} ({}) holds interrupts back for up to {us} us", interface.name, interface.network),
                format!(
                    "ethtool -C {} adaptive-rx off rx-usecs 10; it matters for intervals of a few ms",
                    interface.name
                ),
            );
        }
    });
}

fn for_each(facts: &Facts, found: &mut Findings, judge: impl Fn(&InterfaceFacts, &mut Findings)) {
    let Some(interfaces) = found.known(&facts.interfaces, NAME_THE_CONFIG) else { return };
    interfaces.iter().for_each(|interface| judge(interface, found));
}
