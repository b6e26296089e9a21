//! The metrics: what status shows and what the maps count, under the names of docs/metrics.md.

use std::sync::atomic::{AtomicU64, Ordering};

use heartbeat_common::{ABI_VERSION, ids, records::CounterRecord, reject::Reject};
use heartbeat_membership::Snapshot;

use super::{super::hooks, Engines, NodeSource};
use crate::{
    api::Source as _,
    clock,
    dataplane::memory::Memory,
    metrics::{Scrape, families, histogram::Buckets},
    status::{InterfaceState, Link, LinkState, Mode, NetworkState, NodeState, Stage, Status},
};

impl NodeSource {
    /// Everything that is counted and measured, as Prometheus reads it.
    pub(super) fn scrape(&self) -> String {
        let mut scrape = Scrape::default();
        let status = self.status();
        let snapshot = self.snapshot();
        let (rejects, counters) = self.counts();
        self.identity(&mut scrape, &status);
        self.membership(&mut scrape, &status, snapshot.as_ref());
        for link in &status.links {
            self.link(&mut scrape, link, &self.peer_name(link.peer));
        }
        for (reason, count) in Reject::ALL.into_iter().zip(rejects) {
            scrape.whole(&families::REJECTS, &[reason.name()], count);
        }
        self.dataplane_counts(&mut scrape, &status, &counters);
        if let Some(engines) = self.engines.get() {
            reactor(&mut scrape, engines);
            sender(&mut scrape, engines);
            self.pacing(&mut scrape);
        }
        self.rest(&mut scrape, &status);
        self.witness(&mut scrape, snapshot.as_ref());
        scrape.text()
    }

    fn identity(&self, scrape: &mut Scrape, status: &Status) {
        let node = &status.node;
        scrape.whole(&families::BUILD_INFO, &[&node.version, &ABI_VERSION.to_string()], 1);
        let labels = [status.cluster.as_str(), &node.name, &node.id.to_string(), &node.config_digest];
        scrape.whole(&families::NODE_INFO, &labels, 1);
        scrape.whole(&families::INCARNATION, &[], node.incarnation);
    }

    fn membership(&self, scrape: &mut Scrape, status: &Status, snapshot: Option<&Snapshot>) {
        let view = &status.view;
        let votes = |member: &dyn Fn(u16) -> bool| {
            status.nodes.iter().filter(|node| member(node.id)).map(|node| u64::from(node.votes)).sum()
        };
        let suspended = snapshot.and_then(|snapshot| snapshot.membership.as_ref()).is_some_and(|core| core.suspended);
        scrape.flag(&families::QUORATE, &[], view.quorate);
        scrape.flag(&families::SUSPENDED, &[], suspended);
        scrape.time(&families::LEASE_LEFT, &[], view.lease_left_ms.saturating_mul(1_000_000));
        scrape.whole(&families::VIEW_NUMBER, &[], view.number);
        scrape.whole(&families::VIEW_MEMBERS, &[], view.members.len() as u64);
        scrape.whole(&families::VIEW_VOTES, &[], votes(&|id| view.members.contains(&id)));
        scrape.whole(&families::CONFIGURED_NODES, &[], status.nodes.len() as u64);
        scrape.whole(&families::CONFIGURED_VOTES, &[], votes(&|_| true));
        let stages = Stage::ALL.iter().map(|stage| stage.as_str());
        scrape.state(&families::REGROUP_STAGE, &[], stages, status.regroup.stage.as_str());
        scrape.whole(&families::REGROUP_SEQUENCE, &[], status.regroup.sequence);
        for node in &status.nodes {
            let words = NodeState::ALL.iter().map(|state| state.as_str());
            scrape.state(&families::NODE_STATE, &[&node.name], words, node.state.as_str());
            if node.id != status.node.id {
                scrape.flag(&families::PEER_CONFIG_DIFFERS, &[&node.name], node.config_differs);
            }
        }
        for network in &status.networks {
            let words = NetworkState::ALL.iter().map(|state| state.as_str());
            scrape.state(&families::NETWORK_STATE, &[&network.name], words, network.state.as_str());
        }
        for interface in &status.interfaces {
            let labels = [self.peer_name(interface.node), interface.network.clone()];
            let words = InterfaceState::ALL.iter().map(|state| state.as_str());
            let labels = labels.each_ref().map(String::as_str);
            scrape.state(&families::INTERFACE_STATE, &labels, words, interface.state.as_str());
        }
        for (reason, count) in snapshot.into_iter().flat_map(|snapshot| &snapshot.refused) {
            let reason = serde_json::to_value(reason).ok().and_then(|word| word.as_str().map(ToOwned::to_owned));
            scrape.whole(&families::CORE_REFUSED, &[&reason.unwrap_or_default()], *count);
        }
    }

