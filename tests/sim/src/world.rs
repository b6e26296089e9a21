//! The world of a run: machines, networks, one true time, one source of randomness.

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_membership::{
    Action, Arbiter, ControlMessage, CoreConfig, Detail, Enforcement, Event, EventId, HaltReason, Incarnation, Input,
    MembershipAction, MembershipInput, NetworkId, Newest, NodeId, NodeSet, mutation::Mutation,
};

use crate::check::{Checker, Standing};
use crate::clock::Clock;
use crate::kernel::Heartbeat;
use crate::machine::Machine;
use crate::random::Random;

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

    fn drain(&mut self, index: usize) {
        while let Some(action) = self.machines[index].core.as_mut().and_then(heartbeat_membership::Node::poll_action) {
            self.carry_out(index, action);
            if !self.checker.violations.is_empty() {
                return;
            }
        }
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        let due = machine.core.as_ref().and_then(heartbeat_membership::Node::poll_timeout);
        machine.wake += 1;
        if let Some((due_ns, _)) = due {
            let in_ns = machine.clock.to_true(due_ns).saturating_sub(true_ns).max(1);
            let wake = Happening::Wake(index, machine.life, machine.wake);
            self.after(in_ns, wake);
        }
    }

    fn carry_out(&mut self, index: usize, action: Action) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        let now = machine.now(true_ns);
        let Some(incarnation) = machine.incarnation() else { return };
        match action {
            Action::Send { peer, network, kind, body } => {
                let sequence = machine.take_sequence(peer, network, true);
                let source = machine.id;
                self.sent.0 += 1;
                self.sent.1 += body.len() as u64 + 104;
                let (incarnation, kind, next) = (incarnation.0, kind.byte(), Vec::new());
                let message = ControlMessage { network, source, incarnation, sequence, kind, body, next };
                self.transmit(source, peer, network, Frame::Control(message));
            }
            Action::AcceptIncarnation { peer, incarnation, next } => {
                machine.kernel.accept(peer, incarnation, &next, now.mono_ns);
            }
            Action::ClearIncarnation { peer } => {
                machine.kernel.clear(peer);
            }
            Action::TakeIncarnation { at_least } => {
                let taken = at_least.0.max(machine.disk.incarnation + 1);
                machine.disk.incarnation = taken;
                machine.next.clear();
                machine.view = None;
                machine.lease_end_ns = 0;
                machine.began_ns = now.mono_ns;
                machine.began_true_ns = true_ns;
                machine.viewless_ns = true_ns;
                let id = machine.id;
                let incarnation = Incarnation(taken);
                if let Some(core) = &mut machine.core {
                    core.handle(now, Input::IncarnationTaken { incarnation });
                }
                self.checker.disturb(id, true_ns);
                self.note(|| format!("node {id} takes incarnation {taken}"));
            }
            Action::Membership(action) => self.membership(index, action),
            Action::Event(event) => self.event(index, &event),
            Action::Stop => {
                let id = machine.id;
                machine.note_viewless(true_ns);
                machine.core = None;
                machine.view = None;
                machine.lease_end_ns = 0;
                machine.life += 1;
                self.checker.disturb(id, true_ns);
                self.note(|| format!("node {id} has left"));
            }
        }
    }

    fn membership(&mut self, index: usize, action: MembershipAction) {
        let true_ns = self.true_ns;
        let wait_ns = self.formation_wait_ns();
        let machine = &mut self.machines[index];
        let now = machine.now(true_ns);
        let life = (machine.id, machine.incarnation().unwrap_or(Incarnation(0)));
        match action {
            MembershipAction::Persist(record) => {
                machine.disk.epoch = machine.disk.epoch.max(record.epoch);
                self.checker.recorded(life, &record);
                self.machines[index].record = Some(record);
            }
            MembershipAction::Bind { sequence, exclude } => {
                let (kernel, clears) = (&mut machine.kernel, !self.echo_after_binding);
                let newest = |peer: &NodeId| {
                    let stamp_ns = if clears { kernel.clear(*peer) } else { kernel.newest(*peer) };
                    Newest { peer: *peer, stamp_ns }
                };
                let newest = exclude.iter().map(newest).collect();
                self.note(|| format!("node {} binds itself against {exclude:?} at {sequence}", life.0));
                let bound = Input::Membership(MembershipInput::Bound { sequence, newest });
                if let Some(core) = &mut self.machines[index].core {
                    core.handle(now, bound);
                }
            }
            MembershipAction::Lease { end_boot_ns } => {
                machine.lease_end_ns = end_boot_ns;
                let all = self.standings();
                self.checker.leases(index, end_boot_ns, &all);
            }
            MembershipAction::Install(view) => {
                let waited = now.mono_ns >= machine.began_ns + wait_ns;
                let began_true_ns = machine.began_true_ns;
                self.machines.iter_mut().for_each(|machine| machine.note_viewless(true_ns));
                let all_here = self.machines.iter().all(|machine| machine.viewless_ns >= began_true_ns);
                let machine = &mut self.machines[index];
                let predecessor = machine.view.replace(view.clone());
                machine.installed_ns = true_ns;
                self.note(|| format!("node {} installs {} {:?}", life.0, view.id.number, view.members));
                self.checker.installing(life, &view, predecessor.as_ref(), waited || all_here);
            }
            MembershipAction::Halt(reason) => {
                if reason == HaltReason::Poisoned {
                    self.checker.poisoned(life, machine.view.as_ref());
                }
                let machine = &mut self.machines[index];
                machine.view = None;
                machine.lease_end_ns = 0;
                self.note(|| format!("node {} halts: {reason:?}", life.0));
            }
        }
    }

    fn event(&mut self, index: usize, event: &Event) {
        let true_ns = self.true_ns;
        let machine = &self.machines[index];
        let life = (machine.id, machine.incarnation().unwrap_or(Incarnation(0)));
        // Evidence reaches back to when the view was installed, and to the silence that preceded it.
        let silence_ns = self.config.timing.silent_timeout_ns() * 2;
        let since_ns = machine.installed_ns.saturating_sub(silence_ns);
        let members = machine.view.as_ref().map(heartbeat_membership::View::set).unwrap_or_default();
        match (event.id, event.peer) {
            (EventId::NodeRemoved, Some(peer)) => {
                let old = members.or(&NodeSet::of(peer));
                self.checker.removed(life, peer, &old, since_ns.saturating_sub(self.patience_ns()), true_ns);
            }
            (EventId::RemovalSafe, Some(peer)) => {
                if let Detail::Safe { incarnation, enforced, .. } = event.detail {
                    let all = self.standings();
                    let confirmed = enforced == Enforcement::Confirmed;
                    self.checker.declared_safe(&all[index], (peer, incarnation), confirmed, &all);
                }
            }
            (EventId::Suspended, _) => self.checker.lapsed(life, &members, since_ns, true_ns),
            (EventId::QuorumLost, _) => self.checker.tally.quorum_lost += 1,
            (EventId::Pruned, _) => self.checker.tally.pruned += 1,
            (EventId::NodeJoined, _) => self.checker.tally.joined += 1,
            (
                EventId::NodeRemoved
                | EventId::RemovalSafe
                | EventId::LinkRestored
                | EventId::LinkLost
                | EventId::LocalStall
                | EventId::NodeLeft
                | EventId::ControllerHung
                | EventId::InterfaceUp
                | EventId::InterfaceUnreachable
                | EventId::InterfaceFailed
                | EventId::NetworkUp
                | EventId::NetworkPartitioned
                | EventId::NetworkDown
                | EventId::ViewInstalled,
                _,
            ) => {}
        }
        self.note(|| format!("node {} {} {}", life.0, event.id.number(), event.text));
        if self.events.len() < LOG_LINES {
            self.events.push((true_ns, life.0, event.clone()));
        }
    }

    /// Longest time between a silence and the removal that it causes.
    fn patience_ns(&self) -> u64 {
        self.config.timing.hang_timeout_ns + 60 * self.config.timing.interval_ns
    }

    fn formation_wait_ns(&self) -> u64 {
        let timing = &self.config.timing;
        let lease_ns = timing.lease_ns();
        lease_ns + lease_ns / 1000 * 21 + timing.interval_ns + timing.grace_ns + self.stop_time_ns
    }
}
