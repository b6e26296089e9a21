//! From records of the kernel, and from standing verdicts, to inputs of the core.

use std::collections::BTreeMap;

use heartbeat_common::{
    ids,
    notice::{
        NOTICE_FLAG_FIRST, NOTICE_FLAG_NEVER_HEARD, NOTICE_FLAG_STALL_BUDGET_SPENT, NOTICE_HEARD_AGAIN, NOTICE_LATE,
        NOTICE_LOCAL_STALL, NOTICE_OTHER_INCARNATION, NOTICE_RESTORED, NOTICE_SILENT, Notice,
    },
    records::{STATE_LATE, STATE_SILENT, STATE_UP, VERDICT_NEVER_HEARD, VERDICT_STALL_BUDGET_SPENT, VerdictRecord},
};
use heartbeat_membership::{
    Incarnation, Input, LateVerdict, LocalStall, NetworkId, NodeId, Restored, SilentVerdict, StallSource,
};

use super::{Loop, READ_VERDICTS_NS};

impl Loop {
    /// Feeds one record. A verdict on an incarnation that has been replaced since it fell says nothing about the new one.
    pub(super) fn handle_notice(&mut self, notice: &Notice) {
        let about_accepted = self.accepted.get(&notice.node) == Some(&notice.incarnation);
        let needs_accepted = matches!(notice.kind, NOTICE_LATE | NOTICE_RESTORED | NOTICE_SILENT | NOTICE_HEARD_AGAIN);
        if needs_accepted && !about_accepted {
            self.statistics.count_stale_notice();
            return;
        }
        if matches!(notice.kind, NOTICE_LATE | NOTICE_SILENT) {
            self.judged_ns = Some(self.judged_ns.map_or(notice.judged_ns, |oldest| oldest.min(notice.judged_ns)));
        }
        let began_ns = notice.judged_ns.saturating_sub(notice.length_ns);
        if notice.kind == NOTICE_LOCAL_STALL && self.watch.explains(began_ns, notice.judged_ns) {
            return;
        }
        match input(notice, self.interval_ns) {
            Some(input) => self.feed(input),
            None => self.statistics.count_bad_record(),
        }
    }

    /// Feeds verdicts that changed since they were last looked at: what the ring lost, or what fell before this controller
    /// started, is not lost. The core ignores what it knows already.
    pub(super) fn read_standing_verdicts(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.verdicts_read_ns) < READ_VERDICTS_NS.max(self.interval_ns) {
            return;
        }
        self.verdicts_read_ns = now_ns;
        let mut inputs = Vec::new();
        for node in self.accepted.keys() {
            let memory = &self.dataplane.memory;
            let (mut epoch, mut newest_ns) = (0, 0);
            for network in 1..=ids::MAX_NETWORK {
                let index = ids::link_index(*node, network);
                let (Some(peer), Some(verdict)) = (memory.peers.read(index), memory.verdicts.read(index)) else {
                    continue;
                };
                if peer.incarnation == 0 || verdict.epoch != peer.epoch {
                    continue;
                }
                epoch = peer.epoch;
                let stamp_ns = memory.links.read_locked(index).map_or(0, |link| link.stamp_ns);
                newest_ns = newest_ns.max(stamp_ns);
                // Heard since it was judged, and told so: the judge has only not been by again.
                if verdict.state == STATE_LATE && stamp_ns > verdict.stamp_ns {
                    continue;
                }
                if news(&mut self.told, (false, index), &verdict) {
                    inputs.extend(standing_notice(*node, network, &verdict));
                }
            }
            let whole = memory.peer_verdicts.read(u32::from(*node)).filter(|verdict| verdict.epoch == epoch);
            if let Some(verdict) = whole
                && (verdict.state != STATE_SILENT || newest_ns <= verdict.stamp_ns)
                && news(&mut self.told, (true, u32::from(*node)), &verdict)
            {
                inputs.extend(standing_notice(*node, 0, &verdict));
            }
        }
        if inputs.is_empty() {
            return;
        }
        // The record of a change says more than the verdict that stands after it: what is on its way goes first.
        self.take_notices();
        self.handle_notices();
        for notice in inputs {
            if let Some(input) = input(&notice, self.interval_ns) {
                self.feed(input);
            }
        }
    }
}

