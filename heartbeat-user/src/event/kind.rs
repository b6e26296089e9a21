//! Every event that a node can report. docs/events.md has a row for each; a test compares.

use serde::{Deserialize, Serialize};

/// How urgent an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Something to look at.
    Warning,
    /// Something is broken.
    Error,
    /// Service is lost.
    Critical,
}

/// What an event number stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Number: those of Windows clusters below 9000, this project's own from there.
    pub id: u16,
    /// Name in JSON.
    pub name: &'static str,
    /// Severity, unless the one who reports it knows better.
    pub severity: Severity,
    /// Component in the cluster log.
    pub tag: &'static str,
    /// One line for people.
    pub meaning: &'static str,
}

macro_rules! kinds {
    ($($constant:ident = $id:literal, $name:literal, $severity:ident, $tag:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub static $constant: Kind =
                Kind { id: $id, name: $name, severity: Severity::$severity, tag: $tag, meaning: $meaning };
        )*

        /// Every kind, ascending by id.
        pub static KINDS: &[&Kind] = &[$(&$constant),*];
    };
}

kinds! {
    PRUNED = 1006, "pruned", Critical, "RGP", "This node stopped, because it could not reach every other node.";
    LINK_RESTORED = 1122, "link_restored", Info, "CHM", "Contact with a node on a network was made, or made again.";
    LINK_LOST = 1123, "link_lost", Warning, "CHM", "Contact with a node on a network was lost.";
    INTERFACE_UP = 1125, "interface_up", Info, "IM", "An interface works, and hears all others on its network.";
    INTERFACE_UNREACHABLE = 1126, "interface_unreachable", Warning, "IM", "An interface is not reached by some other; which end is at fault is not known.";
    INTERFACE_FAILED = 1127, "interface_failed", Error, "IM", "An interface has failed: its adapter, cable or switch port.";
    NETWORK_UP = 1128, "network_up", Info, "NM", "All available nodes on a network reach each other.";
    NETWORK_PARTITIONED = 1129, "network_partitioned", Error, "NM", "Some nodes on a network do not reach each other.";
    NETWORK_DOWN = 1130, "network_down", Error, "NM", "No available node can use a network.";
    NODE_REMOVED = 1135, "node_removed", Critical, "NM", "A node was removed from the view; it may have stopped or lost contact.";
    QUORUM_LOST = 1177, "quorum_lost", Critical, "QUORUM", "This node stopped, because quorum was lost.";
    SUPERSEDED = 5396, "superseded", Critical, "QUORUM", "This node stopped: another cluster was formed meanwhile, on the operator's word.";
    LOCAL_STALL = 9001, "local_stall", Warning, "CORE", "This machine or its controller stood still; nobody else is blamed for that time.";
    CONTROLLER_HUNG = 9002, "controller_hung", Error, "CORE", "The kernel of a node goes on beating, but its controller is frozen.";
    DATAPLANE_DEGRADED = 9003, "dataplane_degraded", Warning, "NETFT", "Heartbeats are received or sent in a worse way than was asked for.";
    REJECT_BURST = 9004, "reject_burst", Warning, "NETFT", "Datagrams on the cluster's port were refused; at most one event per reason in 10 s.";
    NODE_JOINED = 9005, "node_joined", Info, "JOIN", "A node joined the view.";
    NODE_LEFT = 9006, "node_left", Info, "JOIN", "A node left in order.";
    VIEW_INSTALLED = 9007, "view_installed", Info, "RGP", "The members of a new view agreed on it.";
    REMOVAL_SAFE = 9008, "removal_safe", Info, "NM", "A removed node can no longer act: what it did may be taken over.";
    SUSPENDED = 9009, "suspended", Error, "QUORUM", "The lease of this node ended: it may not act until it is renewed.";
    JUDGE_RESTARTED = 9010, "judge_restarted", Warning, "NETFT", "The judge in the kernel had stopped scanning, and was started again.";
    CONTROLLER_STARTED = 9011, "controller_started", Info, "CS", "The controller started: with the incarnation that it found, or with a new one and why.";
    CONFIG_DIFFERS = 9012, "config_differs", Error, "JOIN", "A node runs another configuration than this one, and is refused.";
    ABI_DIFFERS = 9013, "abi_differs", Info, "JOIN", "A node runs another version of the kernel records.";
    DUPLICATE_ID = 9014, "duplicate_id", Error, "JOIN", "Two machines run as one node; the later one is refused.";
    QUARANTINED = 9015, "quarantined", Warning, "JOIN", "A node was removed too often, and is kept out for a while.";
    QUARANTINE_REFUSED = 9016, "quarantine_refused", Warning, "JOIN", "A node that is kept out asked to be let in.";
    QUARANTINE_RELEASED = 9017, "quarantine_released", Info, "JOIN", "A node is not kept out any more.";
    CONFIG_STAGED = 9018, "config_staged", Info, "DM", "A configuration was staged on this node, taken back, or refused.";
    CONFIG_INSTALLED = 9019, "config_installed", Info, "DM", "All members changed to another configuration.";
    WITNESS_TAKEN = 9020, "witness_taken", Info, "QUORUM", "This node holds the witness.";
    WITNESS_LOST = 9021, "witness_lost", Warning, "QUORUM", "This node held the witness, and another does now.";
    OPERATOR_ORDER = 9030, "operator_order", Info, "CORE", "An operator ordered something over the control socket; who, and what.";
    STORAGE_FAILING = 9031, "storage_failing", Error, "CORE", "What the node writes to state_dir is not on disk; the node goes on.";
    STORAGE_RESTORED = 9032, "storage_restored", Info, "CORE", "What the node writes to state_dir is on disk again.";
    WITNESS_FAILED = 9040, "witness_failed", Error, "QUORUM", "The witness cannot be asked, or its newest record is damaged; its vote is missing meanwhile.";
    WITNESS_RESTORED = 9041, "witness_restored", Info, "QUORUM", "The witness answers again.";
    CONFIG_RELOADED = 9042, "config_reloaded", Info, "DM", "The configuration was read again; what changed at once, and what waits.";
    CONFIG_REFUSED = 9043, "config_refused", Warning, "DM", "The configuration was read again and changes nothing, because of what is wrong with it.";
}

