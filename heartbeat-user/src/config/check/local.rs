//! `[local]` and `[metrics]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;

use super::nodes::known_networks;
use crate::config::checker::Checker;
use crate::config::file::{self, Value};
use crate::config::model::{Dataplane, Hooks, Local, LogLevel, Network, Node, Sender, Watchdog};

/// Above the threaded interrupt handlers at 50: a real-time thread below them waits for every one of them.
const DEFAULT_RT_PRIORITY: i64 = 60;

/// Linux: IFNAMSIZ is 16, with the terminating zero.
const LONGEST_INTERFACE_NAME: usize = 15;

/// Linux: sun_path is 108 bytes, with the terminating zero.
const LONGEST_SOCKET_PATH: usize = 107;

pub(super) fn local(
    checker: &mut Checker<'_>,
    table: Option<&Spanned<file::Local>>,
    nodes: &[Node],
    networks: &[Network],
    host_name: &str,
) -> Local {
    let empty = file::Local::default();
    let span = table.map(Spanned::span);
    let table = table.map_or(&empty, Spanned::get_ref);
    let node = local_node(checker, &table.node, span, nodes, host_name);
    let senders = [("auto", Sender::Auto), ("realtime", Sender::Realtime), ("metronome", Sender::Metronome)];
    let dataplanes = [
        ("auto", Dataplane::Auto),
        ("native", Dataplane::Native),
        ("generic", Dataplane::Generic),
        ("socket", Dataplane::Socket),
    ];
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    let levels = levels.map(|level| (level.as_str(), level));
    let watchdogs = [("alive", Watchdog::Alive), ("quorate", Watchdog::Quorate)];
    let rt_priority = checker.integer(&table.rt_priority, "[local] rt_priority", 1..=99).unwrap_or(DEFAULT_RT_PRIORITY);
    Local {
        node: node.map(|node| node.id).unwrap_or_default(),
        interfaces: interfaces(checker, table, node, networks),
        sender: checker.word(&table.sender, "[local] sender", &senders).unwrap_or(Sender::Auto),
        dataplane: checker.word(&table.dataplane, "[local] dataplane", &dataplanes).unwrap_or(Dataplane::Auto),
        rt_priority: u8::try_from(rt_priority).unwrap_or_default(),
        state_dir: directory(checker, &table.state_dir, "state_dir", "/var/lib/heartbeat"),
        run_dir: run_dir(checker, &table.run_dir),
        bpf_dir: directory(checker, &table.bpf_dir, "bpf_dir", "/sys/fs/bpf/heartbeat"),
        log: checker.word(&table.log, "[local] log", &levels),
        watchdog: checker.word(&table.watchdog, "[local] watchdog", &watchdogs).unwrap_or(Watchdog::Alive),
        hooks: table.hooks.as_ref().map(|hooks| self::hooks(checker, hooks.get_ref())).unwrap_or_default(),
    }
}

fn local_node<'nodes>(
    checker: &mut Checker<'_>,
    value: &Value<String>,
    table: Option<std::ops::Range<usize>>,
    nodes: &'nodes [Node],
    host_name: &str,
) -> Option<&'nodes Node> {
    let known = || {
        let names: Vec<&str> = nodes.iter().take(16).map(|node| node.name.as_str()).collect();
        format!("allowed: the name of a [[node]]: {}{}", names.join(", "), if nodes.len() > 16 { ", ..." } else { "" })
    };
    if let Some(name) = value {
        let node = nodes.iter().find(|node| &node.name == name.get_ref());
        if node.is_none() {
            checker.report(name.span(), "[local] node", format!("there is no node `{}`", name.get_ref()), known());
        }
        return node;
    }
    let short = host_name.split('.').next().unwrap_or(host_name);
    let node =
        nodes.iter().find(|node| node.name == host_name).or_else(|| nodes.iter().find(|node| node.name == short));
    if node.is_none() && !nodes.is_empty() {
        let message =
            format!("no node has the name of this machine, `{host_name}`, and the file does not say which one it is");
        match table {
            Some(span) => checker.report(span, "[local] node", message, known()),
            None => checker.report_missing(None, format!("[local] node ({message})"), known()),
        }
    }
    node
}

fn interfaces(
    checker: &mut Checker<'_>,
    table: &file::Local,
    node: Option<&Node>,
    networks: &[Network],
) -> BTreeMap<u8, String> {
    let mut interfaces = BTreeMap::new();
    for (name, interface) in &table.interfaces {
        let key = format!("[local] interfaces.{}", name.get_ref());
        let Some(network) = networks.iter().find(|network| &network.name == name.get_ref()) else {
            checker.report(
                name.span(),
                key,
                format!("there is no network `{}`", name.get_ref()),
                known_networks(networks),
            );
            continue;
        };
        if let Some(node) = node
            && !node.addresses.contains_key(&network.id)
        {
            checker.report(
                name.span(),
                &key,
                format!("node `{}` has no address on network `{}`", node.name, network.name),
                "give it one, or leave the interface out",
            );
        }
        let text = interface.get_ref();
        let fits = (1..=LONGEST_INTERFACE_NAME).contains(&text.len());
        if !fits || text.bytes().any(|letter| letter == b'/' || letter == b':' || !letter.is_ascii_graphic()) {
            checker.report(
                interface.span(),
                key,
                format!("{text:?} cannot be the name of an interface"),
                "allowed: 1 to 15 characters, as `ip link` shows it",
            );
            continue;
        }
        checker.places.note(format!("local.interfaces.{}", network.name), checker.line(&interface.span()));
        interfaces.insert(network.id, text.clone());
    }
    interfaces
}

fn directory(checker: &mut Checker<'_>, value: &Value<String>, field: &str, default: &str) -> PathBuf {
    if let Some(value) = value {
        checker.places.note(format!("local.{field}"), checker.line(&value.span()));
    }
    checker.absolute_path(value, &format!("[local] {field}")).unwrap_or_else(|| PathBuf::from(default))
}

fn run_dir(checker: &mut Checker<'_>, value: &Value<String>) -> PathBuf {
    let path = directory(checker, value, "run_dir", "/run/heartbeat");
    let socket = crate::api::socket_path(&path);
    if let Some(value) = value
        && socket.as_os_str().len() > LONGEST_SOCKET_PATH
    {
        checker.report(
            value.span(),
            "[local] run_dir",
            format!("the socket in it, {}, has {} bytes", socket.display(), socket.as_os_str().len()),
            format!("allowed: {LONGEST_SOCKET_PATH}; the kernel takes no longer path of a socket"),
        );
    }
    path
}

fn hooks(checker: &mut Checker<'_>, table: &file::Hooks) -> Hooks {
    Hooks {
        on_node_removed: checker.absolute_path(&table.on_node_removed, "[local] hooks.on_node_removed"),
        on_removal_safe: checker.absolute_path(&table.on_removal_safe, "[local] hooks.on_removal_safe"),
        on_quorum_lost: checker.absolute_path(&table.on_quorum_lost, "[local] hooks.on_quorum_lost"),
        on_view: checker.absolute_path(&table.on_view, "[local] hooks.on_view"),
    }
}

/// The address of `[metrics] listen`.
pub(super) fn listen_address(checker: &mut Checker<'_>, value: &Value<String>) -> Option<SocketAddr> {
    let value = value.as_ref()?;
    let address = value.get_ref().parse().ok();
    if address.is_none() {
        checker.report(
            value.span(),
            "[metrics] listen",
            format!("\"{}\" is not an address with a port", value.get_ref()),
            "allowed: such as \"127.0.0.1:9343\" or \"[::1]:9343\"",
        );
    }
    address
}
