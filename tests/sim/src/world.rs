//! The world of a run: machines, networks, one true time, one source of randomness.

mod driver;

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_membership::{
    Arbiter, ConfigDigest, ControlMessage, CoreConfig, Event, Incarnation, Input, MembershipInput, NetworkId, NodeId,
    Now, Staged, Votes, WitnessAnswer, WitnessOutcome, WitnessRequest, mutation::Mutation,
};

use crate::check::recorded::{Entry, Happened};
use crate::check::{Checker, Standing};
use crate::clock::Clock;
use crate::kernel::Heartbeat;
use crate::machine::{Machine, RECORD_LEASE_NS};
use crate::random::Random;
use crate::witness::Witness;

/// Lines of the log of a run that are kept.
const LOG_LINES: usize = 20_000;

/// Datagrams that wait at the interface of a machine that stands still; what comes later is lost.
const QUEUED: usize = 64;

/// Up to this many nodes every input comes with all echoes, so that nothing is missed that could break a rule.
const FEW: u16 = 32;

/// Kinds from here on are numbered and belong to a proven incarnation; those below are the handshake.
const FIRST_NUMBERED: u8 = 20;

/// Datagrams that an eavesdropper keeps.
const CAPTURED: usize = 512;

/// What a datagram carries.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// A control message, without what only the receiver knows.
    Control(ControlMessage),
}

/// Something that happens at a true time.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A datagram arrives at the machine with this index.
    Arrive(usize, Frame),
    /// The sender of a machine runs, in this life.
    Beat(usize, u64),
    /// The judge of a machine runs, in this life.
    Judge(usize, u64),
    /// The core of a machine asked to be woken, in this life, by this order.
    Wake(usize, u64, u64),
    /// A machine starts.
    Start(usize),
    /// A frozen controller goes on, in this life.
    Thaw(usize, u64),
    /// A machine that stood still as a whole goes on.
    Resume(usize),
    /// An operation on the witness takes effect; its machine, the life that asked, when it began there.
    Witness(usize, u64, WitnessRequest, Now),
    /// It is answered.
    WitnessAnswer(usize, u64, WitnessAnswer),
    /// The next fault.
    Fault,
}

/// A running simulation.
pub struct World {
    /// Configuration of the cluster; `local` is set per machine.
    pub config: CoreConfig,
    /// What decides an exact half.
    pub arbiter: Arbiter,
    /// Randomness of the run.
    pub random: Random,
    /// True time.
    pub true_ns: u64,
    /// Machines, in the order of the configured nodes.
    pub machines: Vec<Machine>,
    /// One-way cuts: network, from, to.
    pub cuts: BTreeSet<(NetworkId, NodeId, NodeId)>,
    /// Ways on which control messages are lost and heartbeats are not.
    pub control_cuts: BTreeSet<(NodeId, NodeId)>,
    /// Datagrams lost of a thousand.
    pub loss: u64,
    /// Datagrams duplicated of a thousand.
    pub duplication: u64,
    /// Longest delay of a datagram.
    pub delay_ns: u64,
    /// The invariants.
    pub checker: Checker,
    /// What happened, for people.
    pub log: Vec<String>,
    /// What operators were told: true time, the node that logs, the event.
    pub events: Vec<(u64, NodeId, Event)>,
    /// Datagrams that an eavesdropper has kept.
    pub captured: Vec<(usize, Frame)>,
    /// Whether hosts outside of the cluster answer a node on a network; none are known where nothing is said.
    pub outside: BTreeMap<(NetworkId, NodeId), bool>,
    /// The witness; asked only where the arbiter is one.
    pub witness: Witness,
    /// A rule of the core that is broken on purpose.
    pub mutation: Option<Mutation>,
    /// The driver binds without clearing the kernel: it goes on echoing whom the decision leaves out.
    pub echo_after_binding: bool,
    /// Control messages sent, and their bytes.
    pub sent: (u64, u64),
    /// Control messages to the machine with this index are kept in [`Self::tapped`].
    pub tap: Option<usize>,
    /// What was tapped.
    pub tapped: Vec<ControlMessage>,
    /// What the cores were told and did, where it is recorded.
    pub recording: Option<Vec<Entry>>,
    stop_time_ns: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    order: u64,
}

