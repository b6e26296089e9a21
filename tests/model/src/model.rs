//! The model as the checker sees it: where it begins, what may happen, what must hold.

use heartbeat_membership::{
    Arbiter, ConfigDigest, CoreConfig, EventId, NetworkConfig, NetworkRole, NodeConfig, NodeId, Timing, Votes,
    mutation::Mutation,
};
use stateright::{Model, Property};

use crate::{
    cluster::{Cluster, Way},
    faults::{self, Step},
    kernel::NETWORK,
};

/// Intervals within which everyone must be in again once nothing is broken any more: silence, the limits of a regroup, the
/// wait before forming, and for each node a restart and a join.
const RECOVERY: u64 = 120;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Broken {
    /// A rule of the core.
    pub rule: Option<Mutation>,
    /// The driver binds without clearing the kernel.
    pub echo_after_binding: bool,
}

/// What is explored.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Nodes, 2 to 5.
    pub nodes: u16,
    /// Faults on every path, at most.
    pub faults: u8,
    /// Which faults strike.
    pub strikes: fn(Step) -> bool,
    /// What is broken on purpose.
    pub broken: Broken,
    /// Whether faults strike between the messages of a regroup as well, not only between intervals.
    pub within_intervals: bool,
    /// Whether everyone must be in again once nothing is broken any more. Costs about as much as all the rest.
    pub recovery: bool,
}

impl Scope {
    /// A step. The limits of a regroup are 4 of them, as with the default interval.
    pub const INTERVAL_NS: u64 = 1_000_000_000;

    /// Everything at its shortest, so that every age that matters is a small number of steps.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing {
            interval_ns: Self::INTERVAL_NS,
            late_after: 1,
            lost_after: 2,
            grace_ns: 2 * Self::INTERVAL_NS,
            hang_timeout_ns: 10 * Self::INTERVAL_NS,
        }
    }

    /// How long a node may take to stop.
    #[must_use]
    pub fn stop_time_ns(&self) -> u64 {
        Self::INTERVAL_NS
    }

    /// What decides an exact half: a node, where there is one.
    #[must_use]
    pub fn arbiter(&self) -> Arbiter {
        if self.nodes.is_multiple_of(2) { Arbiter::TieBreaker(None) } else { Arbiter::Majority }
    }

    /// The votes.
    #[must_use]
    pub fn votes(&self) -> Votes {
        Votes::new(&self.config(NodeId(1)), self.arbiter())
    }

    /// How long a new incarnation waits before it forms: L + 2.1 % + I + grace + stop time.
    #[must_use]
    pub fn wait_ns(&self) -> u64 {
        let (timing, lease_ns) = (self.timing(), self.timing().lease_ns());
        lease_ns + lease_ns / 1000 * 21 + timing.interval_ns + timing.grace_ns + self.stop_time_ns()
    }

    /// Every node.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.nodes).map(NodeId)
    }

    /// Every direction.
    pub fn ways(&self) -> impl Iterator<Item = Way> + use<> {
        let ids = self.ids();
        ids.flat_map({
            let scope = *self;
            move |from| scope.ids().filter(move |to| *to != from).map(move |to| Way { from, to })
        })
    }

    /// The configuration of a node.
    #[must_use]
    pub fn config(&self, local: NodeId) -> CoreConfig {
        let node = |id: NodeId| NodeConfig { id, name: id.to_string(), votes: 1, networks: vec![NETWORK] };
        CoreConfig {
            local,
            nodes: self.ids().map(node).collect(),
            networks: vec![NetworkConfig { id: NETWORK, name: "n".into(), role: NetworkRole::Internal }],
            timing: self.timing(),
            digest: ConfigDigest([1; 32]),
            abi: 1,
        }
    }

    /// All machines just switched on.
    #[must_use]
    pub fn booting(&self) -> Cluster {
        let mut cluster = Cluster::dark(self);
        for id in self.ids() {
            faults::strike(&mut cluster, self, Step::Start(id));
        }
        cluster
    }

    /// All in one view, for as long as anything remembers.
    ///
    /// # Panics
    /// If they do not form one: then nothing that follows means anything.
    #[must_use]
    pub fn formed(&self) -> Cluster {
        let mut cluster = Cluster { budget: 0, ..self.booting() };
        let steady = (0..RECOVERY).filter(|_| {
            cluster.tick(self);
            cluster.all_in()
        });
        let steady = steady.count();
        assert!(steady > 60 && cluster.violation.is_none(), "no cluster forms: {cluster:?} {:?}", cluster.violation);
        cluster.told.clear();
        Cluster { budget: self.faults, ..cluster }
    }

    /// Takes a step.
    #[must_use]
    pub fn after(&self, state: &Cluster, step: Step) -> Cluster {
        let mut next = state.clone();
        next.told.clear();
        if step.is_fault() {
            next.budget -= 1;
        }
        match step {
            Step::Tick => next.tick(self),
            Step::Deliver => {
                next.deliver(self);
                next.settle(self);
            }
            Step::Lose
            | Step::Postpone
            | Step::Cut(..)
            | Step::CutPair(..)
            | Step::Mute(..)
            | Step::Partition(_)
            | Step::Crash(_)
            | Step::Restart(_)
            | Step::Freeze(..)
            | Step::Stale(..)
            | Step::Mend
            | Step::Start(_)
            | Step::Thaw(_) => {
                faults::strike(&mut next, self, step);
                next.settle(self);
            }
        }
        if self.recovery && next.budget == 0 && next.is_sound() && (state.budget > 0 || !state.is_sound()) {
            self.check_recovery(&mut next);
        }
        next
    }

    /// Invariant 8: from the moment when the last fault has struck and nothing is broken, everyone is soon in again.
    fn check_recovery(&self, state: &mut Cluster) {
        let mut ahead = state.clone();
        let recovers = (0..RECOVERY).any(|_| {
            ahead.tick(self);
            ahead.violation.is_some() || ahead.all_in()
        });
        if !recovers {
            state.violate(8, || format!("after {RECOVERY} intervals without a fault not all are in: {ahead:?}"));
        }
    }
}

