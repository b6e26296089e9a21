//! What membership asks of the kernel's records, and what it learns from them.

use std::sync::atomic::Ordering;

use bytemuck::Zeroable as _;
use heartbeat_common::{
    ids,
    records::{LinkRecord, MEMBERSHIP_BYTES, MembershipRecord, NodeRecord},
};
use heartbeat_membership::{
    Incarnation, Input, NodeId,
    membership::{Echo, MembershipAction, MembershipInput, Newest, Record},
    regroup::Stage,
};

use super::{Loop, queue::Report};
use crate::{clock, dataplane::peers};

/// A reading that a stop has interrupted is repeated; one that takes this long by itself is not, for ever.
const READINGS: u32 = 2;

/// Memory of a reading of the link records, kept from pass to pass.
#[derive(Debug, Default)]
pub(super) struct Reading {
    accepted: Vec<(u16, u64)>,
    echoes: Vec<Echo>,
    hung: Vec<u16>,
}

impl Loop {
    /// Takes over what is known of the peers' clocks from the controller before, if one was here: the kernel remembers.
    pub(super) fn recall_arrivals(&mut self) {
        let memory = &self.dataplane.memory;
        for (node, incarnation) in &self.accepted {
            for network in 1..=ids::MAX_NETWORK {
                let index = ids::link_index(*node, network);
                let since_ns = memory.peers.read(index).map_or(u64::MAX, |peer| peer.since_ns);
                let mut arrivals = memory.past_arrivals(index);
                // What came before is of an earlier incarnation, which had another clock.
                arrivals.retain(|arrival| arrival.stamp_ns >= since_ns);
                self.clock_watch.recall(index, *incarnation, &arrivals);
            }
        }
    }

    /// Feeds what only the link records tell: new echoes, controllers that are frozen, a clock of ours that stood still.
    pub(super) fn feed_link_records(&mut self) {
        // What the core does in return may change who is accepted; the places that are iterated over here stay.
        let mut reading = std::mem::take(&mut self.reading);
        for _attempt in 0..READINGS {
            self.links_read_ns = clock::monotonic_ns();
            self.read_link_records(&mut reading);
            if !self.has_stood_still(clock::monotonic_ns()) {
                break;
            }
        }
        if let Some(length_ns) = self.clock_watch.stood_still() {
            self.feed(Input::Membership(MembershipInput::ClockStood { length_ns }));
        }
        if !reading.echoes.is_empty() {
            reading.echoes = self.feed_echoes(reading.echoes);
        }
        for node in reading.hung.drain(..) {
            self.feed(Input::Membership(MembershipInput::PeerHung { peer: NodeId(node) }));
        }
        self.reading = reading;
    }

    fn read_link_records(&mut self, reading: &mut Reading) {
        reading.accepted.extend(self.accepted.iter().map(|(node, incarnation)| (*node, *incarnation)));
        for (node, incarnation) in reading.accepted.drain(..) {
            let mut echo_ns = 0;
            for network in 1..=ids::MAX_NETWORK {
                let Some(link) = self.current_link(node, network) else { continue };
                self.clock_watch.observe(ids::link_index(node, network), incarnation, link.stamp_ns, link.sent_ns);
                self.statistics.round_trips.observe(ids::link_index(node, network), &link);
                if self.hang_watch.observe(node, incarnation, link.controller_beat, link.stamp_ns) {
                    reading.hung.push(node);
                }
                if self.counting.contains(&network) {
                    echo_ns = echo_ns.max(link.echo_sent_ns);
                }
            }
            if echo_ns > self.echoed.insert(node, echo_ns).unwrap_or(0) {
                let incarnation = Incarnation(incarnation);
                reading.echoes.push(Echo { peer: NodeId(node), incarnation, sent_ns: echo_ns });
            }
        }
    }

    /// Was this controller stopped since it read the link records? Then the core's clock may be ahead of what its kernel has
    /// booked, and it would find its lease over.
    pub(super) fn has_stood_still(&self, now_ns: u64) -> bool {
        self.links_read_ns != 0 && now_ns.saturating_sub(self.links_read_ns) > self.stall_threshold_ns
    }

    /// The record of a link, if it is of the incarnation that is accepted.
    fn current_link(&self, node: u16, network: u8) -> Option<LinkRecord> {
        let index = ids::link_index(node, network);
        let peer = self.dataplane.memory.peers.read(index)?;
        if peer.present == 0 || peer.incarnation == 0 {
            return None;
        }
        self.dataplane.memory.links.read_locked(index).filter(|link| link.epoch == peer.epoch && link.stamp_ns != 0)
    }