impl World {
    /// A world in which every machine is switched off.
    #[must_use]
    pub fn new(mut config: CoreConfig, arbiter: Arbiter, seed: u64) -> Self {
        let mut random = Random::new(seed);
        if arbiter == Arbiter::Witness {
            // As the cores have it.
            config.timing.grace_ns = config.timing.grace_ns.max(2 * RECORD_LEASE_NS);
        }
        let machines = config
            .nodes
            .iter()
            .map(|node| {
                let ppm = i64::try_from(random.below(20_001)).unwrap_or(0) - 10_000;
                Machine::new(node.id, Clock::new(0, ppm))
            })
            .collect();
        Self {
            checker: Checker::new(&config, arbiter),
            stop_time_ns: config.timing.interval_ns * 2,
            config,
            arbiter,
            random,
            true_ns: 0,
            machines,
            cuts: BTreeSet::new(),
            control_cuts: BTreeSet::new(),
            loss: 0,
            duplication: 0,
            delay_ns: 200_000,
            log: Vec::new(),
            events: Vec::new(),
            captured: Vec::new(),
            outside: BTreeMap::new(),
            witness: Witness::new(10_000_000),
            mutation: None,
            echo_after_binding: false,
            sent: (0, 0),
            tap: None,
            tapped: Vec::new(),
            recording: None,
            queue: BTreeMap::new(),
            order: 0,
        }
    }

    /// Schedules something after `in_ns` of true time.
    pub fn after(&mut self, in_ns: u64, what: Happening) {
        self.order += 1;
        self.queue.insert((self.true_ns + in_ns, self.order), what);
    }

    /// Runs until this true time, or until nothing is left. Faults are handed to `fault`.
    pub fn run_until(&mut self, end_ns: u64, mut fault: impl FnMut(&mut Self)) {
        while let Some(((at_ns, _), what)) = self.queue.pop_first() {
            if at_ns > end_ns {
                self.order += 1;
                self.queue.insert((at_ns, self.order), what);
                break;
            }
            self.true_ns = at_ns;
            if matches!(what, Happening::Fault) {
                fault(self);
            } else {
                self.happen(what);
            }
            if !self.checker.violations.is_empty() {
                return;
            }
        }
        self.true_ns = end_ns;
    }