    fn link(&self, scrape: &mut Scrape, link: &Link, peer: &str) {
        let labels = [peer, link.network.as_str()];
        let words = LinkState::ALL.iter().map(|state| state.as_str());
        scrape.state(&families::LINK_STATE, &labels, words, link.state.as_str());
        scrape.whole(&families::LINK_RECEIVED, &labels, link.received);
        scrape.whole(&families::LINK_LOST, &labels, link.lost);
        scrape.whole(&families::LINK_DUPLICATES, &labels, link.duplicates);
        scrape.whole(&families::LINK_REORDERED, &labels, link.reordered);
        let Some(network) = self.network_id(&link.network) else { return };
        let index = ids::link_index(link.peer, network);
        let memory: &Memory = &self.memory;
        if let Some(record) = memory.admission.read(index) {
            scrape.whole(&families::LINK_CONTROL_PASSED, &labels, record.passed);
            scrape.whole(&families::LINK_CONTROL_LIMITED, &labels, record.limited);
        }
        let epoch = memory.peers.read(index).map(|peer| peer.epoch);
        let current = memory.links.read_locked(index).filter(|link| Some(link.epoch) == epoch && link.stamp_ns != 0);
        if let Some(record) = current {
            let heard_ns = clock::monotonic_ns().saturating_sub(record.stamp_ns);
            scrape.time(&families::LINK_LAST_HEARD, &labels, heard_ns);
            let age_ns = u64::from(record.controller_age_ms) * 1_000_000;
            scrape.time(&families::LINK_CONTROLLER_AGE, &labels, age_ns);
        }
        if let Some(record) = memory.intervals.read(index) {
            scrape.histogram(&families::INTER_ARRIVAL, &labels, Buckets::without_sum(record.buckets));
        }
        if let Some(trips) = self.engines.get().and_then(|engines| engines.reactor.round_trips.read(index)) {
            scrape.histogram(&families::ROUND_TRIP, &labels, trips);
        }
    }

    fn dataplane_counts(&self, scrape: &mut Scrape, status: &Status, counters: &CounterRecord) {
        scrape.whole(&families::ACCEPTED, &[], counters.accepted);
        scrape.whole(&families::CONTROL_PASSED, &[], counters.control_passed);
        scrape.whole(&families::CONTROL_LIMITED, &[], counters.control_limited);
        scrape.whole(&families::CONTENDED, &[], counters.contended);
        scrape.whole(&families::SOCKET_HEARTBEATS_IGNORED, &[], load(&self.local_counts.ignored));
        scrape.whole(&families::DROPPED, &["ring"], counters.ring_full);
        for interface in &status.dataplane.interfaces {
            let words = Mode::ALL.iter().map(|mode| mode.as_str());
            let labels = [interface.name.as_str(), interface.network.as_str()];
            scrape.state(&families::DATAPLANE_MODE, &labels, words, interface.mode.as_str());
        }
        scrape.whole(&families::DATAPLANE_DEGRADED, &[], self.degradations().len() as u64);
        let attachments = &self.tallies.attachments;
        scrape.whole(&families::ATTACHMENTS, &["renewed"], load(&attachments.renewed));
        scrape.whole(&families::ATTACHMENTS, &["failed"], load(&attachments.failed));
        if let Some(judge) = self.memory.judge.read(0) {
            scrape.whole(&families::JUDGE_SCANS, &[], judge.scans);
            scrape.time(&families::JUDGE_LONGEST_LATENESS, &[], judge.latest_ns);
            scrape.whole(&families::JUDGE_ARM_FAILURES, &[], judge.arm_failures);
            scrape.whole(&families::STALLS, &[], judge.stalls.count);
        }
    }

    /// What the metronome did; zeros where the thread alone sends.
    fn pacing(&self, scrape: &mut Scrape) {
        let (books, standby, beats) = self.metronome().unwrap_or_default();
        scrape.flag(&families::METRONOME_BEATS, &[], beats);
        scrape.whole(&families::METRONOME_LAPS, &[], books.laps);
        for (result, count) in [("sent", books.sent), ("failed", books.failed), ("unresolved", books.unresolved)] {
            scrape.whole(&families::METRONOME_COPIES, &[result], count);
        }
        for (reason, count) in [("foreign", books.foreign), ("stale", books.stale), ("broken", books.broken)] {
            scrape.whole(&families::METRONOME_PACKETS_DROPPED, &[reason], count);
        }
        scrape.whole(&families::METRONOME_SEEDS, &[], standby.seeds);
        scrape.whole(&families::METRONOME_TAKEOVERS, &[], standby.takeovers);
    }

