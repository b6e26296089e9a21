//! The reactor: the one thread that owns the protocol core.
//!
//! It runs at SCHED_FIFO, and waits for four things: records of the kernel's ring, datagrams on the control sockets,
//! commands of the rest of the program, and time. Each becomes an input of the core, whose actions it carries out. It
//! touches no file, writes no log, and shares no lock with threads of normal priority: what others need to know goes
//! through bounded queues that never block it.

mod actions;
mod clock_watch;
pub mod core_config;
mod hang_watch;
pub mod identity;
pub mod membership;
mod notices;
mod orders;
pub mod queue;
mod receive;
pub mod reconfigure;
pub mod statistics;
mod watch;
mod witness;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::AsFd as _,
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use heartbeat_common::notice::Notice;
use heartbeat_membership::{Echo, Input, LocalStall, MembershipInput, NetworkId, Node, Now, StallSource};
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use self::{
    clock_watch::ClockWatch,
    hang_watch::HangWatch,
    membership::Reading,
    orders::Carried,
    queue::{Command, Mailbox, Report},
    receive::Receiver,
    reconfigure::{Settling, Staging},
    statistics::ReactorStatistics,
    watch::JudgeWatch,
};
use crate::{
    clock,
    control::Signer,
    dataplane::{Dataplane, LocalCounts},
    realtime,
    record::Recorder,
    reload::shared::Routes,
    socket::NetworkSocket,
    witness::Exchange,
};

/// Ring records taken in one pass: the ring holds about 2,700; the rest follows in the next pass, after the controller
/// has shown that it lives.
const NOTICES_PER_PASS: usize = 512;
/// Commands taken in one pass; the mailbox holds as many.
const COMMANDS_PER_PASS: usize = queue::COMMANDS;
/// Core actions carried out in one pass: every peer told something on every network, twice.
const ACTIONS_PER_PASS: usize = 16_384;
/// How long the reactor waits at most; passes come at least every half second anyway.
const WAIT_MAX_MS: u16 = 1_000;
/// How often standing verdicts are compared with what the core has been told: what the ring lost is late by this much.
const READ_VERDICTS_NS: u64 = 100_000_000;
/// How old counters in a snapshot may be. A snapshot is the one thing that a pass without news would allocate for.
const PUBLISH_NS: u64 = 100_000_000;
/// A gap of the reactor below this is ordinary scheduling, whatever the interval.
const STALL_MIN_NS: u64 = 20_000_000;

/// What the reactor needs.
pub struct Setup {
    /// The way to the witness, where there is one.
    pub witness: Option<Arc<Exchange>>,
    /// The core.
    pub core: Node,
    /// The data plane.
    pub dataplane: Dataplane,
    /// Sockets by network.
    pub sockets: Vec<Arc<NetworkSocket>>,
    /// Who signs.
    pub signer: Signer,
    /// Control keys by slot.
    pub control_keys: BTreeMap<u8, [u8; 32]>,
    /// Where peers are reached.
    pub routes: Routes,
    /// Counters of what userspace accepts and refuses.
    pub counts: Arc<LocalCounts>,
    /// Heartbeat interval.
    pub interval_ns: u64,
    /// Slack of the timing.
    pub slack_ns: u64,
    /// SCHED_FIFO priority.
    pub priority: u8,
    /// Accepted incarnations of adopted peers.
    pub accepted: BTreeMap<u16, u64>,
    /// Records of the kernel that come before those in the ring.
    pub unread: VecDeque<Notice>,
    /// Networks on which hearing a peer counts: internal and mixed ones.
    pub counting: Vec<u8>,
    /// How long a peer's controller may be frozen.
    pub hang_timeout_ns: u64,
    /// Highest form epoch on disk.
    pub epoch: u32,
    /// What goes into the core and comes out is recorded with this.
    pub recorder: Recorder,
}

/// A reactor at work.
pub struct Reactor {
    /// Queues to and from it.
    pub mailbox: Arc<Mailbox>,
    /// What it measures of itself.
    pub statistics: Arc<ReactorStatistics>,
    thread: Option<JoinHandle<Dataplane>>,
}

