//! The loaded object with the specimens' tables, and the frames that are put through it.

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    maps::{Array, MapData, RingBuf},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use bytemuck::Zeroable as _;
use heartbeat_common::{
    ids,
    notice::Notice,
    records::{
        ActiveRecord, AdmissionRecord, ArrivalRecord, CounterRecord, IntervalRecord, JudgeRecord, LinkRecord,
        PeerRecord, RejectRecord, TimingRecord, VerdictRecord,
    },
    reject::Reject,
    specimen::{World, world},
};
use heartbeat_tests::{clock::monotonic_ns, naming::Prefix};
use heartbeat_user::dataplane::{
    KernelCounts,
    kernel::Kernel,
    memory::{Memory, Sizes},
    object::PROGRAM_JUDGE,
    peers::{self, Start},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Frames of BPF_PROG_TEST_RUN come in by the loopback interface of the caller's namespace, which is always the first.
pub(crate) const IFINDEX: u32 = 1;
/// The kernel takes nothing shorter for BPF_PROG_TEST_RUN.
pub(crate) const FRAME_MIN: usize = 14;
/// No test waits longer for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// What the program did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Pass,
    Drop,
}

/// Everything that a frame can move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) rejects: RejectRecord,
    pub(crate) counters: CounterRecord,
}

impl Counts {
    /// What was counted since `earlier`.
    pub(crate) fn since(mut self, mut earlier: Self) -> Self {
        for (count, before) in self.rejects.counters().iter_mut().zip(earlier.rejects.counters()) {
            *count -= *before;
        }
        let (now, before) = (self.counters, earlier.counters);
        self.counters = CounterRecord {
            accepted: now.accepted - before.accepted,
            control_passed: now.control_passed - before.control_passed,
            control_limited: now.control_limited - before.control_limited,
            contended: now.contended - before.contended,
            ring_full: now.ring_full - before.ring_full,
        };
        self
    }

    /// One refusal and nothing else.
    pub(crate) fn refused(reason: Reject) -> Self {
        let mut counts = Self::default();
        counts.rejects.counters()[reason as usize] = 1;
        counts
    }

    /// One accepted heartbeat and nothing else.
    pub(crate) fn accepted() -> Self {
        Self { counters: CounterRecord { accepted: 1, ..CounterRecord::zeroed() }, ..Self::default() }
    }

    /// One control message passed up and nothing else.
    pub(crate) fn control() -> Self {
        Self { counters: CounterRecord { control_passed: 1, ..CounterRecord::zeroed() }, ..Self::default() }
    }
}

/// The loaded object.
pub(crate) struct Rig {
    pub(crate) kernel: Kernel,
    pub(crate) memory: Memory,
    pub(crate) world: World,
    counts: KernelCounts,
    ring: RingBuf<MapData>,
}

impl Rig {
    /// Loads, unpinned, with the specimens' tables and no judge.
    pub(crate) fn new() -> Self {
        Self::load(None)
    }

    /// Loads with its maps pinned in `pins`, where there are none yet.
    pub(crate) fn load(pins: Option<&Path>) -> Self {
        let rig = Self::open(pins);
        rig.memory.node.write(0, &rig.world.node);
        for (link, peer) in (0..).zip(&rig.world.peers) {
            rig.memory.peers.write(link, peer);
        }
        rig
    }

    /// Loads over the maps that are pinned in `pins`, and leaves in them what they hold.
    pub(crate) fn adopt(pins: &Path) -> Self {
        Self::open(Some(pins))
    }

    fn open(pins: Option<&Path>) -> Self {
        require_root();
        let mut kernel = Kernel::load(sizes(), pins, false).unwrap();
        let memory = kernel.memory(sizes()).unwrap();
        let world = World::new(IFINDEX);
        kernel.set_keys(&world.keys).unwrap();
        kernel.set_networks(&world.networks).unwrap();
        let (counts, ring) = (kernel.take_counts().unwrap(), kernel.take_ring().unwrap());
        Self { kernel, memory, world, counts, ring }
    }

