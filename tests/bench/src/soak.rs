//! A node with many peers on two networks: is anything lost behind XDP, is anybody called late, what does it cost?

mod report;
pub(crate) mod usage;

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{MapData, RingBuf},
    programs::XdpMode,
};
use heartbeat_common::{
    ids,
    notice::{NOTICE_LATE, NOTICE_LOCAL_STALL, NOTICE_RESTORED, NOTICE_SILENT, Notice},
    records::{ACTIVE_COUNTING, ACTIVE_LAST, ActiveRecord, CounterRecord, RejectRecord},
};
use heartbeat_user::{
    clock,
    dataplane::{kernel::Kernel, memory::Memory},
};
use nix::unistd::gettid;

pub(crate) use self::report::Report;
use self::{report::Verdict, usage::Usage};
use crate::{
    arena::{self, Wire, ip},
    paced::{self, Sending},
    probe::Probe,
    scene,
};

/// Networks of the node.
pub(crate) const NETWORKS: u8 = 2;
/// How often the ring is emptied: it holds some 2,700 notices, more than all links can bring at once.
const DRAIN: Duration = Duration::from_millis(50);
/// How long it may take until every link has been heard once.
const START: Duration = Duration::from_secs(5);

/// Who beats, how often, and for how long it is watched.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Crowd {
    /// Peers of the node under test.
    pub(crate) peers: u16,
    /// Between two heartbeats of a peer on a network, nanoseconds.
    pub(crate) interval_ns: u64,
    /// Seconds.
    pub(crate) seconds: u64,
}

impl Crowd {
    /// The same for another time.
    pub(crate) fn lasting(self, seconds: u64) -> Self {
        Self { seconds, ..self }
    }

    /// The links that the node has.
    pub(crate) fn links(&self) -> usize {
        usize::from(self.peers) * usize::from(NETWORKS)
    }
}

/// Runs it.
pub(crate) fn measure(crowd: Crowd) -> Result<Report> {
    let peers: Vec<u16> = (scene::FIRST_PEER..scene::FIRST_PEER + crowd.peers).collect();
    let wires = (1..=NETWORKS).map(Wire::lay).collect::<Result<Vec<_>>>()?;
    let interfaces = wires.iter().map(Wire::receiver_index).collect::<Result<Vec<_>>>()?;
    let (mut kernel, memory) = scene::load(&peers, &interfaces, clock::monotonic_ns())?;
    let stats = aya::sys::enable_stats(aya::sys::Stats::RunTime).context("the kernel does not count run times")?;
    for interface in &interfaces {
        let program = kernel.receiver()?;
        program.attach_to_if_index(*interface, XdpMode::Driver).context("XDP cannot be attached")?;
    }
    let active = active(&peers);
    kernel.set_judging(&scene::timing(crowd.interval_ns, active.len() as u64), &active)?;
    let counts = kernel.take_counts()?;
    let mut ring = kernel.take_ring()?;

    let stop = AtomicBool::new(false);
    let (here, sender_thread) = mpsc::channel();
    let (go, started) = mpsc::channel::<()>();
    let outcome = thread::scope(|scope| -> Result<Outcome> {
        let (wires, peers, stop) = (&wires, &peers, &stop);
        let sending = scope.spawn(move || -> Result<Sending> {
            arena::enter_another()?;
            here.send(gettid()).context("nobody waits")?;
            // An error means that the other side gave up.
            if started.recv().is_err() {
                return Ok(Sending::default());
            }
            bring_up(wires)?;
            paced::send(wires, peers, crowd.interval_ns, stop)
        });
        let observed = (|| {
            let thread = sender_thread.recv().context("the generator did not start")?;
            wires.iter().try_for_each(|wire| wire.give_sender_to(thread))?;
            go.send(()).context("the generator ended")?;
            observe(&mut kernel, &mut ring, active.len(), Duration::from_secs(crowd.seconds))
        })();
        stop.store(true, Ordering::Relaxed);
        drop(go);
        let sending = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let (verdicts, gaps, usage) = observed?;
        Ok(Outcome { sending, verdicts, gaps, usage })
    })?;
    let (mut rejects, counters) = counts.read()?;
    let map_bytes = usage::map_bytes()?;
    let run = usage::program_runs(&kernel.receiver()?.fd()?)?;
    drop(stats);
    Ok(outcome.report(crowd, &memory, &mut rejects, counters, run, map_bytes))
}

