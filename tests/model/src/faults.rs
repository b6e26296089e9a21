//! What can happen next.

use std::collections::BTreeSet;

use heartbeat_membership::NodeId;

use crate::{
    cluster::{Cluster, Way},
    kernel::Heartbeat,
    machine::Machine,
    model::Scope,
};

/// One step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// An interval passes: everyone beats, everyone judges, deadlines that passed are served.
    Tick,
    /// The oldest message on its way arrives.
    Deliver,
    /// Fault: the oldest message on its way is lost.
    Lose,
    /// Fault: the oldest message on its way arrives after the next interval.
    Postpone,
    /// Fault: nothing gets from the first to the second any more.
    Cut(NodeId, NodeId),
    /// Fault: nothing gets from one to the other any more, either way.
    CutPair(NodeId, NodeId),
    /// Fault: control messages get lost on this way, heartbeats do not.
    Mute(NodeId, NodeId),
    /// Fault: the nodes with these bits (bit 0 is node 1) and the others are cut off from each other.
    Partition(u8),
    /// Fault: the nodes with these bits die at once.
    Crash(u8),
    /// Fault: the controller is killed and started anew.
    Restart(NodeId),
    /// Fault: the controller stands still; with `true`, its sender as well.
    Freeze(NodeId, bool),
    /// Fault: a heartbeat of the first node's previous incarnation reaches the second.
    Stale(NodeId, NodeId),
    /// Every cut is mended.
    Mend,
    /// A dead machine is switched on.
    Start(NodeId),
    /// A controller that stood still goes on.
    Thaw(NodeId),
}

impl Step {
    /// Whether it costs a unit of the budget.
    #[must_use]
    pub fn is_fault(self) -> bool {
        match self {
            Self::Tick | Self::Deliver | Self::Mend | Self::Start(_) | Self::Thaw(_) => false,
            Self::Lose
            | Self::Postpone
            | Self::Cut(..)
            | Self::CutPair(..)
            | Self::Mute(..)
            | Self::Partition(_)
            | Self::Crash(_)
            | Self::Restart(_)
            | Self::Freeze(..)
            | Self::Stale(..) => true,
        }
    }
}

/// Every fault.
#[must_use]
pub fn any(_: Step) -> bool {
    true
}

/// Everything that may happen in this state.
pub fn possible(cluster: &Cluster, scope: &Scope, steps: &mut Vec<Step>) {
    all(cluster, scope, steps);
    steps.retain(|step| !step.is_fault() || (scope.strikes)(*step));
}

fn all(cluster: &Cluster, scope: &Scope, steps: &mut Vec<Step>) {
    if cluster.violation.is_some() {
        return;
    }
    if cluster.is_branching(scope) {
        steps.extend([Step::Deliver, Step::Lose, Step::Postpone]);
        splits(scope, steps);
        steps.extend(living(cluster).map(|machine| Step::Crash(bit(machine.id))));
        return;
    }
    steps.push(Step::Tick);
    if !cluster.cuts.is_empty() || !cluster.mutes.is_empty() {
        steps.push(Step::Mend);
    }
    for machine in &cluster.machines {
        if machine.core.is_none() {
            steps.push(Step::Start(machine.id));
        } else if machine.frozen.is_some() {
            steps.push(Step::Thaw(machine.id));
        }
    }
    if cluster.budget > 0 {
        splits(scope, steps);
        ways(cluster, scope, steps);
        deaths(cluster, steps);
        for machine in living(cluster).filter(|machine| machine.frozen.is_none()) {
            steps.extend([Step::Restart(machine.id), Step::Freeze(machine.id, false), Step::Freeze(machine.id, true)]);
        }
    }
}

/// Cuts a way off, mends, kills, and what else needs no core.
pub(crate) fn strike(cluster: &mut Cluster, scope: &Scope, step: Step) {
    let now = cluster.now();
    match step {
        Step::Tick | Step::Deliver => {}
        Step::Lose => {
            cluster.flying.pop_front();
        }
        Step::Postpone => {
            let message = cluster.flying.pop_front();
            cluster.postponed.extend(message);
        }
        Step::Cut(from, to) => {
            cluster.cuts.insert(Way { from, to });
        }
        Step::CutPair(a, b) => cluster.cuts.extend([Way { from: a, to: b }, Way { from: b, to: a }]),
        Step::Mute(from, to) => {
            cluster.mutes.insert(Way { from, to });
        }
        Step::Partition(group) => {
            let ways = scope.ways().filter(|way| (bit(way.from) & group == 0) != (bit(way.to) & group == 0));
            cluster.cuts.extend(ways);
        }
        Step::Crash(group) => {
            for machine in cluster.machines_mut().filter(|machine| bit(machine.id) & group != 0) {
                machine.crash();
            }
        }
        Step::Restart(id) => {
            let machine = cluster.machine_mut(id);
            machine.restart(scope, now);
            let standing = machine.kernel.standing(now.mono_ns, &scope.timing());
            cluster.drain(scope, id);
            for input in standing {
                cluster.feed(scope, id, input);
            }
        }
        Step::Freeze(id, mute) => cluster.machine_mut(id).frozen = Some(mute),
        Step::Stale(from, to) => {
            let incarnation = cluster.machine(from).incarnation;
            let previous = heartbeat_membership::Incarnation(incarnation.0 - 1);
            let stale = Heartbeat { source: from, incarnation: previous, sent_ns: now.mono_ns, echo_ns: 0 };
            cluster.hear(scope, to, &stale);
        }
        Step::Mend => {
            cluster.cuts.clear();
            cluster.mutes.clear();
        }
        Step::Start(id) => {
            cluster.machine_mut(id).start(scope, now);
            cluster.drain(scope, id);
        }
        Step::Thaw(id) => cluster.thaw(scope, id),
    }
}

/// Which bit of a group stands for a node.
#[must_use]
pub fn bit(id: NodeId) -> u8 {
    1 << (id.0 - 1)
}

fn living(cluster: &Cluster) -> impl Iterator<Item = &Machine> {
    cluster.machines.iter().map(AsRef::as_ref).filter(|machine| machine.core.is_some())
}

/// Every split in two, and every pair cut.
fn splits(scope: &Scope, steps: &mut Vec<Step>) {
    // Groups that contain the last node are the complements of those that do not.
    steps.extend((1..1_u8 << (scope.nodes - 1)).map(Step::Partition));
    if scope.nodes > 2 {
        steps.extend(scope.ways().filter(|way| way.from < way.to).map(|way| Step::CutPair(way.from, way.to)));
    }
}

fn ways(cluster: &Cluster, scope: &Scope, steps: &mut Vec<Step>) {
    for way in scope.ways() {
        if !cluster.cuts.contains(&way) {
            steps.push(Step::Cut(way.from, way.to));
            if !cluster.mutes.contains(&way) {
                steps.push(Step::Mute(way.from, way.to));
            }
        }
        let lives = cluster.machine(way.from).incarnation.0 - crate::fingerprint::first_incarnation(way.from);
        if lives > 1 && cluster.machine(way.to).core.is_some() {
            steps.push(Step::Stale(way.from, way.to));
        }
    }
}

/// One or two machines die at the same moment.
fn deaths(cluster: &Cluster, steps: &mut Vec<Step>) {
    let alive: BTreeSet<u8> = living(cluster).map(|machine| bit(machine.id)).collect();
    for one in &alive {
        steps.push(Step::Crash(*one));
        steps.extend(alive.iter().filter(|other| *other > one).map(|other| Step::Crash(one | other)));
    }
}