    /// What is left of it when its controller dies: memory, without a hold on programs or maps that are not pinned.
    pub(crate) fn die(self) -> Memory {
        self.memory
    }

    /// Id of the loaded program that arms the judge, and whose callback its timer calls.
    pub(crate) fn judge_program(&mut self) -> u32 {
        self.kernel.object_mut().program(PROGRAM_JUDGE).unwrap().info().unwrap().id()
    }

    /// Sets what the judge goes by and watches, and arms it.
    pub(crate) fn start_judge(&mut self, timing: &TimingRecord, active: &[ActiveRecord]) {
        let timing = TimingRecord { active_links: active.len() as u64, ..*timing };
        self.kernel.set_judging(&timing, active).unwrap();
        self.kernel.start_judge().unwrap();
    }

    /// Accepts the specimens' incarnation of a peer, as the reactor does, from sequence number 1 on.
    pub(crate) fn accept(&self, node: u16, networks: &[u8]) {
        let starts: Vec<Start> =
            networks.iter().map(|network| Start { network: *network, unicast: 1, multicast: 1 }).collect();
        peers::accept(&self.memory, node, world::INCARNATION, &starts, monotonic_ns());
    }

    /// Forgets everything that was heard. No judge may be running.
    pub(crate) fn forget(&self) {
        for link in 0..sizes().links {
            self.memory.links.write(link, &LinkRecord::zeroed());
            self.memory.admission.write(link, &AdmissionRecord::zeroed());
        }
    }

    /// Puts a frame through the program.
    pub(crate) fn deliver(&mut self, frame: &[u8]) -> Action {
        deliver(self.kernel.receiver().unwrap(), frame, 1)
    }

    /// Puts the same frame through it `repeat` times, as fast as the kernel can.
    pub(crate) fn deliver_often(&mut self, frame: &[u8], repeat: u32) {
        deliver(self.kernel.receiver().unwrap(), frame, repeat);
    }

    /// Everything counted so far.
    pub(crate) fn counts(&self) -> Counts {
        let (rejects, counters) = self.counts.read().unwrap();
        Counts { rejects, counters }
    }

    /// What a frame did: action, and what was counted for it.
    pub(crate) fn observe(&mut self, frame: &[u8]) -> (Action, Counts) {
        let before = self.counts();
        let action = self.deliver(frame);
        (action, self.counts().since(before))
    }

    /// The record of a peer on a network.
    pub(crate) fn link(&self, node: u16, network: u8) -> LinkRecord {
        self.memory.links.read_locked(ids::link_index(node, network)).unwrap()
    }

    /// The last arrivals of a peer on a network.
    pub(crate) fn arrivals(&self, node: u16, network: u8) -> ArrivalRecord {
        self.memory.arrivals.read(ids::link_index(node, network)).unwrap()
    }

    /// The inter-arrival histogram of a peer on a network.
    pub(crate) fn intervals(&self, node: u16, network: u8) -> IntervalRecord {
        self.memory.intervals.read(ids::link_index(node, network)).unwrap()
    }

    /// What is expected of a peer on a network.
    pub(crate) fn peer(&self, node: u16, network: u8) -> PeerRecord {
        self.memory.peers.read(ids::link_index(node, network)).unwrap()
    }

    /// The verdict on a link.
    pub(crate) fn verdict(&self, node: u16, network: u8) -> VerdictRecord {
        self.memory.verdicts.read(ids::link_index(node, network)).unwrap()
    }

    /// The verdict on a peer.
    pub(crate) fn peer_verdict(&self, node: u16) -> VerdictRecord {
        self.memory.peer_verdicts.read(node.into()).unwrap()
    }

    /// The judge's books.
    pub(crate) fn judge(&self) -> JudgeRecord {
        self.memory.judge.read(0).unwrap()
    }