struct Outcome {
    sending: Sending,
    verdicts: Vec<Verdict>,
    gaps: Vec<crate::probe::Gap>,
    usage: Usage,
}

impl Outcome {
    fn report(
        self,
        crowd: Crowd,
        memory: &Memory,
        rejects: &mut RejectRecord,
        counters: CounterRecord,
        run: usage::ProgramRuns,
        map_bytes: u64,
    ) -> Report {
        let records = (0..u32::try_from(memory.links.len()).unwrap_or(0)).filter_map(|link| memory.links.read(link));
        let (mut lost, mut reordered) = (0, 0);
        for record in records {
            lost += record.lost;
            reordered += record.reordered;
        }
        Report {
            crowd,
            sending: self.sending,
            reached_xdp: run.count,
            accepted: counters.accepted,
            rejected: rejects.counters().iter().sum(),
            contended: counters.contended,
            ring_full: counters.ring_full,
            map_bytes,
            lost,
            reordered,
            nanoseconds_per_run: run.nanoseconds as f64 / run.count.max(1) as f64,
            judge: memory.judge.read(0),
            verdicts: self.verdicts,
            gaps: self.gaps,
            usage: self.usage,
        }
    }
}

/// Inside the generator's namespace: what moved there is down.
fn bring_up(wires: &[Wire]) -> Result<()> {
    ip(&wires.iter().map(|wire| format!("link set dev {} up", wire.sender)).collect::<Vec<_>>())
}

/// Waits until everybody has been heard, then lets the judge judge, for `time`.
fn observe(
    kernel: &mut Kernel,
    ring: &mut RingBuf<MapData>,
    links: usize,
    time: Duration,
) -> Result<(Vec<Verdict>, Vec<crate::probe::Gap>, Usage)> {
    let start = Instant::now();
    let mut heard = 0;
    while heard < links {
        ensure!(start.elapsed() < START, "only {heard} of {links} links were heard");
        thread::sleep(DRAIN);
        heard += drain(ring).iter().filter(|notice| notice.kind == NOTICE_RESTORED).count();
    }
    let probe = Probe::start()?;
    kernel.start_judge()?;
    let before = usage::now()?;
    let start = Instant::now();
    let mut notices = Vec::new();
    while start.elapsed() < time {
        thread::sleep(DRAIN);
        notices.extend(drain(ring));
    }
    let usage = usage::now()?.since(&before, start.elapsed());
    let gaps = probe.stop()?;
    let verdicts = notices
        .iter()
        .filter(|notice| matches!(notice.kind, NOTICE_LATE | NOTICE_SILENT | NOTICE_LOCAL_STALL))
        .map(|notice| Verdict::new(notice, &gaps))
        .collect();
    Ok((verdicts, gaps, usage))
}

fn drain(ring: &mut RingBuf<MapData>) -> Vec<Notice> {
    let mut notices = Vec::new();
    while let Some(item) = ring.next() {
        if let Ok(notice) = bytemuck::try_pod_read_unaligned::<Notice>(&item) {
            notices.push(notice);
        }
    }
    notices
}

fn active(peers: &[u16]) -> Vec<ActiveRecord> {
    let mut records = Vec::new();
    for node in peers {
        for network in 1..=NETWORKS {
            let last = if network == NETWORKS { ACTIVE_LAST } else { 0 };
            records.push(ActiveRecord { link: ids::link_index(*node, network), flags: ACTIVE_COUNTING | last });
        }
    }
    records
}
