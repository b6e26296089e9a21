//! Our own nodes: the survivor's verdict is the removal of a node, 1135, not the warning before it.

use std::time::Duration;

use anyhow::Result;
use heartbeat_common::wire;
use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    topology::{Topology, TopologySpec},
};

use super::{
    adapter::{Door, INTERVAL_MS, MULTIPLIER, Reading, SURVIVOR, State},
    subject::{Said, Subject},
};
use crate::{detect::round::wait_for_view, ladder, removal::NODE_REMOVED};

pub(super) struct Ours(Cluster);

impl Ours {
    /// As packaged the kernel sends, where it can; otherwise a real-time thread does.
    pub(super) fn start(packaged: bool, peers: u16) -> Result<Self> {
        let mut spec = ClusterSpec::new(&format!("{INTERVAL_MS}ms"));
        spec.lost_after = Some(MULTIPLIER);
        spec.sender = Some(if packaged { "auto" } else { "realtime" }.to_owned());
        // Of two halves the survivor's goes on.
        spec.tie_breaker = Some(SURVIVOR);
        Ok(Self(Cluster::start(TopologySpec::new(peers + 1, 1), &spec)?))
    }
}

impl Subject for Ours {
    fn topology(&self) -> &Topology {
        self.0.topology()
    }

    fn door(&self) -> Door {
        Door::Port(wire::PORT)
    }

    fn said(&self) -> Vec<Said> {
        self.0.events().inspect(|events| {
            let removals = events.iter().filter(|event| event.id() == NODE_REMOVED);
            let said = removals.filter_map(|event| {
                let (node, peer) = (u16::try_from(event.node()).ok()?, u16::try_from(event.peer()?).ok()?);
                Some(Said { node, reading: Reading { peer, state: State::Silent }, at_ns: event.mono_ns() })
            });
            said.collect()
        })
    }

    fn wait_until_up(&mut self, limit: Duration) -> Result<()> {
        wait_for_view(&self.0, limit)?;
        for node in self.0.topology().node_ids() {
            ladder::forget_removals(&self.0, node);
        }
        Ok(())
    }

    fn restart(&mut self, node: u16) -> Result<()> {
        self.0.node_mut(node).kill()?;
        self.0.start_node(node, &[])
    }
}
