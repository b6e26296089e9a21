//! What the node itself is like: its counters, its data plane, its sender, and what may hold its threads up.

use std::{collections::BTreeMap, path::Path, sync::atomic::Ordering};

use heartbeat_common::records::CounterRecord;
use heartbeat_membership::Snapshot;

use super::NodeSource;
use crate::{
    dataplane::{JudgeKind, Mode},
    metronome::standby::RETIRED,
    realtime::constraints,
    status::{AttachedInterface, Dataplane as DataplaneStatus, Engine, Judge, Limit, Mode as StatusMode, Sender},
};

impl NodeSource {
    pub(super) fn counters(&self, kernel: &CounterRecord, snapshot: Option<&Snapshot>) -> BTreeMap<String, u64> {
        let mut named = vec![
            ("accepted", kernel.accepted),
            ("control_passed", kernel.control_passed),
            ("control_limited", kernel.control_limited),
            ("contended", kernel.contended),
            ("ring_full", kernel.ring_full),
            ("socket_heartbeats_ignored", self.local_counts.ignored.load(Ordering::Relaxed)),
        ];
        if let Some(engines) = self.engines.get() {
            let (reactor, sender) = (engines.reactor.report(), engines.sender.report());
            named.extend([
                ("reports_dropped", engines.mailbox.reports_dropped()),
                ("reactor_passes", reactor.passes),
                ("reactor_longest_pass_ns", reactor.longest_pass_ns),
                ("reactor_longest_lateness_ns", reactor.longest_lateness_ns),
                ("ring_records_bad", reactor.bad_records),
                ("notices_stale", reactor.stale_notices),
                ("control_refused", reactor.control_refused),
                ("control_not_sent", reactor.send_failures),
                ("socket_dropped", engines.dropped_at_sockets()),
                ("socket_errors", reactor.socket_errors),
                ("reactor_timer_failures", reactor.timer_failures),
                ("sender_sent", sender.sent),
                ("sender_failed", sender.failed),
                ("sender_skipped_intervals", sender.skipped),
                ("sender_wait_failures", sender.wait_failures),
            ]);
        }
        if let Some((books, standby, _)) = self.metronome() {
            named.extend([
                ("metronome_laps", books.laps),
                ("metronome_sent", books.sent),
                ("metronome_failed", books.failed),
                ("metronome_unresolved", books.unresolved),
                ("metronome_foreign", books.foreign),
                ("metronome_stale", books.stale),
                ("metronome_broken", books.broken),
                ("metronome_seeds", standby.seeds),
                ("metronome_takeovers", standby.takeovers),
            ]);
        }
        let core = snapshot.into_iter().flat_map(|snapshot| &snapshot.refused).map(|(reason, count)| {
            let reason = serde_json::to_value(reason).ok().and_then(|word| word.as_str().map(ToOwned::to_owned));
            (format!("core_refused_{}", reason.unwrap_or_default()), *count)
        });
        named.into_iter().map(|(name, count)| (name.to_owned(), count)).chain(core).collect()
    }

    pub(super) fn dataplane(&self, counters: &CounterRecord) -> DataplaneStatus {
        let (attachments, degradations) = (self.attachments(), self.degradations());
        DataplaneStatus {
            mode: status_mode(attachments.iter().map(|(_, one)| one.mode).max().unwrap_or(Mode::Socket)),
            judge: match self.judge {
                JudgeKind::KernelTimer => Judge::KernelTimer,
                JudgeKind::ReactorScan => Judge::Reactor,
            },
            interfaces: attachments
                .iter()
                .map(|(network, attachment)| AttachedInterface {
                    name: attachment.interface.name.clone(),
                    network: self.networks.get(network).cloned().unwrap_or_default(),
                    program_id: attachment.program_id,
                    mode: status_mode(attachment.mode),
                })
                .collect(),
            degraded: (!degradations.is_empty()).then(|| degradations.join("; ")),
            ring_lost: counters.ring_full,
        }
    }

    pub(super) fn sender(&self) -> Sender {
        let report = self.engines.get().map(|engines| engines.sender.report());
        let metronome = self.metronome();
        let retired = metronome.is_some_and(|(_, standby, _)| standby.retired);
        let beating = metronome.filter(|(_, _, beats)| *beats && !retired);
        Sender {
            engine: if beating.is_some() { Engine::Metronome } else { Engine::Realtime },
            rt_priority: self.config().local.rt_priority,
            rt_granted: report.is_some_and(|report| report.realtime),
            longest_gap_ns: match beating {
                Some((books, _, _)) => books.longest_gap_ns,
                None => report.map_or(0, |report| report.longest_gap_ns),
            },
            why: if retired { Some(RETIRED.to_owned()) } else { self.sender.get().map(|sender| sender.why.clone()) },
            limits: limits(self.config().local.rt_priority),
        }
    }
}

/// As they are now: an operator may have changed them since the start.
fn limits(priority: u8) -> Vec<Limit> {
    let found = constraints::own(Path::new("/"), priority).into_iter();
    found
        .map(|constraint| Limit {
            text: constraint.to_string(),
            remedy: constraint.remedy().to_owned(),
            harmful: constraint.is_harmful(),
        })
        .collect()
}

fn status_mode(mode: Mode) -> StatusMode {
    match mode {
        Mode::Native => StatusMode::Native,
        Mode::Generic => StatusMode::Generic,
        Mode::Socket => StatusMode::Socket,
    }
}