    /// What is in the ring now.
    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        while let Some(item) = self.ring.next() {
            notices.push(*bytemuck::from_bytes::<Notice>(&item));
        }
        notices
    }

    /// What is in the ring as soon as there is something, or nothing after `timeout`.
    pub(crate) fn wait_for_notices(&mut self, timeout: Duration) -> Vec<Notice> {
        let notices = self.notices();
        if !notices.is_empty() {
            return notices;
        }
        let timeout = PollTimeout::try_from(timeout).unwrap();
        let mut ring = [PollFd::new(self.ring.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ring, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => self.notices(),
            Err(error) => panic!("the ring cannot be waited for: {error}"),
        }
    }

    /// Runs `beat` every `period` and collects notices until there is one that `wanted` says it is.
    pub(crate) fn beat_until(
        &mut self,
        period: Duration,
        mut beat: impl FnMut(&mut Self),
        wanted: impl Fn(&Notice) -> bool,
    ) -> Vec<Notice> {
        let end_ns = monotonic_ns() + PATIENCE.as_nanos() as u64;
        let mut notices = Vec::new();
        while monotonic_ns() < end_ns {
            beat(self);
            notices.extend(self.wait_for_notices(period));
            if notices.iter().any(&wanted) {
                return notices;
            }
        }
        panic!("nothing came within {PATIENCE:?} but {notices:#?}; the judge's books: {:#?}", self.judge());
    }

    /// Runs `beat` every `period` for a while, and gives what came meanwhile.
    pub(crate) fn beat_for(
        &mut self,
        length: Duration,
        period: Duration,
        mut beat: impl FnMut(&mut Self),
    ) -> Vec<Notice> {
        let end_ns = monotonic_ns() + length.as_nanos() as u64;
        let mut notices = Vec::new();
        while monotonic_ns() < end_ns {
            beat(self);
            notices.extend(self.wait_for_notices(period));
        }
        notices
    }

    /// Writes the element that holds the timer, which userspace must never do.
    pub(crate) fn write_timer_element(&mut self) {
        let map = self.kernel.object_mut().map_mut("JUDGE").unwrap();
        let mut timer = Array::<_, [u64; 2]>::try_from(map).unwrap();
        timer.set(0, [0, 0], 0).unwrap();
    }
}

/// Waits until the judge has run `count` times more.
pub(crate) fn wait_for_scans(memory: &Memory, count: u64) {
    let judge = || memory.judge.read(0).unwrap();
    let (from, end_ns) = (judge().scans, monotonic_ns() + PATIENCE.as_nanos() as u64);
    while judge().scans < from + count {
        assert!(monotonic_ns() < end_ns, "the judge does not run: {:#?}", judge());
        // Scans make no event to wait for.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Puts a frame through a program `repeat` times.
pub(crate) fn deliver(program: &Xdp, frame: &[u8], repeat: u32) -> Action {
    let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
    match program.test_run(options).unwrap().return_value {
        XDP_DROP => Action::Drop,
        XDP_PASS => Action::Pass,
        other => panic!("the program returned {other}"),
    }
}

/// Entries of the maps: just enough for the specimens.
pub(crate) fn sizes() -> Sizes {
    Sizes::for_nodes_up_to(world::LARGEST_NODE)
}

/// Timeouts that the defaults give at an interval.
pub(crate) fn timing(interval: Duration) -> TimingRecord {
    let interval_ns = interval.as_nanos() as u64;
    let slack_ns = (interval_ns / 8).max(1_000_000);
    TimingRecord {
        interval_ns,
        late_ns: 2 * interval_ns + slack_ns,
        silent_ns: 6 * interval_ns + slack_ns,
        slack_ns,
        active_links: 0,
    }
}

/// A test that cannot do its work fails.
fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "loading BPF programs needs root");
}

/// A folder of the BPF file system; it goes away with what is pinned in it.
pub(crate) struct PinFolder(PathBuf);

impl PinFolder {
    pub(crate) fn new() -> Self {
        require_root();
        let path = Prefix::of_this_process().bpf_directory("pins");
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PinFolder {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                eprintln!("{} is left behind: {error}", self.0.display());
            }
            _ => {}
        }
    }
}
