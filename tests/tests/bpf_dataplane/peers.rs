//! Peers that beat, fall silent and come back, and what may be said of them.

use std::time::Duration;

use heartbeat_common::{
    ids::link_index,
    judge::is_before,
    notice::{NOTICE_LATE, NOTICE_SILENT, Notice},
    records::{ACTIVE_COUNTING, ACTIVE_LAST, ActiveRecord, TimingRecord},
    specimen::{Frame, Message},
};

use crate::rig::{Rig, timing};

/// Interval of the tests that wait for verdicts.
pub(crate) const INTERVAL: Duration = Duration::from_millis(20);
/// How often a living peer beats: often enough that this machine's own hesitations do not make it late.
pub(crate) const PERIOD: Duration = Duration::from_millis(5);

/// Above everything that competes for the processors on a test machine.
const PRIORITY: u8 = 60;

/// A peer on some networks, which can be made to beat.
pub(crate) struct Peer {
    node: u16,
    sequence: u64,
}

impl Peer {
    pub(crate) fn new(node: u16) -> Self {
        Self { node, sequence: 0 }
    }

    /// One heartbeat on each of these networks.
    pub(crate) fn beat(&mut self, rig: &mut Rig, networks: &[u8]) {
        self.sequence += 1;
        for network in networks {
            let mut message = Message::heartbeat(*network, self.sequence);
            message.header.source = self.node.to_be_bytes();
            message.header.sent_ns = (self.sequence * 1_000).to_be_bytes();
            rig.deliver(&Frame::unicast(*network, message).to_bytes());
        }
    }
}

/// The timing of [`INTERVAL`].
pub(crate) fn default_timing() -> TimingRecord {
    timing(INTERVAL)
}

/// A watched link, with its flags.
pub(crate) fn watch(node: u16, network: u8, flags: u32) -> ActiveRecord {
    ActiveRecord { link: link_index(node, network), flags }
}

/// The only link of a peer.
pub(crate) fn watch_alone(node: u16, network: u8) -> ActiveRecord {
    watch(node, network, ACTIVE_COUNTING | ACTIVE_LAST)
}

/// The calling thread acts as sender and reactor: it gets their priority.
pub(crate) fn take_priority() {
    heartbeat_user::realtime::become_realtime(PRIORITY).unwrap();
}

/// Is it a bad verdict on this peer?
pub(crate) fn accuses(notice: &Notice, node: u16) -> bool {
    matches!(notice.kind, NOTICE_LATE | NOTICE_SILENT) && notice.node == node
}

/// A bad verdict fell after its deadline, and not before its timeout since the newest stamp. Without a stall of this
/// machine the deadline is exactly the timeout after the stamp.
pub(crate) fn assert_due(notice: &Notice, base_ns: u64, rig: &Rig) {
    let timing = default_timing();
    let timeout_ns = if notice.kind == NOTICE_LATE { timing.late_ns } else { timing.silent_ns };
    let stalls = rig.judge().stalls;
    assert!(!is_before(notice.judged_ns, notice.deadline_ns), "{notice:#?}");
    let credit_ns = notice.deadline_ns - (base_ns + timeout_ns);
    if stalls.count == 0 {
        assert_eq!(credit_ns, 0, "{notice:#?}");
    } else {
        let most_ns = stalls.total_ns + timing.interval_ns + timing.slack_ns;
        assert!(credit_ns <= most_ns, "{credit_ns} ns of credit for {stalls:#?}: {notice:#?}");
    }
    println!(
        "judged {} us after the deadline, {} us of credit for {} stalls",
        (notice.judged_ns - notice.deadline_ns) / 1_000,
        credit_ns / 1_000,
        stalls.count
    );
}

/// A peer that beats may only be called late when this very test did not get round to beating for it.
pub(crate) fn assert_not_accused(notices: &[Notice], node: u16, network: u8, rig: &Rig) {
    let longest_gap_ns = rig.link(node, network).longest_gap_ns;
    for notice in notices.iter().filter(|notice| accuses(notice, node)) {
        assert!(
            longest_gap_ns >= default_timing().late_ns,
            "a living peer is accused, its longest gap is {longest_gap_ns} ns: {notice:#?}; {:#?}",
            rig.judge()
        );
        println!("the test itself paused for {longest_gap_ns} ns: {notice:?}");
    }
}
