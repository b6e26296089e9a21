//! What differs from system to system: how it is configured and started, and how its output reads.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

/// One node of a system's group: node 1 survives, the others are its peers.
pub(super) struct Place {
    /// From 1.
    pub(super) node: u16,
    /// All nodes of the group.
    pub(super) nodes: u16,
    /// For its files; it exists.
    pub(super) folder: PathBuf,
    /// As a careful operator would run it, rather than as packaged.
    pub(super) careful: bool,
}

/// The interface of every node; its address ends with the node's number.
pub(super) const INTERFACE: &str = "private";
/// Milliseconds between two messages.
pub(super) const INTERVAL_MS: u32 = 10;
/// Messages that may be missed.
pub(super) const MULTIPLIER: u32 = 3;
/// The survivor.
pub(super) const SURVIVOR: u16 = 1;

impl Place {
    /// Whom it watches: the survivor everybody, everybody the survivor.
    pub(super) fn watched(&self) -> Vec<u16> {
        if self.node == SURVIVOR { (2..=self.nodes).collect() } else { vec![SURVIVOR] }
    }

    /// A file in its folder, as text.
    pub(super) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Address of a node.
pub(super) fn address(node: u16) -> String {
    format!("10.77.1.{node}")
}

/// The node that an address belongs to.
pub(super) fn node_of(address: &str) -> Option<u16> {
    address.strip_prefix("10.77.1.")?.parse().ok()
}

/// What a node holds of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// There.
    Up,
    /// Gone, as the node found by itself.
    Silent,
    /// Gone, because the peer said so: no judgement of this node's own.
    Told,
}

/// How a system comes by a real-time priority and pinned memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// `chrt -f 60` before it; nothing pins its memory.
    Chrt,
    /// Options of its own, in its configuration.
    Options,
    /// It takes both as packaged: there is nothing to add.
    Packaged,
}

/// What a line of output tells of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) peer: u16,
    pub(super) state: State,
}

/// Where garbage for it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// A UDP port of the node's address.
    Port(u16),
    /// VRRP: protocol 112 to 224.0.0.18.
    Vrrp,
}

/// A system of somebody else.
pub(super) trait Adapter {
    /// Its name in the table.
    fn name(&self) -> &'static str;
    /// The program, whose absence shows that the package is missing.
    fn program(&self) -> &'static str;
    /// Packages of Debian that have it.
    fn packages(&self) -> &'static [&'static str];
    /// Its detection time as configured, in milliseconds.
    fn budget_ms(&self) -> f64;
    /// What garbage is sent to.
    fn door(&self) -> Door;
    /// Writes the configuration, and returns the arguments of the program.
    fn configure(&self, place: &Place) -> Result<Vec<String>>;
    /// What a careful operator does beyond the packaged state.
    fn care(&self) -> Care;
    /// Commands that start the program, before it. Each replaces itself by the next.
    fn before(&self, _place: &Place) -> Vec<String> {
        Vec::new()
    }
    /// Takes a line of its output apart. `node` is who printed it. A peer that is gone and was not up before is no loss,
    /// which is for the caller to see.
    fn read(&self, node: u16, line: &str) -> Vec<Reading>;
}
