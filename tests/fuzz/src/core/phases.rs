//! A real cluster of three, from its start over a removal to the return of the removed node, as node 1 lives it.

use heartbeat_membership::{ControlMessage, Node, NodeId, Now};
use heartbeat_model::{Broken, Cluster, Scope, Step, faults};

/// Whose core it is.
pub(super) const NODE: NodeId = NodeId(1);

/// The cluster.
pub(super) const SCOPE: Scope = Scope {
    nodes: 3,
    faults: u8::MAX,
    strikes: faults::any,
    broken: Broken { rule: None, echo_after_binding: false },
    within_intervals: true,
    recovery: false,
};

/// Length of a lease in this cluster: `lost_after` is 2.
pub(super) const LEASE_NS: u64 = 5 * Scope::INTERVAL_NS;

/// A moment.
#[derive(Debug)]
pub struct Phase {
    /// The core of node 1 then.
    pub core: Node,
    /// The time.
    pub now: Now,
    /// What reached node 1 in the intervals around it.
    pub messages: Vec<ControlMessage>,
}

/// Lives through it once.
pub(super) fn record() -> Vec<Phase> {
    let mut story = Story { cluster: SCOPE.booting(), phases: Vec::new(), messages: Vec::new() };
    story.ticks(25);
    story.step(Step::Partition(0b100));
    story.ticks(15);
    story.step(Step::Mend);
    story.ticks(25);
    assert!(story.cluster.all_in(), "node 3 is not back: {:?}", story.cluster);
    story.step(Step::CutPair(NodeId(1), NodeId(3)));
    story.ticks(6);
    let Story { mut phases, messages, .. } = story;
    // Messages of the near future are as interesting as those of the past.
    for (index, phase) in phases.iter_mut().enumerate() {
        let near = |(at, _): &&(usize, ControlMessage)| at.abs_diff(index) <= 12;
        phase.messages = messages.iter().filter(near).map(|(_, message)| message.clone()).collect();
    }
    phases
}

struct Story {
    cluster: Cluster,
    phases: Vec<Phase>,
    /// With the number of the phase in which each arrived.
    messages: Vec<(usize, ControlMessage)>,
}

impl Story {
    fn ticks(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.step(Step::Tick);
            while !self.cluster.flying.is_empty() {
                self.step(Step::Deliver);
            }
        }
    }

    fn step(&mut self, step: Step) {
        self.cluster = SCOPE.after(&self.cluster, step);
        let arriving = self.cluster.flying.front().filter(|flight| flight.to == NODE);
        if let Some(flight) = arriving {
            self.messages.push((self.phases.len(), flight.message.clone()));
        }
        // Before each message, and between two intervals.
        let is_moment = arriving.is_some() || (matches!(step, Step::Tick) && self.cluster.ticks.is_multiple_of(4));
        let core = self.cluster.machine(NODE).core.clone().filter(|_| is_moment);
        self.phases.extend(core.map(|core| Phase { core, now: self.cluster.now(), messages: Vec::new() }));
    }
}
