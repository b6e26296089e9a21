//! One pass of the judge over a peer: every watched link, then the peer as a whole.

use super::{Change, Heard, is_before, judge_link, judge_peer};
use crate::{
    ids,
    notice::{
        NOTICE_FLAG_NEVER_HEARD, NOTICE_FLAG_STALL_BUDGET_SPENT, NOTICE_HEARD_AGAIN, NOTICE_LATE, NOTICE_RESTORED,
        NOTICE_SILENT, Notice,
    },
    records::{
        ActiveRecord, StallRecord, TimingRecord, VERDICT_NEVER_HEARD, VERDICT_STALL_BUDGET_SPENT,
        VerdictRecord,
    },
};

/// What the judge reads and writes: BPF maps in the kernel, shared memory in userspace.
pub trait JudgeTables: Copy {
    /// What is expected of a link.
    fn expected(self, link: u32) -> Option<Expected>;
    /// What was heard on a link, read consistently; `None` when it is being written at this very moment.
    fn heard(self, link: u32) -> Option<LinkStamp>;
    /// Lets `judge` look at, and change, the verdict on a link.
    fn link_verdict<R>(self, link: u32, judge: impl FnOnce(&mut VerdictRecord) -> R) -> Option<R>;
    /// Lets `judge` look at, and change, the verdict on a peer.
    fn peer_verdict<R>(self, node: u32, judge: impl FnOnce(&mut VerdictRecord) -> R) -> Option<R>;
    /// Tells a state change.
    fn notify(self, notice: &Notice);
}

/// What the judge needs of a peer record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The accepted incarnation; 0 is none.
    pub incarnation: u64,
    /// Its epoch.
    pub epoch: u64,
    /// When it was accepted.
    pub since_ns: u64,
}

/// What the judge needs of a link record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStamp {
    /// Epoch that the record belongs to.
    pub epoch: u64,
    /// Newest arrival; 0 is never.
    pub stamp_ns: u64,
    /// Newest episode of lateness whose end was reported.
    pub acknowledged_episode: u64,
}

/// Judges one peer; returns the earliest deadline left, `u64::MAX` if there is none.
#[inline(always)]
pub fn scan_peer<T: JudgeTables>(
    tables: T,
    now_ns: u64,
    timing: &TimingRecord,
    stalls: &StallRecord,
    active: &ActiveRecord,
) -> u64 {
    let mut earliest_ns = u64::MAX;
    let mut whole = Heard { epoch: 0, since_ns: 0, stamp_ns: 0, acknowledged_episode: u64::MAX };
    let mut incarnation = 0;
    let mut judgeable = true;
    let mut network = 1;
    while network <= ids::MAX_NETWORK {
        let bit = 1u8 << (network - 1);
        let index = ids::link_index(active.node, network);
        network += 1;
        if active.networks & bit == 0 {
            continue;
        }
        let Some(peer) = tables.expected(index) else { continue };
        if peer.incarnation == 0 {
            continue;
        }
        // A record that is being written right now is of a peer that is being heard right now.
        let Some(link) = tables.heard(index) else {
            judgeable = false;
            continue;
        };
        let current = link.epoch == peer.epoch;
        let heard = Heard {
            epoch: peer.epoch,
            since_ns: peer.since_ns,
            stamp_ns: if current { link.stamp_ns } else { 0 },
            acknowledged_episode: if current { link.acknowledged_episode } else { 0 },
        };
        if active.counting & bit != 0 {
            if whole.epoch != 0 && whole.epoch != heard.epoch {
                judgeable = false;
            }
            incarnation = peer.incarnation;
            whole.epoch = heard.epoch;
            whole.since_ns = heard.since_ns;
            if is_before(whole.stamp_ns, heard.stamp_ns) {
                whole.stamp_ns = heard.stamp_ns;
            }
        }
        let judgement = tables.link_verdict(index, |verdict| {
            let judgement = judge_link(now_ns, timing, stalls, &heard, verdict);
            if let Some(change) = judgement.change {
                let kind = match change {
                    Change::Bad => NOTICE_LATE,
                    Change::Good => NOTICE_RESTORED,
                };
                let whom = Whom { node: active.node, network: ids::link_network(index), incarnation: peer.incarnation };
                tables.notify(&notice(kind, whom, now_ns, &heard, verdict));
            }
            judgement
        });
        let Some(judgement) = judgement else { continue };
        if let Some(deadline_ns) = judgement.deadline_ns
            && deadline_ns < earliest_ns
        {
            earliest_ns = deadline_ns;
        }
    }
    // Userspace sets the incarnation link by link: while they differ, the peer is not judged as a whole.
    if !judgeable || whole.epoch == 0 {
        return earliest_ns;
    }
    // Whoever stamps does not report that a silent peer is heard again: the judge does, always.
    whole.acknowledged_episode = u64::MAX;
    let judgement = tables.peer_verdict(u32::from(active.node), |verdict| {
        let judgement = judge_peer(now_ns, timing, stalls, &whole, verdict);
        if let Some(change) = judgement.change {
            let kind = match change {
                Change::Bad => NOTICE_SILENT,
                Change::Good => NOTICE_HEARD_AGAIN,
            };
            let whom = Whom { node: active.node, network: 0, incarnation };
            tables.notify(&notice(kind, whom, now_ns, &whole, verdict));
        }
        judgement
    });
    let Some(judgement) = judgement else { return earliest_ns };
    if let Some(deadline_ns) = judgement.deadline_ns
        && deadline_ns < earliest_ns
    {
        earliest_ns = deadline_ns;
    }
    earliest_ns
}

/// Whom a verdict is about. The incarnation lets userspace drop a verdict on one that it has replaced meanwhile.
struct Whom {
    node: u16,
    network: u8,
    incarnation: u64,
}

#[inline(always)]
fn notice(kind: u32, whom: Whom, now_ns: u64, heard: &Heard, verdict: &VerdictRecord) -> Notice {
    let never = if verdict.flags & VERDICT_NEVER_HEARD != 0 { NOTICE_FLAG_NEVER_HEARD } else { 0 };
    let spent = if verdict.flags & VERDICT_STALL_BUDGET_SPENT != 0 { NOTICE_FLAG_STALL_BUDGET_SPENT } else { 0 };
    Notice {
        kind,
        node: whom.node,
        network: whom.network,
        flags: never | spent,
        stamp_ns: heard.stamp_ns,
        previous_stamp_ns: verdict.stamp_ns,
        deadline_ns: verdict.deadline_ns,
        judged_ns: now_ns,
        incarnation: whom.incarnation,
        length_ns: 0,
        episode: verdict.episode,
        sent_ns: 0,
        previous_sent_ns: 0,
        lost: 0,
    }
}
