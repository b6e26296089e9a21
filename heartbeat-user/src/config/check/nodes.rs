//! `[[node]]` and `[quorum]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use toml::Spanned;

use super::networks::NAME;
use crate::config::checker::Checker;
use crate::config::file;
use crate::config::model::{Multicast, Network, Node, Quorum, QuorumMode, Timing, TwoNode};

/// A network file system may answer that late in ordinary life.
const LEAST_RECORD_LEASE_NS: u64 = 5_000_000_000;
const LONGEST_RECORD_LEASE_NS: u64 = 600_000_000_000;
const DEFAULT_RECORD_LEASE_NS: u64 = LEAST_RECORD_LEASE_NS;

/// Node ids on the wire; the kernel's maps are sized for them.
const NODES: i64 = 1024;

pub(super) fn nodes(checker: &mut Checker<'_>, tables: &[Spanned<file::Node>], networks: &[Network]) -> Vec<Node> {
    if tables.is_empty() {
        checker.report_missing(None, "[[node]]", "one per node, with id, name and addresses");
    }
    let mut nodes: Vec<Node> = Vec::new();
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    for table in tables {
        if let Some(node) = node(checker, table, networks, &nodes, &mut owners) {
            nodes.push(node);
            spans.push(table.span());
        }
    }
    one_family_per_network(checker, tables, networks);
    if checker.problems.is_empty() {
        every_pair_shares_a_network(checker, &nodes, &spans, networks);
    }
    nodes.sort_by_key(|node| node.id);
    nodes
}

fn node(
    checker: &mut Checker<'_>,
    table: &Spanned<file::Node>,
    networks: &[Network],
    earlier: &[Node],
    owners: &mut BTreeMap<IpAddr, String>,
) -> Option<Node> {
    let span = table.span();
    let table = table.get_ref();
    let id = match &table.id {
        Some(place) => {
            let id = checker.integer(&table.id, "[[node]] id", 1..=NODES).and_then(|id| u16::try_from(id).ok());
            if let Some(other) = earlier.iter().find(|other| Some(other.id) == id) {
                checker.report(
                    place.span(),
                    "[[node]] id",
                    format!("{} is already the id of node `{}`", other.id, other.name),
                    "allowed: each id once, 1 to 1024",
                );
            }
            id
        }
        None => {
            checker.report_missing(Some(span.clone()), "[[node]] id", "allowed: 1 to 1024");
            None
        }
    };
    let Some(name) = &table.name else {
        checker.report_missing(Some(span), "[[node]] name", "the host name of the node");
        return None;
    };
    checker.name(name, "[[node]] name", &NAME);
    if earlier.iter().any(|other| &other.name == name.get_ref()) {
        checker.report(
            name.span(),
            "[[node]] name",
            format!("`{}` is there twice", name.get_ref()),
            "allowed: each name once",
        );
    }
    let name = name.get_ref().clone();
    let votes = checker.integer(&table.votes, &format!("[[node]] `{name}` votes"), 0..=255).unwrap_or(1);
    let addresses = addresses(checker, table, &name, networks, owners);
    let watched =
        networks.iter().any(|network| network.role.carries_membership() && addresses.contains_key(&network.id));
    if !watched && !networks.is_empty() && table.addresses.len() == addresses.len() {
        checker.report(
            span,
            format!("[[node]] `{name}` addresses"),
            "there is no address on any internal or mixed network",
            "at least one, such as addresses = { private = \"10.0.0.1\" }",
        );
    }
    Some(Node { id: id.unwrap_or_default(), name, votes: u32::try_from(votes).unwrap_or_default(), addresses })
}

fn addresses(
    checker: &mut Checker<'_>,
    table: &file::Node,
    node: &str,
    networks: &[Network],
    owners: &mut BTreeMap<IpAddr, String>,
) -> BTreeMap<u8, IpAddr> {
    let mut addresses = BTreeMap::new();
    for (network, value) in &table.addresses {
        let key = format!("[[node]] `{node}` addresses.{}", network.get_ref());
        let Some(network) = networks.iter().find(|candidate| &candidate.name == network.get_ref()) else {
            checker.report(
                network.span(),
                key,
                format!("there is no network `{}`", network.get_ref()),
                known_networks(networks),
            );
            continue;
        };
        let Some(address) = value.get_ref().parse::<IpAddr>().ok().filter(|address| usable(*address)) else {
            checker.report(
                value.span(),
                key,
                format!("\"{}\" is not the address of a node", value.get_ref()),
                "allowed: one unicast IPv4 or IPv6 address, without prefix length, port or zone; not link-local",
            );
            continue;
        };
        if let Some(owner) = owners.insert(address, format!("node `{node}` on network `{}`", network.name)) {
            checker.report(
                value.span(),
                key,
                format!("{address} is already the address of {owner}"),
                "allowed: each address once",
            );
        }
        checker.places.note(format!("node.{node}.addresses.{}", network.name), checker.line(&value.span()));
        addresses.insert(network.id, address);
    }
    addresses
}

/// The names that `addresses` and `interfaces` may use.
pub(super) fn known_networks(networks: &[Network]) -> String {
    let names: Vec<&str> = networks.iter().map(|network| network.name.as_str()).collect();
    format!("allowed: {}", names.join(", "))
}

