//! Every family of metrics. docs/metrics.md has a row for each; a test compares.

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the process or the kernel's maps begin anew.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// A family of metrics.
#[derive(Debug)]
pub struct Family {
    /// Its name; counters end in `_total`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Names of the labels that each sample has, in this order.
    pub labels: &'static [&'static str],
    /// One line for people.
    pub meaning: &'static str,
}

macro_rules! families {
    ($($constant:ident = $name:literal, $kind:ident, [$($label:literal),*], $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub static $constant: Family =
                Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], meaning: $meaning };
        )*

        /// Every family, in the order in which they are shown.
        pub static FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    BUILD_INFO = "heartbeat_build_info", Gauge, ["version", "abi"], "Always 1: the program's version and that of its kernel records.";
    NODE_INFO = "heartbeat_node_info", Gauge, ["cluster", "node", "id", "config_digest"], "Always 1: who answers, and the digest of its configuration.";
    INCARNATION = "heartbeat_incarnation", Gauge, [], "Incarnation of this node; it changes when the node stopped and joined anew.";
    QUORATE = "heartbeat_quorate", Gauge, [], "1 while this node is in a view and its lease is valid: it may act.";
    SUSPENDED = "heartbeat_suspended", Gauge, [], "1 while this node is in a view and its lease has ended.";
    LEASE_LEFT = "heartbeat_lease_left_seconds", Gauge, [], "Time until the lease ends; 0 if it has.";
    VIEW_NUMBER = "heartbeat_view_number", Gauge, [], "Number of the installed view; 0 for none.";
    VIEW_MEMBERS = "heartbeat_view_members", Gauge, [], "Members of the installed view.";
    VIEW_VOTES = "heartbeat_view_votes", Gauge, [], "Votes of the members of the installed view, without a witness.";
    CONFIGURED_NODES = "heartbeat_configured_nodes", Gauge, [], "Nodes of the configuration.";
    CONFIGURED_VOTES = "heartbeat_configured_votes", Gauge, [], "Votes of the configuration, without a witness.";
    REGROUP_STAGE = "heartbeat_regroup_stage", Gauge, ["stage"], "The stage of the regroup; stabilized when none goes on.";
    REGROUP_SEQUENCE = "heartbeat_regroup_sequence", Gauge, [], "Number of the newest regroup.";
    NODE_STATE = "heartbeat_node_state", Gauge, ["peer", "state"], "State of a configured node, this one included.";
    NETWORK_STATE = "heartbeat_network_state", Gauge, ["network", "state"], "State of a network.";
    INTERFACE_STATE = "heartbeat_interface_state", Gauge, ["peer", "network", "state"], "State of a node's interface on a network.";
    LINK_STATE = "heartbeat_link_state", Gauge, ["peer", "network", "state"], "State of the link to a peer on a network.";
    PEER_CONFIG_DIFFERS = "heartbeat_peer_config_differs", Gauge, ["peer"], "1 if a peer runs another configuration than this node.";
    LINK_RECEIVED = "heartbeat_link_received_total", Counter, ["peer", "network"], "Heartbeats accepted on a link.";
    LINK_LOST = "heartbeat_link_lost_total", Counter, ["peer", "network"], "Sequence numbers of a link that never came.";
    LINK_DUPLICATES = "heartbeat_link_duplicates_total", Counter, ["peer", "network"], "Heartbeats of a link that came twice.";
    LINK_REORDERED = "heartbeat_link_reordered_total", Counter, ["peer", "network"], "Heartbeats of a link that came behind a newer one.";
    LINK_CONTROL_PASSED = "heartbeat_link_control_passed_total", Counter, ["peer", "network"], "Control messages of a link that were passed to the controller.";
    LINK_CONTROL_LIMITED = "heartbeat_link_control_limited_total", Counter, ["peer", "network"], "Control messages of a link that the token bucket dropped.";
    LINK_LAST_HEARD = "heartbeat_link_last_heard_seconds", Gauge, ["peer", "network"], "Time since the newest heartbeat of a link; absent before the first one.";
    LINK_CONTROLLER_AGE = "heartbeat_link_controller_age_seconds", Gauge, ["peer", "network"], "Age of the peer's controller by its newest heartbeat; absent before the first one.";
    INTER_ARRIVAL = "heartbeat_inter_arrival_seconds", Histogram, ["peer", "network"], "Time between two arrivals of a link. Its sum is taken from the middles of the buckets.";
    ROUND_TRIP = "heartbeat_round_trip_seconds", Histogram, ["peer", "network"], "Round trip of heartbeats and their echoes, without the time that the peer held them.";
    REJECTS = "heartbeat_rejects_total", Counter, ["reason"], "Datagrams that were refused.";
    ACCEPTED = "heartbeat_accepted_total", Counter, [], "Heartbeats accepted on all links.";
    CONTROL_PASSED = "heartbeat_control_passed_total", Counter, [], "Control messages passed to the controller.";
    CONTROL_LIMITED = "heartbeat_control_limited_total", Counter, [], "Control messages that the token buckets dropped.";
    CONTENDED = "heartbeat_contended_total", Counter, [], "Heartbeats that were not counted because another CPU was writing the record of the link.";
    SOCKET_HEARTBEATS_IGNORED = "heartbeat_socket_heartbeats_ignored_total", Counter, [], "Heartbeats that reached the socket of an interface that XDP serves.";
    CONTROL_REFUSED = "heartbeat_control_refused_total", Counter, [], "Control messages whose HMAC did not verify.";
    CORE_REFUSED = "heartbeat_core_refused_total", Counter, ["reason"], "Inputs of the protocol core that changed nothing.";
    DATAPLANE_MODE = "heartbeat_dataplane_mode", Gauge, ["interface", "network", "mode"], "How heartbeats are received on an interface.";
    DATAPLANE_DEGRADED = "heartbeat_dataplane_degraded", Gauge, [], "Steps that the data plane is below what was asked for.";
    ATTACHMENTS = "heartbeat_attachments_total", Counter, ["result"], "Interfaces that were made anew, or whose program somebody removed: renewed, or failed.";
    JUDGE_SCANS = "heartbeat_judge_scans_total", Counter, [], "Scans of the judge.";
    JUDGE_LONGEST_LATENESS = "heartbeat_judge_longest_lateness_seconds", Gauge, [], "Longest lateness of the judge's timer.";
    JUDGE_ARM_FAILURES = "heartbeat_judge_arm_failures_total", Counter, [], "Failures to arm the judge's timer.";
    STALLS = "heartbeat_stalls_total", Counter, [], "Stalls of this machine that the judge found.";
    REALTIME_GRANTED = "heartbeat_realtime_granted", Gauge, ["thread"], "1 if a thread has the real-time priority that it asked for.";
    SENDER_SENT = "heartbeat_sender_sent_total", Counter, [], "Datagrams that the sender handed to the kernel.";
    SENDER_FAILED = "heartbeat_sender_failed_total", Counter, [], "Datagrams of the sender that the kernel refused.";
    SENDER_SKIPPED_INTERVALS = "heartbeat_sender_skipped_intervals_total", Counter, [], "Intervals in which nothing was sent because the sender did not run.";
    SENDER_LONGEST_GAP = "heartbeat_sender_longest_gap_seconds", Gauge, [], "Longest time between two rounds of the sender.";
    SENDER_LATENESS = "heartbeat_sender_lateness_seconds", Histogram, [], "How late the sender woke. Its sum is taken from the middles of the buckets.";
    METRONOME_BEATS = "heartbeat_metronome_beats", Gauge, [], "1 while the kernel paces and sends the heartbeats.";
    METRONOME_LAPS = "heartbeat_metronome_laps_total", Counter, [], "Laps of the metronome's packet.";
    METRONOME_COPIES = "heartbeat_metronome_copies_total", Counter, ["result"], "Heartbeats of the metronome: sent, failed (an interface refused it), unresolved (no hardware address: the thread sent).";
    METRONOME_PACKETS_DROPPED = "heartbeat_metronome_packets_dropped_total", Counter, ["reason"], "Packets that the metronome took off its way: foreign, stale (of another seed), broken (not restored after a lap).";
    METRONOME_SEEDS = "heartbeat_metronome_seeds_total", Counter, [], "Times that the metronome's packet was put on its way.";
    METRONOME_TAKEOVERS = "heartbeat_metronome_takeovers_total", Counter, [], "Intervals in which the thread sent because the metronome had not.";
    REACTOR_PASSES = "heartbeat_reactor_passes_total", Counter, [], "Passes of the reactor.";
    REACTOR_LONGEST_PASS = "heartbeat_reactor_longest_pass_seconds", Gauge, [], "Longest pass of the reactor.";
    REACTOR_LONGEST_LATENESS = "heartbeat_reactor_longest_lateness_seconds", Gauge, [], "Longest time between a deadline of the reactor and the pass that served it.";
    REACTION = "heartbeat_reaction_seconds", Histogram, [], "Time between a verdict of the judge and the end of the pass in which the core acted on it.";
    CONTROL_NOT_SENT = "heartbeat_control_not_sent_total", Counter, [], "Control messages that the kernel did not take.";
    SOCKET_ERRORS = "heartbeat_socket_errors_total", Counter, [], "Errors that reading a socket gave: answers of ICMP for the most part.";
    TIMER_FAILURES = "heartbeat_timer_failures_total", Counter, ["thread"], "Failures to set a timer, or to wait for it.";
    NOTICES_STALE = "heartbeat_notices_stale_total", Counter, [], "Verdicts about incarnations that are no longer accepted.";
    DROPPED = "heartbeat_dropped_total", Counter, ["queue"], "What a full queue lost: see below.";
    EVENTS = "heartbeat_events_total", Counter, ["id", "name"], "Events of this process.";
    EVENT_LOG_WRITTEN = "heartbeat_event_log_written_total", Counter, [], "Events written to disk.";
    EVENT_LOG_FAILED = "heartbeat_event_log_failed_total", Counter, [], "Events that the disk refused.";
    RECORDING_WRITTEN = "heartbeat_recording_written_total", Counter, [], "Inputs and actions of the core that were recorded.";
    RECORDING_FAILED = "heartbeat_recording_failed_total", Counter, [], "Inputs and actions of the core that the disk refused.";
    STATE_DIR_FAILING = "heartbeat_state_dir_failing", Gauge, [], "1 while what the node writes to state_dir is not on disk.";
    HOOKS = "heartbeat_hooks_total", Counter, ["hook", "result"], "Hooks that ended: ok, or failed.";
    API_CLIENTS = "heartbeat_api_clients_total", Counter, ["result"], "Clients of the control socket: accepted, refused for there were too many, slow and cut off.";
    API_REQUESTS_FAILED = "heartbeat_api_requests_failed_total", Counter, [], "Requests on the control socket that were answered with an error.";
    METRICS_CLIENTS = "heartbeat_metrics_clients_total", Counter, ["result"], "Clients of the metrics address: accepted, refused for there were too many, slow and cut off.";
    RELOADS = "heartbeat_reloads_total", Counter, ["result"], "Readings of the configuration after the start: applied, unchanged, or refused.";
    CONFIGURATION_STAGED = "heartbeat_configuration_staged", Gauge, [], "1 while a configuration waits until all members have it.";
    WITNESS_CONFIGURED = "heartbeat_witness_configured", Gauge, [], "1 if this node has a witness.";
    WITNESS_HELD = "heartbeat_witness_held", Gauge, [], "1 while this node counts the witness's vote.";
    WITNESS_EPOCH = "heartbeat_witness_epoch", Gauge, [], "Newest epoch of the witness as last seen; 0 for none.";
    WITNESS_OPERATIONS = "heartbeat_witness_operations_total", Counter, ["result"], "Operations on the witness: ok, failed, or refused because one was under way.";
    WITNESS_BUSY = "heartbeat_witness_busy_seconds", Gauge, [], "How long the operation on the witness that is under way has taken so far; 0 for none.";
    WITNESS_LONGEST = "heartbeat_witness_longest_seconds", Gauge, [], "Longest operation on the witness.";
}

impl Kind {
    /// The word of the documentation, and of the text format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

    #[test]
    fn the_document_has_exactly_these_rows() {
        let rows: Vec<String> = DOCUMENT
            .lines()
            .filter(|line| line.starts_with("| `heartbeat_"))
            .map(|line| line.split('|').map(str::trim).take(5).collect::<Vec<_>>().join("|"))
            .collect();
        let row = |family: &&Family| {
            let labels = family.labels.join(", ");
            format!("|`{}`|{}|{labels}|{}", family.name, family.kind.as_str(), family.meaning)
        };
        let expected: Vec<String> = FAMILIES.iter().map(row).collect();
        assert_eq!(rows, expected, "docs/metrics.md and FAMILIES differ");
    }

    #[test]
    fn names_are_unique_and_of_the_usual_form() {
        let names: std::collections::BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        for family in FAMILIES {
            let name = family.name;
            assert!(name.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
        }
    }
}