impl Reactor {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the kernel gives no descriptor or thread.
    pub fn start(mut setup: Setup) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::new()?);
        let statistics = Arc::new(ReactorStatistics::new(setup.dataplane.memory.links.len()));
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let ring = setup.dataplane.take_ring();
        let readable = |data| EpollEvent::new(EpollFlags::EPOLLIN, data);
        epoll.add(timer.as_fd(), readable(0))?;
        epoll.add(mailbox.commands_fd(), readable(0))?;
        if let Some(ring) = &ring {
            epoll.add(ring.as_fd(), readable(0))?;
        }
        if let Some(witness) = &setup.witness {
            epoll.add(witness.answers_fd(), readable(0))?;
        }
        for socket in &setup.sockets {
            epoll.add(socket.unicast(), readable(0))?;
            if let Some(group) = socket.group() {
                epoll.add(group, readable(0))?;
            }
        }
        let thread = Builder::new().name("heartbeat-react".to_owned()).spawn({
            let (mailbox, statistics) = (Arc::clone(&mailbox), Arc::clone(&statistics));
            move || {
                realtime::prefault_stack();
                let granted = realtime::become_realtime(setup.priority).is_ok();
                statistics.set_realtime(setup.priority, granted);
                Loop::new(setup, mailbox, statistics, ring).run(&epoll, &timer)
            }
        })?;
        Ok(Self { mailbox, statistics, thread: Some(thread) })
    }

    /// Waits for the end that a command, or the core, has asked for; gives the data plane back.
    #[must_use]
    pub fn join(mut self) -> Option<Dataplane> {
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

/// Half an interval: the controller's age in a heartbeat stays below one, and a judge that stands still is seen before two.
/// Not below a millisecond, nor above half a second for commands' sake.
fn period_ns(interval_ns: u64) -> u64 {
    (interval_ns / 2).clamp(1_000_000, 500_000_000)
}

/// Both clocks. A stop between the two readings makes the second one late, by which it is noticed.
fn now() -> Now {
    let boot_ns = clock::boottime_ns();
    Now { mono_ns: clock::monotonic_ns(), boot_ns }
}

/// State of the thread.
struct Loop {
    core: Node,
    dataplane: Dataplane,
    ring: Option<RingBuf<MapData>>,
    receiver: Receiver,
    signer: Signer,
    sockets: Vec<Arc<NetworkSocket>>,
    routes: Routes,
    witness: Option<Arc<Exchange>>,
    /// A configuration that waits until all members have it.
    staging: Option<Staging>,
    /// A change of times that is not over.
    settling: Option<Settling>,
    counts: Arc<LocalCounts>,
    mailbox: Arc<Mailbox>,
    statistics: Arc<ReactorStatistics>,
    watch: JudgeWatch,
    hang_watch: HangWatch,
    clock_watch: ClockWatch,
    counting: Vec<u8>,
    /// Memory of the reading of link records.
    reading: Reading,
    /// When they were read last.
    links_read_ns: u64,
    /// They are being read because the controller stood still in the middle of a pass.
    catching_up: bool,
    /// Something that a snapshot shows has changed since the last one.
    changed: bool,
    /// The core was handed something since the last snapshot.
    fed: bool,
    published_ns: u64,
    /// Newest echo of each peer that the core has been told.
    echoed: BTreeMap<u16, u64>,
    /// Highest form epoch that is durable.
    epoch: u32,
    recorder: Recorder,
    /// State and episode of each verdict that the core has been told, by map index; peers behind links.
    told: BTreeMap<(bool, u32), (u64, u32, u64)>,
    verdicts_read_ns: u64,
    /// Nothing leaves until this epoch is durable.
    awaited_epoch: Option<u32>,
    /// Accepted incarnation by node, as last written to PEERS.
    accepted: BTreeMap<u16, u64>,
    notices: VecDeque<Notice>,
    /// When the oldest verdict of this pass fell.
    judged_ns: Option<u64>,
    /// Orders of this pass, told once their actions are carried out.
    carried: Vec<Carried>,
    message: Vec<u8>,
    interval_ns: u64,
    period_ns: u64,
    stall_threshold_ns: u64,
    wake_ns: u64,
    stopping: bool,
}

impl Loop {
    fn new(
        setup: Setup,
        mailbox: Arc<Mailbox>,
        statistics: Arc<ReactorStatistics>,
        ring: Option<RingBuf<MapData>>,
    ) -> Self {
        let receiver = Receiver::new(&setup);
        let mut notices = setup.unread;
        notices.reserve(NOTICES_PER_PASS);
        Self {
            watch: JudgeWatch::new(setup.interval_ns, setup.slack_ns),
            hang_watch: HangWatch::new(setup.hang_timeout_ns),
            clock_watch: ClockWatch::new(setup.interval_ns, setup.slack_ns),
            counting: setup.counting,
            reading: Reading::default(),
            links_read_ns: 0,
            catching_up: false,
            changed: true,
            fed: true,
            published_ns: 0,
            echoed: BTreeMap::new(),
            epoch: setup.epoch,
            recorder: setup.recorder,
            told: BTreeMap::new(),
            verdicts_read_ns: 0,
            awaited_epoch: None,
            receiver,
            core: setup.core,
            dataplane: setup.dataplane,
            ring,
            signer: setup.signer,
            sockets: setup.sockets,
            routes: setup.routes,
            witness: setup.witness,
            staging: None,
            settling: None,
            counts: setup.counts,
            mailbox,
            statistics,
            accepted: setup.accepted,
            notices,
            judged_ns: None,
            carried: Vec::with_capacity(COMMANDS_PER_PASS),
            message: Vec::with_capacity(heartbeat_common::wire::MESSAGE_LENGTH_MAX),
            interval_ns: setup.interval_ns,
            period_ns: period_ns(setup.interval_ns),
            stall_threshold_ns: setup.slack_ns.max(STALL_MIN_NS),
            wake_ns: 0,
            stopping: false,
        }
    }

    /// Other times from now on.
    fn set_period(&mut self, interval_ns: u64, slack_ns: u64) {
        self.period_ns = period_ns(interval_ns);
        self.stall_threshold_ns = slack_ns.max(STALL_MIN_NS);
    }

    fn run(mut self, epoll: &Epoll, timer: &TimerFd) -> Dataplane {
        let mut ready = [EpollEvent::empty(); 16];
        self.recall_arrivals();
        while !self.stopping {
            self.pass();
            self.arm(timer);
            // An interrupted wait is a pass like any other. The limit is for a timer that could not be set.
            let _woken = epoll.wait(&mut ready, EpollTimeout::from(WAIT_MAX_MS));
            let mut expirations = [0; 8];
            // Nothing to read means that something else woke us.
            let _expired = nix::unistd::read(timer.as_fd(), &mut expirations);
        }
        self.changed = true;
        self.publish();
        self.mailbox.tell_stopped();
        self.dataplane
    }

    /// One pass: everything that has come in, in an order in which nothing is judged before it has been read.
    fn pass(&mut self) {
        let now_ns = clock::monotonic_ns();
        self.show_life(now_ns);
        // After a stop of this controller, the lease is renewed from what the kernel has booked before it is tested, and
        // every input tests it. A test builds it without, to see that it is needed.
        if cfg!(not(feature = "unguarded")) {
            self.feed_link_records();
        }
        self.notice_own_stall(now_ns);
        self.take_commands();
        self.take_reconfiguration();
        self.take_witness_answer();
        self.take_datagrams();
        if cfg!(feature = "unguarded") {
            self.feed_link_records();
        }
        self.take_notices();
        self.watch_judge(now_ns);
        self.dataplane.scan(clock::monotonic_ns(), &mut self.notices);
        self.handle_notices();
        self.read_standing_verdicts(now_ns);
        if self.core.poll_timeout().is_some_and(|(deadline_ns, _reason)| deadline_ns <= clock::monotonic_ns()) {
            self.feed(Input::Timer);
        }
        self.act();
        if let Some(judged_ns) = self.judged_ns.take() {
            self.statistics.reaction.record(clock::monotonic_ns().saturating_sub(judged_ns));
        }
        self.publish();
        self.tell_carried();
        self.record();
        self.statistics.record_pass(clock::monotonic_ns().saturating_sub(now_ns));
    }

    /// The core's next input.
    fn feed(&mut self, input: Input) {
        let now = self.caught_up();
        self.recorder.input(now, &input);
        self.fed |= input != Input::Timer;
        self.core.handle(now, input);
    }

    /// The time for the core's next input. A stop of this controller may come in the middle of a pass: what the kernel has
    /// booked meanwhile is fed first, so that the core does not look at a time that is far ahead of the link records.
    fn caught_up(&mut self) -> Now {
        let time = now();
        // What is fed in here is not looked at again: where reading alone takes this long, that would not end.
        if self.catching_up || cfg!(feature = "unguarded") || !self.has_stood_still(time.mono_ns) {
            return time;
        }
        self.catching_up = true;
        let length_ns = time.mono_ns.saturating_sub(self.links_read_ns);
        self.feed_link_records();
        self.feed_own_stall(length_ns, time.mono_ns);
        self.catching_up = false;
        now()
    }

    /// Feeds echoes, and gives their list back, empty.
    fn feed_echoes(&mut self, echoes: Vec<Echo>) -> Vec<Echo> {
        let now = self.caught_up();
        let input = Input::Membership(MembershipInput::Echoes { echoes });
        self.recorder.input(now, &input);
        let Input::Membership(MembershipInput::Echoes { mut echoes }) = input else { return Vec::new() };
        self.core.handle_echoes(now, &echoes);
        echoes.clear();
        echoes
    }

    /// Lets the recording go on, or begin anew, from the core as it stands between two passes.
    fn record(&mut self) {
        if self.recorder.wants_core() {
            self.recorder.core(&self.core);
        }
        self.recorder.flush();
    }

    fn notice_own_stall(&mut self, now_ns: u64) {
        if self.wake_ns == 0 {
            return;
        }
        let late_ns = now_ns.saturating_sub(self.wake_ns);
        self.statistics.record_lateness(late_ns);
        if late_ns > self.stall_threshold_ns {
            self.feed_own_stall(late_ns, now_ns);
        }
    }

    fn feed_own_stall(&mut self, length_ns: u64, at_ns: u64) {
        let source = StallSource::Controller;
        self.feed(Input::LocalStall(LocalStall { length_ns, at_ns, source, budget_spent: false }));
    }

    fn take_notices(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        while self.notices.len() < NOTICES_PER_PASS {
            let Some(record) = ring.next() else { break };
            // A record of another size is of another program; the ABI in the pin path rules that out.
            match bytemuck::try_pod_read_unaligned::<Notice>(&record) {
                Ok(notice) => self.notices.push_back(notice),
                Err(_) => self.statistics.count_bad_record(),
            }
        }
    }

    fn handle_notices(&mut self) {
        while let Some(notice) = self.notices.pop_front() {
            self.handle_notice(&notice);
        }
    }

    fn take_commands(&mut self) {
        for _command in 0..COMMANDS_PER_PASS {
            match self.mailbox.next_command() {
                Some(Command::Leave) => self.feed(Input::Leave),
                Some(Command::IncarnationTaken(incarnation)) => self.take_incarnation(incarnation),
                Some(Command::EpochPersisted(epoch)) => self.epoch_persisted(epoch),
                Some(Command::InterfaceBroken { network, broken }) => {
                    let network = NetworkId(network);
                    self.feed(Input::Membership(MembershipInput::InterfaceBroken { network, broken }));
                }
                Some(Command::ExternalHosts { network, answer }) => {
                    let network = NetworkId(network);
                    self.feed(Input::Membership(MembershipInput::ExternalHosts { network, answer }));
                }
                Some(Command::Ordered { ticket, order }) => self.carry_out(ticket, order),
                None => break,
            }
        }
    }

    /// Shows the core's state where it has changed: at once what somebody may wait for, counters a little later.
    fn publish(&mut self) {
        let now_ns = clock::monotonic_ns();
        let due = self.fed && now_ns.saturating_sub(self.published_ns) >= PUBLISH_NS;
        if !self.changed && !due {
            return;
        }
        self.changed = false;
        self.fed = false;
        self.published_ns = now_ns;
        self.mailbox.publish_snapshot(self.core.snapshot());
    }

    fn report(&self, report: Report) {
        self.mailbox.report(report);
    }

    fn arm(&mut self, timer: &TimerFd) {
        let now_ns = clock::monotonic_ns();
        let mut wake_ns = now_ns + self.period_ns;
        if let Some((deadline_ns, _reason)) = self.core.poll_timeout() {
            wake_ns = wake_ns.min(deadline_ns);
        }
        if let Some(due_ns) = self.dataplane.scan_due_ns() {
            wake_ns = wake_ns.min(due_ns);
        }
        // A deadline in the past fires at once; zero would disarm the timer.
        let wake_ns = wake_ns.max(now_ns + 1);
        let at = TimeSpec::from_duration(Duration::from_nanos(wake_ns));
        self.wake_ns = wake_ns;
        if timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME).is_err() {
            self.statistics.count_timer_failure();
        }
    }
}