    /// Events, hooks and clients.
    fn rest(&self, scrape: &mut Scrape, status: &Status) {
        for (kind, total) in self.log.totals() {
            scrape.whole(&families::EVENTS, &[&kind.id.to_string(), kind.name], total);
        }
        scrape.whole(&families::EVENT_LOG_WRITTEN, &[], status.event_log.written);
        scrape.whole(&families::EVENT_LOG_FAILED, &[], status.event_log.failed);
        scrape.whole(&families::DROPPED, &["event_log"], status.event_log.dropped);
        scrape.whole(&families::RECORDING_WRITTEN, &[], status.recording.written);
        scrape.whole(&families::RECORDING_FAILED, &[], status.recording.failed);
        scrape.whole(&families::DROPPED, &["recording"], status.recording.dropped);
        scrape.flag(&families::STATE_DIR_FAILING, &[], status.recording.last_error.is_some());
        let tallies = self.tallies();
        scrape.whole(&families::DROPPED, &["hooks"], load(&tallies.hooks.dropped));
        for (hook, (ok, failed)) in hooks::NAMES.iter().zip(tallies.hooks.ok.iter().zip(&tallies.hooks.failed)) {
            scrape.whole(&families::HOOKS, &[hook, "ok"], load(ok));
            scrape.whole(&families::HOOKS, &[hook, "failed"], load(failed));
        }
        for (result, count) in
            [("accepted", &tallies.api.accepted), ("refused", &tallies.api.refused), ("slow", &tallies.api.slow)]
        {
            scrape.whole(&families::API_CLIENTS, &[result], load(count));
        }
        scrape.whole(&families::API_REQUESTS_FAILED, &[], load(&tallies.api.failed));
        for (result, count) in [
            ("accepted", &tallies.metrics.accepted),
            ("refused", &tallies.metrics.refused),
            ("slow", &tallies.metrics.slow),
        ] {
            scrape.whole(&families::METRICS_CLIENTS, &[result], load(count));
        }
        for (result, count) in [
            ("applied", &tallies.reloads.applied),
            ("unchanged", &tallies.reloads.unchanged),
            ("refused", &tallies.reloads.refused),
        ] {
            scrape.whole(&families::RELOADS, &[result], load(count));
        }
    }

    fn witness(&self, scrape: &mut Scrape, snapshot: Option<&Snapshot>) {
        let core = snapshot.and_then(|snapshot| snapshot.membership.as_ref());
        let held = core.and_then(|core| core.witness.as_ref()).is_some_and(|witness| witness.counts);
        scrape.flag(&families::CONFIGURATION_STAGED, &[], self.staged_digest().is_some());
        let report = self.witness_report();
        scrape.flag(&families::WITNESS_CONFIGURED, &[], report.is_some());
        scrape.flag(&families::WITNESS_HELD, &[], held);
        let report = report.unwrap_or_default();
        scrape.whole(&families::WITNESS_EPOCH, &[], report.standing.map_or(0, |standing| standing.epoch));
        for (result, count) in [
            ("ok", report.operations.saturating_sub(report.failures)),
            ("failed", report.failures),
            ("refused", report.refused),
        ] {
            scrape.whole(&families::WITNESS_OPERATIONS, &[result], count);
        }
        scrape.time(&families::WITNESS_BUSY, &[], report.busy_ns);
        scrape.time(&families::WITNESS_LONGEST, &[], report.longest_ns);
    }

    fn network_id(&self, name: &str) -> Option<u8> {
        self.networks.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    fn peer_name(&self, id: u16) -> String {
        self.node_name(id).unwrap_or_else(|| id.to_string())
    }
}

fn reactor(scrape: &mut Scrape, engines: &Engines) {
    let report = engines.reactor.report();
    scrape.flag(&families::REALTIME_GRANTED, &["reactor"], report.realtime);
    scrape.whole(&families::REACTOR_PASSES, &[], report.passes);
    scrape.time(&families::REACTOR_LONGEST_PASS, &[], report.longest_pass_ns);
    scrape.time(&families::REACTOR_LONGEST_LATENESS, &[], report.longest_lateness_ns);
    scrape.histogram(&families::REACTION, &[], engines.reactor.reaction.read());
    scrape.whole(&families::CONTROL_REFUSED, &[], report.control_refused);
    scrape.whole(&families::CONTROL_NOT_SENT, &[], report.send_failures);
    scrape.whole(&families::SOCKET_ERRORS, &[], report.socket_errors);
    scrape.whole(&families::TIMER_FAILURES, &["reactor"], report.timer_failures);
    scrape.whole(&families::NOTICES_STALE, &[], report.stale_notices);
    scrape.whole(&families::DROPPED, &["reports"], engines.mailbox.reports_dropped());
    scrape.whole(&families::DROPPED, &["socket"], engines.dropped_at_sockets());
}

fn sender(scrape: &mut Scrape, engines: &Engines) {
    let report = engines.sender.report();
    scrape.flag(&families::REALTIME_GRANTED, &["sender"], report.realtime);
    scrape.whole(&families::SENDER_SENT, &[], report.sent);
    scrape.whole(&families::SENDER_FAILED, &[], report.failed);
    scrape.whole(&families::SENDER_SKIPPED_INTERVALS, &[], report.skipped);
    scrape.time(&families::SENDER_LONGEST_GAP, &[], report.longest_gap_ns);
    scrape.histogram(&families::SENDER_LATENESS, &[], Buckets::without_sum(report.lateness));
    scrape.whole(&families::TIMER_FAILURES, &["sender"], report.wait_failures);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