    /// A line for people.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.log.len() < LOG_LINES {
            let line = format!("{:>12.6} {}", self.true_ns as f64 / 1e9, text());
            self.log.push(line);
        }
    }

    /// Cuts or heals a pair in both directions on these networks.
    pub fn cut_pair(&mut self, networks: &[NetworkId], a: NodeId, b: NodeId, cut: bool) {
        for network in networks {
            for way in [(*network, a, b), (*network, b, a)] {
                if cut {
                    self.cuts.insert(way);
                } else {
                    self.cuts.remove(&way);
                }
            }
        }
    }

    /// The machine dies at once.
    pub fn crash(&mut self, index: usize) {
        let (id, true_ns) = (self.machines[index].id, self.true_ns);
        self.note(|| format!("node {id} crashes"));
        let now = self.machines[index].now(true_ns);
        self.record(index, now, || Happened::Ended);
        let machine = &mut self.machines[index];
        machine.note_viewless(true_ns);
        machine.core = None;
        machine.view = None;
        machine.lease_end_ns = 0;
        machine.life += 1;
        machine.clock.resume(true_ns);
        machine.stunned_until_ns = 0;
        self.checker.disturb(id, true_ns);
    }

    /// The controller is killed; the kernel goes on accepting, nothing is sent. It is restarted after `pause_ns`.
    pub fn kill(&mut self, index: usize, pause_ns: u64) {
        let (id, true_ns) = (self.machines[index].id, self.true_ns);
        self.note(|| format!("the controller of node {id} is killed"));
        self.machines[index].note_viewless(true_ns);
        self.machines[index].kill();
        self.checker.disturb(id, true_ns);
        self.after(pause_ns, Happening::Start(index));
    }

    /// The whole machine stands still, its clock too.
    pub fn stun(&mut self, index: usize, for_ns: u64) {
        let (id, true_ns) = (self.machines[index].id, self.true_ns);
        let machine = &mut self.machines[index];
        if machine.core.is_none() || machine.stunned_until_ns != 0 {
            return;
        }
        machine.clock.stop(true_ns);
        machine.stunned_until_ns = true_ns + for_ns;
        self.note(|| format!("node {id} stands still as a whole for {for_ns} ns"));
        self.checker.disturb(id, true_ns);
        self.after(for_ns, Happening::Resume(index));
    }

    fn resume(&mut self, index: usize) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        if machine.stunned_until_ns == 0 || true_ns < machine.stunned_until_ns {
            return;
        }
        let length_ns = machine.clock.resume(true_ns);
        // What is on its way was reckoned by the clock that stood.
        machine.woken_at = None;
        machine.stunned_until_ns = 0;
        machine.unaware = Some((length_ns, true_ns));
        let (id, life) = (machine.id, machine.life);
        if machine.frozen_until_ns > true_ns - length_ns {
            machine.frozen_until_ns += length_ns;
            let left_ns = machine.frozen_until_ns - true_ns;
            self.after(left_ns, Happening::Thaw(index, life));
        }
        self.note(|| format!("node {id} goes on after {length_ns} ns, and knows nothing of it"));
        self.checker.disturb(id, true_ns);
        let queued = std::mem::take(&mut self.machines[index].queue);
        for frame in queued {
            self.arrive(index, frame);
        }
        self.after(1, Happening::Beat(index, life));
        self.after(1, Happening::Judge(index, life));
        self.feed(index, Input::Timer);
    }

    /// The controller stands still; `mute` stops the sender as well.
    pub fn freeze(&mut self, index: usize, for_ns: u64, mute: bool) {
        let (id, life, true_ns) = (self.machines[index].id, self.machines[index].life, self.true_ns);
        self.note(|| format!("node {id} freezes for {for_ns} ns, sender too: {mute}"));
        self.machines[index].frozen_until_ns = true_ns + for_ns;
        self.machines[index].mute = mute;
        self.checker.disturb(id, true_ns);
        self.after(for_ns, Happening::Thaw(index, life));
    }

    /// Feeds one input, or lets it wait for a frozen controller, and carries out what follows.
    pub fn feed(&mut self, index: usize, input: Input) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        if machine.core.is_none() || machine.stunned_until_ns != 0 {
            return;
        }
        if machine.frozen_until_ns > true_ns {
            // As long as a socket buffer: what comes later is lost.
            if machine.inbox.len() < 256 {
                machine.inbox.push(input);
            } else {
                machine.overflow = true;
            }
            return;
        }
        let now = machine.now(true_ns);
        machine.beat += 1;
        // In a large cluster once in an interval, as in a reactor that reads what is new: all of them with each input would
        // be most of the work.
        let few = self.config.nodes.len() <= usize::from(FEW);
        let due = few || machine.echoes_due_ns <= true_ns;
        if due {
            machine.echoes_due_ns = true_ns + self.config.timing.interval_ns / 2;
            let echoes = machine.echoes();
            self.tell(index, now, echoes);
        }
        self.tell(index, now, input);
        self.drain(index);
    }

    /// Hands one input to a core, whatever state its machine is in.
    fn tell(&mut self, index: usize, now: Now, input: Input) {
        self.record(index, now, || Happened::Input(input.clone()));
        if let Some(core) = &mut self.machines[index].core {
            core.handle(now, input);
        }
    }

    fn record(&mut self, index: usize, now: Now, what: impl FnOnce() -> Happened) {
        if let Some(recording) = &mut self.recording {
            recording.push(Entry { true_ns: self.true_ns, node: self.machines[index].id, now, what: what() });
        }
    }

    /// The operator puts a configuration into the file of a node, and tells the node.
    pub fn stage(&mut self, index: usize, staged: &Staged) {
        let id = self.machines[index].id;
        self.note(|| format!("configuration {} is staged on node {id}", staged.config.digest));
        self.checker.under(staged.config.digest, Votes::new(&staged.config, staged.arbiter));
        let original = staged.config.digest == self.config.digest;
        self.machines[index].file = (!original).then(|| staged.clone());
        let local = CoreConfig { local: id, ..staged.config.clone() };
        let staged = Some(Box::new(Staged { config: local, ..staged.clone() }));
        self.feed(index, Input::Membership(MembershipInput::Stage { staged }));
    }

    /// The variant whose grace is longest.
    pub const LONGER_GRACE: u8 = u8::MAX / 2;

    /// A heartbeat of another interval, votes or grace than those of the world is of no configuration here: variants
    /// differ in one vote, or in the grace.
    #[must_use]
    pub fn variant(&self, number: u8) -> Staged {
        let mut config = self.config.clone();
        if number > 0 {
            config.digest = ConfigDigest([100 + number; 32]);
            match config.nodes.get_mut(usize::from(number) - 1) {
                Some(node) => node.votes += 1,
                None => config.timing.grace_ns += u64::from(number) * config.timing.interval_ns,
            }
        }
        Staged { config, arbiter: self.arbiter, record_lease_ns: RECORD_LEASE_NS }
    }

    /// Everyone as the checker sees them.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.machines
            .iter()
            .map(|machine| Standing {
                life: (machine.id, machine.incarnation().unwrap_or(Incarnation(0))),
                view: machine.view.clone(),
                leased: machine.leased(self.true_ns),
                unaware: machine.unaware.is_some(),
            })
            .collect()
    }

    /// Whether something concerns a machine that stands still as a whole: it does not happen, or waits at the interface.
    fn stands_still(&mut self, what: &Happening) -> bool {
        let index = match what {
            Happening::Arrive(index, _)
            | Happening::Beat(index, _)
            | Happening::Judge(index, _)
            | Happening::Wake(index, _, _)
            | Happening::Thaw(index, _)
            | Happening::WitnessAnswer(index, _, _) => *index,
            Happening::Start(_) | Happening::Resume(_) | Happening::Witness(..) | Happening::Fault => return false,
        };
        let machine = &mut self.machines[index];
        if machine.stunned_until_ns == 0 {
            return false;
        }
        match what {
            Happening::Arrive(_, frame) => {
                if machine.queue.len() < QUEUED {
                    machine.queue.push(frame.clone());
                }
            }
            // A program that waits for the witness waits on.
            Happening::WitnessAnswer(index, life, answer) => {
                let in_ns = machine.stunned_until_ns.saturating_sub(self.true_ns) + 1;
                self.after(in_ns, Happening::WitnessAnswer(*index, *life, *answer));
            }
            Happening::Wake(..) => machine.woken_at = None,
            Happening::Beat(..)
            | Happening::Judge(..)
            | Happening::Thaw(..)
            | Happening::Start(_)
            | Happening::Resume(_)
            | Happening::Witness(..)
            | Happening::Fault => {}
        }
        true
    }

    fn happen(&mut self, what: Happening) {
        if self.stands_still(&what) {
            return;
        }
        match what {
            Happening::Resume(index) => self.resume(index),
            Happening::Arrive(index, frame) => self.arrive(index, frame),
            Happening::Beat(index, life) => self.beat(index, life),
            Happening::Judge(index, life) => self.judge(index, life),
            Happening::Wake(index, life, order) => {
                let machine = &mut self.machines[index];
                if machine.life == life && machine.wake == order {
                    machine.woken_at = None;
                    if machine.frozen_until_ns <= self.true_ns {
                        self.feed(index, Input::Timer);
                    }
                }
            }
            Happening::Start(index) => self.start(index),
            Happening::Thaw(index, life) => self.thaw(index, life),
            Happening::Fault => {}
            Happening::Witness(index, life, request, started) => {
                let outcome = match self.witness.unreachable.contains(&index) {
                    true => WitnessOutcome::Failed,
                    false => self.witness.apply(request),
                };
                let delay_ns = 1 + self.random.below(self.witness.delay_ns);
                self.after(delay_ns, Happening::WitnessAnswer(index, life, WitnessAnswer { started, outcome }));
            }
            Happening::WitnessAnswer(index, life, answer) => {
                if self.machines[index].life == life {
                    self.feed(index, Input::Membership(MembershipInput::Witness(answer)));
                }
            }
        }
    }

    fn start(&mut self, index: usize) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        if machine.core.is_some() {
            return;
        }
        if machine.killed && machine.adopt(&self.config, self.arbiter, self.stop_time_ns, true_ns) {
            let (id, life) = (machine.id, machine.life);
            if let (Some(core), Some(mutation)) = (&mut machine.core, self.mutation) {
                core.mutate(mutation);
            }
            let (now, incarnation) = (machine.now(true_ns), Incarnation(machine.disk.incarnation));
            let view = machine.view.as_deref().cloned();
            self.record(index, now, || Happened::Started { incarnation, view });
            self.note(|| format!("node {id} adopts what it finds"));
            self.checker.disturb(id, true_ns);
            // A restarted sender beats at once: its peers have waited long enough.
            self.after(1, Happening::Beat(index, life));
            self.after(1, Happening::Judge(index, life));
            self.drain(index);
            let standing = self.machines[index].kernel.standing(self.machines[index].now(true_ns).mono_ns);
            for input in standing {
                self.feed(index, input);
            }
            return;
        }
        // Without its disk a node falls back on its clock, which may be behind but is never twice the same.
        let incarnation = if machine.disk.incarnation == 0 { 1 + true_ns / 1000 } else { machine.disk.incarnation + 1 };
        let id = machine.id;
        machine.start(&self.config, self.arbiter, self.stop_time_ns, incarnation, true_ns);
        if let (Some(core), Some(mutation)) = (&mut machine.core, self.mutation) {
            core.mutate(mutation);
        }
        let life = machine.life;
        let now = self.machines[index].now(true_ns);
        self.record(index, now, || Happened::Started { incarnation: Incarnation(incarnation), view: None });
        self.note(|| format!("node {id} starts as {incarnation}"));
        self.checker.disturb(id, true_ns);
        let beat = self.random.below(self.config.timing.interval_ns);
        self.after(beat, Happening::Beat(index, life));
        self.after(1, Happening::Judge(index, life));
        self.drain(index);
    }

    fn thaw(&mut self, index: usize, life: u64) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        if machine.life != life || machine.frozen_until_ns > true_ns {
            return;
        }
        let id = machine.id;
        machine.mute = false;
        let waiting = std::mem::take(&mut machine.inbox);
        self.note(|| format!("node {id} goes on"));
        self.checker.disturb(id, true_ns);
        if let Some((length_ns, _)) = self.machines[index].unaware {
            self.notice_stun(index, length_ns);
        }
        self.feed(index, Input::Timer);
        for input in waiting {
            self.feed(index, input);
        }
        let machine = &mut self.machines[index];
        if std::mem::take(&mut machine.overflow) {
            for input in machine.kernel.standing(machine.now(true_ns).mono_ns) {
                self.feed(index, input);
            }
        }
    }

    /// A driver that is not frozen tells its core that the clock stood, once something fresh has arrived.
    fn notice_stun(&mut self, index: usize, length_ns: u64) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        if machine.fresh && machine.frozen_until_ns <= true_ns {
            machine.fresh = false;
            machine.unaware = None;
            // Before the echoes that have come since, as in the reactor.
            let now = machine.now(true_ns);
            self.tell(index, now, Input::Membership(MembershipInput::ClockStood { length_ns }));
            self.drain(index);
        }
    }

    fn beat(&mut self, index: usize, life: u64) {
        let (true_ns, interval_ns) = (self.true_ns, self.config.timing.interval_ns);
        let machine = &mut self.machines[index];
        if machine.life != life {
            return;
        }
        let now = machine.now(true_ns);
        let next_ns = machine.clock.to_true(now.mono_ns + interval_ns) - true_ns;
        self.after(next_ns, Happening::Beat(index, life));
        let machine = &self.machines[index];
        let (Some(incarnation), source) = (machine.incarnation(), machine.id) else { return };
        if machine.mute || machine.killed {
            return;
        }
        let networks: Vec<_> = self.config.networks.iter().map(|network| network.id).collect();
        let peers: Vec<_> = self.machines.iter().map(|peer| peer.id).filter(|id| *id != source).collect();
        for peer in peers {
            for network in &networks {
                let machine = &mut self.machines[index];
                let sequence = machine.take_sequence(peer, *network, false);
                let echo_ns = machine.kernel.echo_for(peer, *network);
                let sent_ns = now.mono_ns;
                let beat = machine.beat;
                let heartbeat = Heartbeat { source, network: *network, incarnation, sequence, sent_ns, echo_ns, beat };
                self.transmit(source, peer, *network, Frame::Heartbeat(heartbeat));
            }
        }
        self.feed(index, Input::Timer);
    }

    fn judge(&mut self, index: usize, life: u64) {
        let (true_ns, timing) = (self.true_ns, self.config.timing);
        let machine = &mut self.machines[index];
        if machine.life != life {
            return;
        }
        let now = machine.now(true_ns);
        let (told, next_ns) = machine.kernel.judge(now.mono_ns, &timing);
        let next_ns = machine.clock.to_true(next_ns).saturating_sub(true_ns).max(1);
        self.after(next_ns, Happening::Judge(index, life));
        for input in told {
            self.feed(index, input);
        }
    }

    /// Sends a datagram: it may be lost, delayed, duplicated, and is perhaps captured.
    fn transmit(&mut self, from: NodeId, to: NodeId, network: NetworkId, frame: Frame) {
        let Some(index) = self.index_of(to) else { return };
        let control = matches!(frame, Frame::Control(_));
        if let (Frame::Control(message), true) = (&frame, self.tap == Some(index)) {
            self.tapped.push(message.clone());
        }
        if control && self.control_cuts.contains(&(from, to)) {
            return;
        }
        if self.cuts.contains(&(network, from, to)) || self.random.chance(self.loss) {
            return;
        }
        // Only what arrives as well: to hold back a datagram and deliver it first later is delay, not replay.
        if self.random.chance(20) {
            let captured = (index, frame.clone());
            if self.captured.len() < CAPTURED {
                self.captured.push(captured);
            } else {
                let slot = self.random.index(CAPTURED);
                self.captured[slot] = captured;
            }
        }
        if self.random.chance(self.duplication) {
            let delay_ns = 50_000 + self.random.below(self.delay_ns);
            self.after(delay_ns, Happening::Arrive(index, frame.clone()));
        }
        let delay_ns = 50_000 + self.random.below(self.delay_ns);
        self.after(delay_ns, Happening::Arrive(index, frame));
    }

    /// Where the machine with this id is: machines stand in the order of their ids, mostly without gaps.
    fn index_of(&self, id: NodeId) -> Option<usize> {
        let guess = usize::from(id.0).checked_sub(1)?;
        if self.machines.get(guess).is_some_and(|machine| machine.id == id) {
            return Some(guess);
        }
        self.machines.iter().position(|machine| machine.id == id)
    }

    /// When a heartbeat was sent, in true time.
    fn sent_true_ns(&self, heartbeat: &Heartbeat) -> u64 {
        let sender = self.machines.iter().find(|machine| machine.id == heartbeat.source);
        sender.map_or(0, |sender| sender.clock.to_true(heartbeat.sent_ns))
    }

    fn arrive(&mut self, index: usize, frame: Frame) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        let Some(own) = machine.incarnation() else { return };
        match frame {
            Frame::Heartbeat(heartbeat) => {
                let now = machine.now(true_ns);
                let to = (machine.id, own);
                let (told, accepted) = machine.kernel.receive(&heartbeat, now.mono_ns);
                let unaware = machine.unaware.filter(|_| accepted);
                if let Some((length_ns, since_ns)) = unaware
                    && self.sent_true_ns(&heartbeat) > since_ns
                {
                    // What a driver that runs sees: send times and stamps are apart by less than they were.
                    self.machines[index].fresh = true;
                    self.notice_stun(index, length_ns);
                }
                if accepted {
                    self.checker.accepted((heartbeat.source, heartbeat.incarnation), to, heartbeat.sent_ns, true_ns);
                }
                for input in told {
                    self.feed(index, input);
                }
            }
            Frame::Control(mut message) => {
                // Only a handshake tells its peer where the windows begin.
                if message.kind < FIRST_NUMBERED {
                    let networks: Vec<_> = self.config.networks.iter().map(|network| network.id).collect();
                    message.next = machine.next_sequences(message.source, &networks);
                }
                self.feed(index, Input::Control(message));
            }
        }
    }
}
