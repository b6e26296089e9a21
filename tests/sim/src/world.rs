//! The world of a run: machines, networks, one true time, one source of randomness.

mod driver;
mod lives;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_membership::{
    Arbiter, ConfigDigest, ControlMessage, CoreConfig, Event, Incarnation, Input, MembershipInput, NetworkId, NodeId,
    Now, Staged, Votes, WitnessAnswer, WitnessOutcome, WitnessRequest, mutation::Mutation,
};

use crate::check::recorded::{Entry, Happened};
use crate::check::{Checker, Standing};
use crate::clock::Clock;
use crate::machine::{Machine, RECORD_LEASE_NS};
use crate::random::Random;
use crate::witness::Witness;

pub use wire::{Frame, Letter};

/// Lines of the log of a run that are kept.
const LOG_LINES: usize = 20_000;

/// Datagrams that wait at the interface of a machine that stands still; what comes later is lost.
const QUEUED: usize = 64;

/// Up to this many nodes every input comes with all echoes, so that nothing is missed that could break a rule.
const FEW: u16 = 32;

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
}