/// Has a verdict changed since it was last looked at?
fn news(told: &mut BTreeMap<(bool, u32), (u64, u32, u64)>, key: (bool, u32), verdict: &VerdictRecord) -> bool {
    let now = (verdict.epoch, verdict.state, verdict.episode);
    told.insert(key, now) != Some(now)
}

/// The notice that a verdict would have been told with.
fn standing_notice(node: u16, network: u8, verdict: &VerdictRecord) -> Option<Notice> {
    let whole = network == 0;
    let kind = match (verdict.state, whole) {
        (STATE_LATE, false) => NOTICE_LATE,
        (STATE_SILENT, true) => NOTICE_SILENT,
        (STATE_UP, false) => NOTICE_RESTORED,
        (STATE_UP, true) => NOTICE_HEARD_AGAIN,
        _ => return None,
    };
    let never = if verdict.flags & VERDICT_NEVER_HEARD != 0 { NOTICE_FLAG_NEVER_HEARD } else { 0 };
    let spent = if verdict.flags & VERDICT_STALL_BUDGET_SPENT != 0 { NOTICE_FLAG_STALL_BUDGET_SPENT } else { 0 };
    let bad = verdict.state != STATE_UP;
    Some(Notice {
        kind,
        node,
        network,
        flags: if bad { never | spent } else { 0 },
        stamp_ns: if bad { verdict.stamp_ns } else { verdict.seen_ns },
        previous_stamp_ns: verdict.stamp_ns,
        deadline_ns: verdict.deadline_ns,
        judged_ns: verdict.judged_ns,
        incarnation: 0,
        length_ns: 0,
        episode: verdict.episode,
        sent_ns: 0,
        previous_sent_ns: 0,
        lost: 0,
    })
}

fn input(notice: &Notice, interval_ns: u64) -> Option<Input> {
    let peer = NodeId(notice.node);
    let network = NetworkId(notice.network);
    let flag = |flag| notice.flags & flag != 0;
    let marked_stall = flag(NOTICE_FLAG_STALL_BUDGET_SPENT);
    Some(match notice.kind {
        NOTICE_LATE => Input::Late(LateVerdict {
            peer,
            network,
            stamp_ns: notice.stamp_ns,
            deadline_ns: notice.deadline_ns,
            judged_ns: notice.judged_ns,
            missed: missed(notice, interval_ns),
            never_heard: flag(NOTICE_FLAG_NEVER_HEARD),
            marked_stall,
        }),
        NOTICE_RESTORED => Input::Restored(Restored {
            peer,
            network,
            stamp_ns: notice.stamp_ns,
            first: flag(NOTICE_FLAG_FIRST),
            previous_stamp_ns: notice.previous_stamp_ns,
            sent_ns: notice.sent_ns,
            previous_sent_ns: notice.previous_sent_ns,
            lost: notice.lost,
        }),
        NOTICE_SILENT => Input::Silent(SilentVerdict {
            peer,
            stamp_ns: notice.stamp_ns,
            deadline_ns: notice.deadline_ns,
            judged_ns: notice.judged_ns,
            marked_stall,
        }),
        NOTICE_HEARD_AGAIN => Input::HeardAgain { peer, stamp_ns: notice.stamp_ns },
        NOTICE_OTHER_INCARNATION => {
            Input::OtherIncarnation { peer, network, incarnation: Incarnation(notice.incarnation) }
        }
        NOTICE_LOCAL_STALL => Input::LocalStall(LocalStall {
            length_ns: notice.length_ns,
            at_ns: notice.judged_ns,
            source: StallSource::Machine,
            budget_spent: marked_stall,
        }),
        _ => return None,
    })
}

/// Whole intervals without a heartbeat when the verdict fell.
fn missed(notice: &Notice, interval_ns: u64) -> u32 {
    if notice.stamp_ns == 0 || interval_ns == 0 {
        return 0;
    }
    u32::try_from(notice.judged_ns.saturating_sub(notice.stamp_ns) / interval_ns).unwrap_or(u32::MAX)
}
