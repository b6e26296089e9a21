//! `[[network]]`.

use std::net::IpAddr;

use toml::Spanned;

use crate::config::checker::{Checker, NameRule};
use crate::config::file;
use crate::config::model::{Multicast, Network, Role};

/// Networks on the wire; a link record per peer and network is held in the kernel.
const NETWORKS: i64 = 8;

/// What names of nodes and networks may be: they appear in tables, logs and file names.
pub(super) const NAME: NameRule = NameRule { longest: 63, free_text: false };

pub(super) fn networks(checker: &mut Checker<'_>, tables: &[Spanned<file::Network>]) -> Vec<Network> {
    if tables.is_empty() {
        checker.report_missing(None, "[[network]]", "at least one, with id, name and role");
    }
    let mut networks: Vec<Network> = Vec::new();
    for table in tables {
        if let Some(network) = network(checker, table, &networks) {
            networks.push(network);
        }
    }
    networks.sort_by_key(|network| network.id);
    networks
}

fn network(checker: &mut Checker<'_>, table: &Spanned<file::Network>, earlier: &[Network]) -> Option<Network> {
    let span = table.span();
    let table = table.get_ref();
    let id = match &table.id {
        Some(place) => {
            let id = checker.integer(&table.id, "[[network]] id", 1..=NETWORKS).and_then(|id| u8::try_from(id).ok());
            if let Some(other) = earlier.iter().find(|other| Some(other.id) == id) {
                checker.report(
                    place.span(),
                    "[[network]] id",
                    format!("{} is already the id of network `{}`", other.id, other.name),
                    "allowed: each id once, 1 to 8",
                );
            }
            id
        }
        None => {
            checker.report_missing(Some(span.clone()), "[[network]] id", "allowed: 1 to 8");
            None
        }
    };
    let Some(name) = &table.name else {
        checker.report_missing(Some(span), "[[network]] name", "the name that addresses and tables use");
        return None;
    };
    checker.name(name, "[[network]] name", &NAME);
    let name_span = name.span();
    let name = name.get_ref().clone();
    if earlier.iter().any(|other| other.name == name) {
        checker.report(
            name_span.clone(),
            "[[network]] name",
            format!("`{name}` is there twice"),
            "allowed: each name once",
        );
    }
    let key = |field: &str| format!("[[network]] `{name}` {field}");
    let roles = [("internal", Role::Internal), ("mixed", Role::Mixed), ("client", Role::Client)];
    let role = checker.word(&table.role, &key("role"), &roles);
    if table.role.is_none() {
        checker.report_missing(Some(span), key("role"), "allowed: \"internal\", \"mixed\", \"client\"");
    }
    let vlan = checker.integer(&table.vlan, &key("vlan"), 1..=4094).and_then(|vlan| u16::try_from(vlan).ok());
    let multicast = multicast(checker, table, &key("multicast"));
    checker.places.note(format!("network.{name}"), checker.line(&name_span));
    Some(Network {
        id: id.unwrap_or_default(),
        name,
        role: role.unwrap_or(Role::Internal),
        vlan,
        single_hop: table.single_hop.unwrap_or(true),
        multicast,
    })
}

fn multicast(checker: &mut Checker<'_>, table: &file::Network, key: &str) -> Multicast {
    let Some(value) = &table.multicast else { return Multicast::Off };
    match value.get_ref().as_str() {
        "off" => Multicast::Off,
        "auto" => Multicast::Auto,
        text => match text.parse::<IpAddr>() {
            Ok(group) if group.is_multicast() => Multicast::Group(group),
            Ok(_) | Err(_) => {
                let wrong = match text.parse::<IpAddr>() {
                    Ok(_) => format!("{text} is not a multicast address"),
                    Err(_) => format!("\"{text}\" is neither one of its words nor an address"),
                };
                checker.report(
                    value.span(),
                    key,
                    wrong,
                    "allowed: \"off\", \"auto\", or a group in 224.0.0.0/4 or ff00::/8",
                );
                Multicast::Off
            }
        },
    }
}
