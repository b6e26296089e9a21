//! The judge: one timer, one scan over the active links.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use heartbeat_common::{
    judge::{
        self, is_before,
        scan::{Expected, JudgeTables, LinkStamp, PeerSoFar, scan_link},
    },
    notice::Notice,
    records::{JudgeRecord, VerdictRecord},
};

use crate::{atomic, clock, maps, notify, timer};

/// Arms the judge with this program's callback. Run once by userspace at start and at adoption, and again whenever the
/// scans stand still.
#[inline(always)]
pub(crate) fn start() -> Result<(), i64> {
    let (Some(timing), Some(judge)) = (maps::TIMING.get(0), judge_state()) else { return Err(-2) };
    let now_ns = clock::monotonic_ns();
    if judge.due_ns == 0 {
        judge.due_ns = now_ns + timing.interval_ns;
    }
    // A judge that stood still keeps the time when it was due: its first run sees how long nobody judged, and credits it.
    let left_ns = if is_before(judge.due_ns, now_ns) { 0 } else { judge.due_ns - now_ns };
    timer::start(left_ns.min(timing.interval_ns).max(1_000), run)
}

#[inline(always)]
fn judge_state() -> Option<&'static mut JudgeRecord> {
    // SAFETY: a map value that only the judge writes: the callback never runs twice at once, and `start` writes the one
    // word that a running callback is about to overwrite.
    maps::JUDGE_STATE.get_ptr_mut(0).map(|judge| unsafe { &mut *judge })
}

/// What a scan carries from link to link.
///
/// It lives in a map: the verifier knows nothing about what a map holds, so that one pass through the callback of
/// `bpf_loop` stands for all. On the stack it would follow every combination of values from pass to pass.
#[repr(C)]
pub(crate) struct Scan {
    now_ns: u64,
    earliest_ns: u64,
    peer: PeerSoFar,
}

#[inline(always)]
fn scan_state() -> Option<&'static mut Scan> {
    // SAFETY: a map value that only the callback uses, which never runs twice at once.
    maps::JUDGE_SCAN.get_ptr_mut(0).map(|scan| unsafe { &mut *scan })
}

/// The timer's callback. No `#[no_mangle]`: the kernel demands static linkage of callbacks.
#[inline(never)]
fn run(_map: *mut c_void, _key: *mut u32, element: *mut timer::JudgeTimer) -> i32 {
    let (Some(timing), Some(judge), Some(scan)) = (maps::TIMING.get(0), judge_state(), scan_state()) else { return 0 };
    let now_ns = clock::monotonic_ns();
    let due_ns = judge.due_ns;
    if let Some(stall) = judge::begin_run(now_ns, timing, judge) {
        notify::notify(&Notice::local_stall(&stall, due_ns, now_ns));
    }
    scan.now_ns = now_ns;
    scan.earliest_ns = u64::MAX;
    scan.peer = PeerSoFar::default();
    // SAFETY: the callback is a static subprogram that ignores its context.
    unsafe {
        bpf_loop(timing.active_links as u32, scan_one as *mut c_void, core::ptr::null_mut(), 0);
    }
    let earliest_ns = if scan.earliest_ns == u64::MAX { None } else { Some(scan.earliest_ns) };
    let delay_ns = judge::end_run(clock::monotonic_ns(), timing, earliest_ns, judge);
    if timer::restart(element, delay_ns).is_err() {
        judge.arm_failures += 1;
    }
    0
}

#[inline(never)]
fn scan_one(index: u64, _context: *mut c_void) -> i64 {
    let (Some(timing), Some(judge), Some(scan)) = (maps::TIMING.get(0), judge_state(), scan_state()) else { return 1 };
    let Some(active) = maps::ACTIVE.get(index as u32) else { return 1 };
    let earliest_ns = scan_link(JudgeMaps, scan.now_ns, timing, &judge.stalls, active, &mut scan.peer);
    if earliest_ns < scan.earliest_ns {
        scan.earliest_ns = earliest_ns;
    }
    0
}

/// The maps as the scan reads and writes them.
#[derive(Clone, Copy)]
struct JudgeMaps;

impl JudgeTables for JudgeMaps {
    #[inline(always)]
    fn expected(self, link: u32) -> Option<Expected> {
        let peer = maps::PEERS.get(link)?;
        // Userspace writes 0 before it changes anything, and the next incarnation last: what was read between two sights
        // of the same incarnation belongs to it. A link that is just being changed is judged in the next run.
        let incarnation = atomic::load(&peer.incarnation);
        let (epoch, since_ns) = (atomic::load(&peer.epoch), atomic::load(&peer.since_ns));
        if atomic::load(&peer.incarnation) == incarnation {
            Some(Expected { incarnation, epoch, since_ns })
        } else {
            None
        }
    }

    #[inline(always)]
    fn heard(self, link: u32) -> Option<LinkStamp> {
        let record = maps::LINKS.get(link)?;
        let lock = atomic::load(&record.lock);
        let stamp = LinkStamp {
            epoch: atomic::load(&record.epoch),
            stamp_ns: atomic::load(&record.stamp_ns),
            acknowledged_episode: atomic::load(&record.acknowledged_episode),
        };
        if lock & 1 != 0 || atomic::load(&record.lock) != lock { None } else { Some(stamp) }
    }

    #[inline(always)]
    fn link_verdict<R>(self, link: u32, judge: impl FnOnce(&mut VerdictRecord) -> R) -> Option<R> {
        // SAFETY: a map value that only the judge writes, one scan at a time.
        maps::VERDICTS.get_ptr_mut(link).map(|verdict| judge(unsafe { &mut *verdict }))
    }

    #[inline(always)]
    fn peer_verdict<R>(self, node: u32, judge: impl FnOnce(&mut VerdictRecord) -> R) -> Option<R> {
        // SAFETY: a map value that only the judge writes, one scan at a time.
        maps::PEER_VERDICTS.get_ptr_mut(node).map(|verdict| judge(unsafe { &mut *verdict }))
    }

    #[inline(always)]
    fn notify(self, notice: &Notice) {
        notify::notify(notice);
    }
}