/// A link-local address names a node only together with an interface, which differs from node to node.
fn usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast() && !address.is_link_local()
        }
        IpAddr::V6(address) => {
            !address.is_unspecified()
                && !address.is_multicast()
                && !address.is_unicast_link_local()
                && address.to_ipv4_mapped().is_none()
        }
    }
}

/// One socket serves a network, so all addresses on it, and its group, are of one family.
fn one_family_per_network(checker: &mut Checker<'_>, tables: &[Spanned<file::Node>], networks: &[Network]) {
    for network in networks {
        let mut first: Option<(IpAddr, String)> = match network.multicast {
            Multicast::Group(group) => Some((group, "its multicast group".to_owned())),
            Multicast::Off | Multicast::Auto => None,
        };
        for table in tables {
            let node = table.get_ref().name.as_ref().map(|name| name.get_ref().as_str()).unwrap_or_default();
            for (name, value) in &table.get_ref().addresses {
                let Ok(address) = value.get_ref().parse::<IpAddr>() else { continue };
                if name.get_ref() != &network.name {
                    continue;
                }
                match &first {
                    None => first = Some((address, format!("that of `{node}`"))),
                    Some((other, owner)) if other.is_ipv4() != address.is_ipv4() => checker.report(
                        value.span(),
                        format!("[[node]] `{node}` addresses.{}", network.name),
                        format!("{address} and {other}, {owner}, are of two families"),
                        "allowed: IPv4 or IPv6 throughout one network; make a second network for the other",
                    ),
                    Some(_) => {}
                }
            }
        }
    }
}

/// Nodes that share no network for membership would wait for each other for ever.
fn every_pair_shares_a_network(
    checker: &mut Checker<'_>,
    nodes: &[Node],
    spans: &[Range<usize>],
    networks: &[Network],
) {
    let mask = |node: &Node| {
        let carrying = networks.iter().filter(|network| network.role.carries_membership());
        carrying
            .filter(|network| node.addresses.contains_key(&network.id))
            .fold(0u16, |mask, network| mask | 1u16.checked_shl(u32::from(network.id)).unwrap_or_default())
    };
    let masks: Vec<u16> = nodes.iter().map(mask).collect();
    for (later, node) in nodes.iter().enumerate() {
        let stranger = (0..later).find(|earlier| masks[*earlier] & masks[later] == 0);
        if let Some(stranger) = stranger {
            checker.report(
                spans[later].clone(),
                format!("[[node]] `{}` addresses", node.name),
                format!("it shares no internal or mixed network with `{}`", nodes[stranger].name),
                "every two nodes need one that both are on",
            );
            return;
        }
    }
}

pub(super) fn quorum(checker: &mut Checker<'_>, table: Option<&file::Quorum>, nodes: &[Node]) -> Quorum {
    let empty = file::Quorum::default();
    let table = table.unwrap_or(&empty);
    let default_tie_breaker = nodes.iter().find(|node| node.votes > 0).map(|node| node.id);
    if default_tie_breaker.is_none() && !nodes.is_empty() {
        checker.report_missing(None, "[[node]] votes of at least 1", "at least one node needs a vote");
    }
    let mut tie_breaker = default_tie_breaker.unwrap_or_default();
    if let Some(name) = &table.tie_breaker {
        match nodes.iter().find(|node| &node.name == name.get_ref() && node.votes > 0) {
            Some(node) => tie_breaker = node.id,
            None => checker.report(
                name.span(),
                "[quorum] tie_breaker",
                format!("there is no node `{}` that has a vote", name.get_ref()),
                "allowed: the name of a [[node]] with votes of at least 1",
            ),
        }
    }
    let witness = checker.absolute_path(&table.witness, "[quorum] witness");
    if let (Some(_), Some(name)) = (&table.witness, &table.tie_breaker) {
        checker.report(
            name.span(),
            "[quorum] tie_breaker",
            "there is a witness, whose vote decides instead",
            "leave one of the two out",
        );
    }
    let record_lease_ns = checker
        .duration(&table.record_lease, "[quorum] record_lease", LEAST_RECORD_LEASE_NS..=LONGEST_RECORD_LEASE_NS)
        .unwrap_or(DEFAULT_RECORD_LEASE_NS);
    let two_node = [("refuse", TwoNode::Refuse), ("tie-breaker", TwoNode::TieBreaker)];
    Quorum {
        mode: checker
            .word(&table.mode, "[quorum] mode", &[("majority", QuorumMode::Majority)])
            .unwrap_or(QuorumMode::Majority),
        tie_breaker,
        witness,
        record_lease_ns,
        two_node: checker.word(&table.two_node, "[quorum] two_node", &two_node).unwrap_or(TwoNode::Refuse),
    }
}

/// Who takes the witness's record from another waits, suspended, until that has lapsed on every clock, and for the witness
/// itself: the grace has to last for it.
pub(super) fn grace_with_witness(
    checker: &mut Checker<'_>,
    timing: &mut Timing,
    quorum: &Quorum,
    grace: Option<&Spanned<String>>,
) {
    let least_ns = 2 * quorum.record_lease_ns;
    if quorum.witness.is_none() || timing.grace_ns >= least_ns {
        return;
    }
    let least = crate::config::format_duration_ns(least_ns);
    match grace {
        Some(place) => checker.report(
            place.span(),
            "[timing] grace",
            format!("{} is shorter than twice the witness's record_lease", place.get_ref()),
            format!("allowed: {least} to 24h, or leave it out"),
        ),
        None => timing.grace_ns = least_ns,
    }
}