impl Model for Scope {
    type State = Cluster;
    type Action = Step;

    fn init_states(&self) -> Vec<Cluster> {
        vec![self.booting(), self.formed()]
    }

    fn actions(&self, state: &Cluster, steps: &mut Vec<Step>) {
        faults::possible(state, self, steps);
    }

    fn next_state(&self, state: &Cluster, step: Step) -> Option<Cluster> {
        Some(self.after(state, step))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn keeps<const INVARIANT: u8>(_: &Scope, state: &Cluster) -> bool {
            state.violation.as_ref().is_none_or(|violation| violation.invariant != INVARIANT)
        }
        let mut properties = vec![
            Property::always("1: who was declared gone does not act", keeps::<1>),
            Property::always("2: no two act that do not know each other", keeps::<2>),
            Property::always("3: one view of a number, a quorum stays, all announce first", keeps::<3>),
            Property::always("4: a lease rests on a quorum that heard", keeps::<4>),
            Property::always("5: takeovers under a lease, forming by a majority after the wait", keeps::<5>),
            Property::always("6: sequence, view number and epoch never fall", keeps::<6>),
            Property::always("7: a poison stops only who was left out", keeps::<7>),
            Property::always("8: messages end, and everyone is in again", keeps::<8>),
            Property::sometimes("everyone is in one view", |_, state: &Cluster| state.all_in()),
        ];
        // What a run without faults cannot show.
        if self.faults > 0 {
            properties.extend([
                Property::sometimes("a node is removed", |_, state: &Cluster| state.told(EventId::NodeRemoved)),
                Property::sometimes("a takeover is safe", |_, state: &Cluster| state.told(EventId::RemovalSafe)),
                Property::sometimes("a lease lapses", |_, state: &Cluster| state.told(EventId::Suspended)),
                Property::sometimes("a node stops without quorum", |_, state: &Cluster| {
                    state.told(EventId::QuorumLost)
                }),
                Property::sometimes("a node comes into a view that stands", |_, state: &Cluster| {
                    state.told(EventId::NodeJoined)
                }),
            ]);
        }
        properties
    }
}
