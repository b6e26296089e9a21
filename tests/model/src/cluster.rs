//! A state: all machines, what is cut, what is on its way, and what the invariants need to remember.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use heartbeat_membership::{ControlMessage, EventId, Kind, Node, NodeId, Now};
use serde::Serialize;

use crate::{
    check::{History, Violation},
    fingerprint::{self, EPOCH_NS},
    machine::Machine,
    model::Scope,
};

/// A direction between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Way {
    /// From this node.
    pub from: NodeId,
    /// To that one.
    pub to: NodeId,
}

/// A control message on its way.
#[derive(Debug, Clone, Serialize)]
pub struct Flight {
    /// Who shall get it.
    pub to: NodeId,
    /// What it says.
    pub message: ControlMessage,
}

/// A state.
#[derive(Clone, Serialize)]
pub struct Cluster {
    /// All machines, in the order of their ids. Shared between states until one of them changes.
    #[serde(serialize_with = "machines")]
    pub machines: Vec<Arc<Machine>>,
    /// What does not get through at all.
    pub cuts: BTreeSet<Way>,
    /// Where only heartbeats get through.
    pub mutes: BTreeSet<Way>,
    /// On its way, oldest first.
    pub flying: VecDeque<Flight>,
    /// Arrives after the next interval.
    pub postponed: Vec<Flight>,
    /// Faults that may still strike.
    pub budget: u8,
    /// What the invariants remember.
    pub history: History,
    /// The first invariant that was broken.
    pub violation: Option<Violation>,
    /// What operators were told in the last step.
    #[serde(skip)]
    pub told: Vec<(NodeId, EventId, String)>,
    /// Intervals since the beginning.
    #[serde(skip)]
    pub ticks: u64,
}

fn machines<S: serde::Serializer>(machines: &[Arc<Machine>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(machines.iter().map(AsRef::as_ref))
}

impl Cluster {
    /// Every machine switched off.
    #[must_use]
    pub fn dark(scope: &Scope) -> Self {
        Self {
            machines: scope.ids().map(|id| Arc::new(Machine::new(id))).collect(),
            cuts: BTreeSet::new(),
            mutes: BTreeSet::new(),
            flying: VecDeque::new(),
            postponed: Vec::new(),
            budget: scope.faults,
            history: History::default(),
            violation: None,
            told: Vec::new(),
            ticks: 0,
        }
    }

    /// The time, on every clock: the simulator has the ones that drift.
    #[must_use]
    pub fn now(&self) -> Now {
        let now_ns = EPOCH_NS + self.ticks * Scope::INTERVAL_NS;
        Now { mono_ns: now_ns, boot_ns: now_ns }
    }

    /// Whether faults are tried before the next message arrives: those of regroups, joins and poisons. The handshake only
    /// opens windows; its losses are those of the cuts.
    #[must_use]
    pub fn is_branching(&self, scope: &Scope) -> bool {
        let next = self.flying.front().filter(|_| scope.within_intervals && self.budget > 0);
        next.is_some_and(|flight| match Kind::from_byte(flight.message.kind) {
            Some(Kind::Regroup | Kind::Join | Kind::Poison | Kind::Leave) => true,
            Some(Kind::Hello | Kind::HelloAck | Kind::HelloDone | Kind::Connectivity | Kind::NetworkStates) | None => {
                false
            }
        })
    }

    /// The machine with this id.
    #[must_use]
    pub fn machine(&self, id: NodeId) -> &Machine {
        &self.machines[usize::from(id.0) - 1]
    }

    pub(crate) fn machine_mut(&mut self, id: NodeId) -> &mut Machine {
        Arc::make_mut(&mut self.machines[usize::from(id.0) - 1])
    }

    pub(crate) fn machines_mut(&mut self) -> impl Iterator<Item = &mut Machine> {
        self.machines.iter_mut().map(Arc::make_mut)
    }

    /// Whether everyone is in one view, and may act.
    #[must_use]
    pub fn all_in(&self) -> bool {
        let now = self.now();
        let first = self.machines[0].view.as_ref();
        first.is_some_and(|view| view.members.len() == self.machines.len())
            && self.machines.iter().all(|machine| {
                machine.view.as_ref() == first
                    && machine.leased(now)
                    && first.is_some_and(|view| view.has(machine.id, machine.incarnation))
            })
    }

    /// Whether nothing is broken.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.cuts.is_empty()
            && self.mutes.is_empty()
            && self.machines.iter().all(|machine| machine.core.is_some() && machine.frozen.is_none())
    }

    /// Whether an operator was told this in the last step.
    #[must_use]
    pub fn told(&self, id: EventId) -> bool {
        self.told.iter().any(|(_, told, _)| *told == id)
    }
}

impl Hash for Cluster {
    fn hash<H: Hasher>(&self, state: &mut H) {
        fingerprint::hash(self, self.now().mono_ns, state);
    }
}

impl PartialEq for Cluster {
    fn eq(&self, other: &Self) -> bool {
        let hash = |cluster: &Self| {
            let mut hasher = std::hash::DefaultHasher::new();
            cluster.hash(&mut hasher);
            hasher.finish()
        };
        hash(self) == hash(other)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.now();
        write!(f, "{:>3} I", self.ticks)?;
        for machine in &self.machines {
            let Some(state) = machine.core.as_ref().map(Node::snapshot).and_then(|state| state.membership) else {
                write!(f, " | {} off", machine.id)?;
                continue;
            };
            let members = machine.view.as_ref().map(|view| view.set().iter().map(|id| id.0).collect::<Vec<_>>());
            write!(f, " | {} {:?}", machine.id, state.stage)?;
            write!(f, " {members:?} {}", machine.view.as_ref().map_or(0, |view| view.id.number & 0xffff))?;
            f.write_str(if machine.leased(now) { " may act" } else { "" })?;
            f.write_str(if machine.frozen.is_some() { " frozen" } else { "" })?;
        }
        write!(f, " | {} on their way", self.flying.len() + self.postponed.len())
    }
}
