//! The world of a run: machines, networks, one true time, one source of randomness.

mod driver;

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_membership::{
    Arbiter, ControlMessage, CoreConfig, Event, Incarnation, Input, MembershipInput, NetworkId, NodeId, Now,
    WitnessAnswer, WitnessOutcome, WitnessRequest, mutation::Mutation,
};

use crate::check::{Checker, Standing};
use crate::clock::Clock;
use crate::kernel::Heartbeat;
use crate::machine::Machine;
use crate::random::Random;
use crate::witness::Witness;

/// Lines of the log of a run that are kept.
const LOG_LINES: usize = 20_000;

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
    stop_time_ns: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    order: u64,
}

impl World {
    /// A world in which every machine is switched off.
    #[must_use]
    pub fn new(config: CoreConfig, arbiter: Arbiter, seed: u64) -> Self {
        let mut random = Random::new(seed);
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
        let machine = &mut self.machines[index];
        machine.note_viewless(true_ns);
        machine.core = None;
        machine.view = None;
        machine.lease_end_ns = 0;
        machine.life += 1;
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
        if machine.core.is_none() {
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
        let echoes = machine.echoes();
        if let Some(core) = &mut machine.core {
            core.handle(now, echoes);
            core.handle(now, input);
        }
        self.drain(index);
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
            })
            .collect()
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrive(index, frame) => self.arrive(index, frame),
            Happening::Beat(index, life) => self.beat(index, life),
            Happening::Judge(index, life) => self.judge(index, life),
            Happening::Wake(index, life, order) => {
                let machine = &self.machines[index];
                if machine.life == life && machine.wake == order && machine.frozen_until_ns <= self.true_ns {
                    self.feed(index, Input::Timer);
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
                let heartbeat = Heartbeat { source, network: *network, incarnation, sequence, sent_ns, echo_ns };
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
        let Some(index) = self.machines.iter().position(|machine| machine.id == to) else { return };
        let control = matches!(frame, Frame::Control(_));
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
        let copies = 1 + u64::from(self.random.chance(self.duplication));
        for _ in 0..copies {
            let delay_ns = 50_000 + self.random.below(self.delay_ns);
            self.after(delay_ns, Happening::Arrive(index, frame.clone()));
        }
    }

    fn arrive(&mut self, index: usize, frame: Frame) {
        let true_ns = self.true_ns;
        let networks: Vec<_> = self.config.networks.iter().map(|network| network.id).collect();
        let machine = &mut self.machines[index];
        let Some(own) = machine.incarnation() else { return };
        match frame {
            Frame::Heartbeat(heartbeat) => {
                let now = machine.now(true_ns);
                let to = (machine.id, own);
                let (told, accepted) = machine.kernel.receive(&heartbeat, now.mono_ns);
                if accepted {
                    self.checker.accepted((heartbeat.source, heartbeat.incarnation), to, heartbeat.sent_ns, true_ns);
                }
                for input in told {
                    self.feed(index, input);
                }
            }
            Frame::Control(mut message) => {
                message.next = machine.next_sequences(message.source, &networks);
                self.feed(index, Input::Control(message));
            }
        }
    }
}