/// The kind with this number.
#[must_use]
pub fn kind(id: u16) -> Option<&'static Kind> {
    place(id).map(|index| KINDS[index])
}

/// Where the kind with this number stands in [`KINDS`].
pub(super) fn place(id: u16) -> Option<usize> {
    KINDS.binary_search_by_key(&id, |kind| kind.id).ok()
}

impl Severity {
    /// Word in JSON and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// Level in the cluster log, which knows no more than these.
    #[must_use]
    pub fn cluster_log_level(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warning => "WARN",
            Self::Error | Self::Critical => "ERR",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/events.md");

    #[test]
    fn kinds_are_sorted_and_found() {
        assert!(KINDS.windows(2).all(|pair| pair[0].id < pair[1].id));
        for expected in KINDS {
            assert_eq!(kind(expected.id), Some(*expected));
        }
        assert_eq!(kind(1), None);
    }

    #[test]
    fn the_document_has_exactly_these_rows() {
        let rows: Vec<String> = DOCUMENT
            .lines()
            .filter(|line| line.starts_with("| ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_digit))
            .map(|line| line.split('|').map(str::trim).take(5).collect::<Vec<_>>().join("|"))
            .collect();
        let expected: Vec<String> = KINDS
            .iter()
            .map(|kind| format!("|{}|`{}`|{}|{}", kind.id, kind.name, kind.severity.as_str(), kind.meaning))
            .collect();
        assert_eq!(rows, expected, "docs/events.md and KINDS differ");
    }
}