    pub(super) fn act_membership(&mut self, action: MembershipAction) {
        match action {
            MembershipAction::Persist(record) => self.persist(&record),
            MembershipAction::Bind { sequence, exclude } => {
                for peer in &exclude {
                    peers::clear(&self.dataplane.memory, peer.0);
                    self.accepted.remove(&peer.0);
                }
                let newest = exclude.iter().map(|peer| self.newest_stamp(*peer)).collect();
                self.feed(Input::Membership(MembershipInput::Bound { sequence, newest }));
            }
            MembershipAction::Lease { end_boot_ns } => {
                let node = &self.dataplane.memory.node;
                let before = node.word(0, std::mem::offset_of!(NodeRecord, lease_end_ns));
                let before_ns = before.map_or(0, |word| word.load(Ordering::Relaxed));
                // A lease that goes on is no news: status reads its end from NODE.
                self.changed |= end_boot_ns == 0 || before_ns <= clock::boottime_ns();
                self.set_node(std::mem::offset_of!(NodeRecord, lease_end_ns), end_boot_ns);
            }
            MembershipAction::Install(view) => {
                self.set_view(view.id.number);
            }
            MembershipAction::Witness(request) => self.ask_witness(request),
            MembershipAction::AskExternalHosts { network } => self.report(Report::AskExternalHosts(network.0)),
            MembershipAction::SwitchConfig { digest } => self.switch_config(digest),
            MembershipAction::Halt(_reason) => {
                self.set_view(0);
            }
        }
    }

    /// Newest stamp over all networks of a peer whose incarnation has just been cleared: it does not move any more.
    fn newest_stamp(&self, peer: NodeId) -> Newest {
        let stamp_ns = (1..=ids::MAX_NETWORK)
            .filter_map(|network| {
                let index = ids::link_index(peer.0, network);
                let epoch = self.dataplane.memory.peers.read(index)?.epoch;
                let link = self.dataplane.memory.links.read_locked(index)?;
                (link.epoch == epoch).then_some(link.stamp_ns)
            })
            .max()
            .unwrap_or(0);
        Newest { peer, stamp_ns }
    }

    fn persist(&mut self, record: &Record) {
        self.set_node(std::mem::offset_of!(NodeRecord, regroup_sequence), record.sequence);
        self.set_stage(record.stage);
        self.write_record(record);
        if record.epoch > self.epoch {
            self.awaited_epoch = Some(record.epoch);
            self.mailbox.demand_epoch(record.epoch);
        }
    }

    pub(super) fn epoch_persisted(&mut self, epoch: u32) {
        self.epoch = self.epoch.max(epoch);
        if self.awaited_epoch.is_some_and(|awaited| awaited <= self.epoch) {
            self.awaited_epoch = None;
        }
    }

    /// Writes the core's record where a restarted controller finds it; `length` is 0 while the bytes change.
    fn write_record(&mut self, record: &Record) {
        let memory = &self.dataplane.memory.membership;
        let Some(length) = memory.word(0, std::mem::offset_of!(MembershipRecord, length)) else { return };
        length.store(0, Ordering::SeqCst);
        // Its maps have text keys and its numbers are finite, which is all that can fail.
        let text = serde_json::to_vec(record).unwrap_or_default();
        if text.len() > MEMBERSHIP_BYTES {
            self.report(Report::RecordTooLong(text.len()));
            return;
        }
        for (word, chunk) in text.chunks(size_of::<u64>()).enumerate() {
            let mut bytes = [0; size_of::<u64>()];
            bytes[..chunk.len()].copy_from_slice(chunk);
            let offset = std::mem::offset_of!(MembershipRecord, bytes) + word * size_of::<u64>();
            if let Some(slot) = memory.word(0, offset) {
                slot.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            }
        }
        length.store(text.len() as u64, Ordering::SeqCst);
    }

    fn set_view(&mut self, number: u64) {
        self.dataplane.tables.node.view = number;
        self.set_node(std::mem::offset_of!(NodeRecord, view), number);
    }

    fn set_node(&self, offset: usize, value: u64) {
        if let Some(word) = self.dataplane.memory.node.word(0, offset) {
            word.store(value, Ordering::SeqCst);
        }
    }

    /// `stage` shares its word with `links`, which never changes.
    fn set_stage(&self, stage: Stage) {
        const OFFSET: usize = std::mem::offset_of!(NodeRecord, stage);
        const { assert!(OFFSET.is_multiple_of(8) && std::mem::offset_of!(NodeRecord, links) == OFFSET + 4) };
        let [a, b, c, d] = stage_number(stage).to_ne_bytes();
        let [e, f, g, h] = self.dataplane.tables.node.links.to_ne_bytes();
        self.set_node(OFFSET, u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// The stage as the NODE record has it; 0 is stabilized.
const fn stage_number(stage: Stage) -> u32 {
    match stage {
        Stage::Stabilized => 0,
        Stage::Activate => 1,
        Stage::Closing => 2,
        Stage::Pruning => 3,
        Stage::Cleanup1 => 4,
        Stage::Cleanup2 => 5,
    }
}

/// What an earlier controller's core wrote down; `None` where there is nothing, or nothing whole.
#[must_use]
pub fn written_record(memory: &crate::dataplane::memory::Memory) -> Option<Record> {
    let mut record = Box::new(MembershipRecord::zeroed());
    *record = memory.membership.read(0)?;
    let length = usize::try_from(record.length).ok().filter(|length| *length != 0)?;
    serde_json::from_slice(record.bytes.get(..length)?).ok()
}
