//! One pass of the judge: every watched link, and each peer as a whole after its last link.

use super::{Change, Heard, is_before, judge_link, judge_peer};
use crate::{
    ids,
    notice::{
        NOTICE_FLAG_NEVER_HEARD, NOTICE_FLAG_STALL_BUDGET_SPENT, NOTICE_HEARD_AGAIN, NOTICE_LATE, NOTICE_RESTORED,
        NOTICE_SILENT, Notice,
    },
    records::{
        ACTIVE_COUNTING, ACTIVE_LAST, ActiveRecord, StallRecord, TimingRecord, VERDICT_NEVER_HEARD,
        VERDICT_STALL_BUDGET_SPENT, VerdictRecord,
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

/// What has been found out about the peer whose links are being scanned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PeerSoFar {
    incarnation: u64,
    epoch: u64,
    since_ns: u64,
    stamp_ns: u64,
    /// A link is being written, or links are of different incarnations: the peer cannot be judged in this pass.
    unsettled: u64,
}

/// Judges one watched link, and after the last link of a peer the peer as a whole; returns the earliest deadline left,
/// `u64::MAX` if there is none.
///
/// One link at a time, because the verifier follows every branch: a loop over the networks of a peer in here multiplies
/// them, a `bpf_loop` over links does not.
#[inline(always)]
pub fn scan_link<T: JudgeTables>(
    tables: T,
    now_ns: u64,
    timing: &TimingRecord,
    stalls: &StallRecord,
    active: &ActiveRecord,
    peer: &mut PeerSoFar,
) -> u64 {
    let deadline_ns = link(tables, now_ns, timing, stalls, active, peer);
    if active.flags & ACTIVE_LAST == 0 {
        return deadline_ns;
    }
    let whole = *peer;
    *peer = PeerSoFar::default();
    let peer_deadline_ns = whole_peer(tables, now_ns, timing, stalls, ids::link_node(active.link), &whole);
    if peer_deadline_ns < deadline_ns { peer_deadline_ns } else { deadline_ns }
}

#[inline(always)]
fn link<T: JudgeTables>(
    tables: T,
    now_ns: u64,
    timing: &TimingRecord,
    stalls: &StallRecord,
    active: &ActiveRecord,
    peer: &mut PeerSoFar,
) -> u64 {
    let index = active.link;
    let Some(expected) = tables.expected(index) else { return u64::MAX };
    if expected.incarnation == 0 {
        return u64::MAX;
    }
    // A record that is being written right now is of a peer that is being heard right now.
    let Some(link) = tables.heard(index) else {
        peer.unsettled = 1;
        return u64::MAX;
    };
    let current = link.epoch == expected.epoch;
    let heard = Heard {
        epoch: expected.epoch,
        since_ns: expected.since_ns,
        stamp_ns: if current { link.stamp_ns } else { 0 },
        acknowledged_episode: if current { link.acknowledged_episode } else { 0 },
    };
    if active.flags & ACTIVE_COUNTING != 0 {
        // Userspace sets the incarnation link by link: while they differ, the peer is not judged as a whole.
        if peer.epoch != 0 && peer.epoch != heard.epoch {
            peer.unsettled = 1;
        }
        peer.incarnation = expected.incarnation;
        peer.epoch = heard.epoch;
        peer.since_ns = heard.since_ns;
        if is_before(peer.stamp_ns, heard.stamp_ns) {
            peer.stamp_ns = heard.stamp_ns;
        }
    }
    let whom =
        Whom { node: ids::link_node(index), network: ids::link_network(index), incarnation: expected.incarnation };
    let judgement = tables.link_verdict(index, |verdict| {
        let judgement = judge_link(now_ns, timing, stalls, &heard, verdict);
        if let Some(change) = judgement.change {
            let kind = match change {
                Change::Bad => NOTICE_LATE,
                Change::Good => NOTICE_RESTORED,
            };
            tables.notify(&notice(kind, &whom, now_ns, &heard, verdict));
        }
        judgement
    });
    judgement.and_then(|judgement| judgement.deadline_ns).unwrap_or(u64::MAX)
}

#[inline(always)]
fn whole_peer<T: JudgeTables>(
    tables: T,
    now_ns: u64,
    timing: &TimingRecord,
    stalls: &StallRecord,
    node: u16,
    peer: &PeerSoFar,
) -> u64 {
    if peer.unsettled != 0 || peer.epoch == 0 {
        return u64::MAX;
    }
    let heard = Heard {
        epoch: peer.epoch,
        since_ns: peer.since_ns,
        stamp_ns: peer.stamp_ns,
        // Whoever stamps does not report that a silent peer is heard again: the judge does, always.
        acknowledged_episode: u64::MAX,
    };
    let whom = Whom { node, network: 0, incarnation: peer.incarnation };
    let judgement = tables.peer_verdict(u32::from(node), |verdict| {
        let judgement = judge_peer(now_ns, timing, stalls, &heard, verdict);
        if let Some(change) = judgement.change {
            let kind = match change {
                Change::Bad => NOTICE_SILENT,
                Change::Good => NOTICE_HEARD_AGAIN,
            };
            tables.notify(&notice(kind, &whom, now_ns, &heard, verdict));
        }
        judgement
    });
    judgement.and_then(|judgement| judgement.deadline_ns).unwrap_or(u64::MAX)
}

/// Whom a verdict is about. The incarnation lets userspace drop a verdict on one that it has replaced meanwhile.
struct Whom {
    node: u16,
    network: u8,
    incarnation: u64,
}

#[inline(always)]
fn notice(kind: u32, whom: &Whom, now_ns: u64, heard: &Heard, verdict: &VerdictRecord) -> Notice {
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
