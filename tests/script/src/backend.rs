//! Where a script is played.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::language::Deed;

/// A cluster that has formed.
pub trait Backend {
    /// Time that has passed, nanoseconds.
    fn now_ns(&mut self) -> u64;

    /// The heartbeat interval, nanoseconds.
    fn interval_ns(&self) -> u64;

    /// How much later than a script says something may be found: what asking and answering takes.
    fn tolerance_ns(&self) -> u64;

    /// Lets time pass.
    ///
    /// # Errors
    /// When something has happened that must never happen, whatever the script says.
    fn pass(&mut self, length_ns: u64) -> Result<()>;

    /// Does something to the cluster.
    ///
    /// # Errors
    /// When it cannot be done.
    fn act(&mut self, deed: &Deed) -> Result<()>;

    /// Everything that was logged, in order, those before the script's beginning included.
    fn events(&mut self) -> Vec<Logged>;

    /// Numbers of events that only this kind of cluster logs, and that say nothing about membership.
    fn own_noise(&self) -> &'static [u16];

    /// A node at this moment.
    ///
    /// # Errors
    /// When it does not answer.
    fn node(&mut self, id: u16) -> Result<NodeState>;

    /// For how long the machine itself stood still since a place in the log, nanoseconds.
    fn stalls_ns(&mut self, place: usize) -> u64;

    /// The end: whatever the script said, what must hold always has held.
    ///
    /// # Errors
    /// When it has not.
    fn finish(&mut self) -> Result<()>;

    /// What the nodes have logged, for people.
    fn evidence(&mut self) -> String;
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Number.
    pub id: u16,
    /// Who logs.
    pub node: u16,
    /// Whom it is about.
    pub peer: Option<u16>,
    /// Name of the network that it is about.
    pub network: Option<String>,
    /// When, on the clock of the node that logs, nanoseconds.
    pub at_ns: u64,
    /// Stamp of the last heartbeat of the node that it is about, on the same clock, where the event tells it.
    pub last_heartbeat_ns: Option<u64>,
    /// The sentence for people.
    pub text: String,
}

/// A node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Members of its view.
    pub members: Option<Vec<u16>>,
    /// It may act: in a view, with a valid lease.
    pub quorate: bool,
    /// Its incarnation.
    pub incarnation: u64,
    /// Heartbeats that it has sent.
    pub sent: u64,
    /// What it has accepted of each other node: a number that moves with each heartbeat.
    pub accepted: BTreeMap<u16, u64>,
    /// Heartbeats that it has refused.
    pub refused: u64,
    /// State of each network.
    pub networks: BTreeMap<String, String>,
    /// State of each interface, by node and network.
    pub interfaces: BTreeMap<(u16, String), String>,
    /// Whom it keeps out.
    pub quarantined: Vec<u16>,
}
