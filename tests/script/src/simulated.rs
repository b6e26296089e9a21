//! Scripts on the simulator: real cores, virtual time, the invariants after every step.

use anyhow::{Context as _, Result, bail, ensure};
use heartbeat_membership::{
    Arbiter as CoreArbiter, Detail, Event, Input, LocalStall, MembershipInput, NetworkConfig, NetworkId, NetworkRole,
    NodeId, StallSource, View,
};
use heartbeat_sim::{
    run,
    world::{Frame, Happening, World},
};

use crate::backend::{Backend, Logged, NodeState};
use crate::language::{Arbiter, Deed, Setup, Way};

/// How long a cluster may take to form, in intervals: the wait before forming, and as many joins as nodes.
const FORMING: u64 = 200;
/// First states are announced within these intervals, and nothing is left of how the cluster came up.
const SETTLING: u64 = 20;
/// "Until it is told to go on": longer than any script, and far from overflowing.
const FOR_EVER_NS: u64 = 1_000_000_000_000_000;
/// Lines of the log that a failure shows.
const LINES: usize = 200;

/// A simulated cluster.
pub struct Simulated {
    world: World,
    networks: Vec<String>,
    /// Processes that stand still, and since when.
    stopped: Vec<(usize, u64)>,
}

impl Simulated {
    /// Starts every node, and waits until all are in one view.
    ///
    /// # Errors
    /// When they do not form one.
    pub fn form(setup: &Setup, seed: u64) -> Result<Self> {
        let mut config = run::cluster(setup.nodes, setup.interval_ns);
        config.networks = (1_u8..).zip(&setup.networks).map(|(id, name)| network(id, name)).collect();
        for node in &mut config.nodes {
            node.networks = config.networks.iter().map(|network| network.id).collect();
        }
        config.timing.late_after = setup.late_after;
        config.timing.lost_after = setup.lost_after;
        config.timing.grace_ns = u64::from(setup.lost_after) * setup.interval_ns;
        config.timing.hang_timeout_ns = config.timing.hang_timeout_ns.max(config.timing.silent_timeout_ns());
        let arbiter = match setup.arbiter {
            Arbiter::TieBreaker(node) => CoreArbiter::TieBreaker(node.map(NodeId)),
            Arbiter::FileWitness => CoreArbiter::Witness,
        };
        let mut world = World::new(config, arbiter, seed);
        for index in 0..world.machines.len() {
            let delay_ns = world.random.below(setup.interval_ns);
            world.after(delay_ns, Happening::Start(index));
        }
        let networks = setup.networks.clone();
        let mut formed = Self { world, networks, stopped: Vec::new() };
        for _ in 0..FORMING {
            formed.pass(setup.interval_ns)?;
            if formed.all_in() {
                formed.pass(SETTLING * setup.interval_ns)?;
                return Ok(formed);
            }
        }
        bail!("no view of all nodes within {FORMING} intervals\n{}", formed.evidence())
    }

    fn all_in(&self) -> bool {
        let nodes = self.world.machines.len();
        let all = |view: &View| view.members.len() == nodes;
        self.world.standings().iter().all(|standing| standing.leased && standing.view.as_deref().is_some_and(all))
    }

    fn advance(&mut self, length_ns: u64) {
        let end_ns = self.world.true_ns + length_ns;
        self.world.run_until(end_ns, |_| {});
    }

    fn is_sound(&self) -> Result<()> {
        let violations = &self.world.checker.violations;
        ensure!(violations.is_empty(), "an invariant is broken: {}", violations.join("; "));
        Ok(())
    }

    fn proceed(&mut self, node: u16) -> Result<()> {
        let index = index(node);
        let now_ns = self.world.true_ns;
        let place = self.stopped.iter().position(|(stopped, _)| *stopped == index);
        let place = place.with_context(|| format!("node {node} does not stand still"))?;
        let (_, since_ns) = self.stopped.remove(place);
        let machine = &mut self.world.machines[index];
        let at_ns = machine.now(now_ns).mono_ns;
        // As the reactor does: it notices its own stop before it looks at what came meanwhile.
        let stall =
            LocalStall { length_ns: now_ns - since_ns, at_ns, source: StallSource::Controller, budget_spent: false };
        machine.inbox.insert(0, Input::LocalStall(stall));
        machine.frozen_until_ns = now_ns;
        let life = machine.life;
        self.world.after(0, Happening::Thaw(index, life));
        self.advance(0);
        Ok(())
    }

    /// A heartbeat that an eavesdropper has kept arrives once more; waits until one has been kept.
    fn replay(&mut self, (from, to): Way, network: u8) -> Result<()> {
        for _ in 0..FORMING {
            let kept = self.world.captured.iter().find(|(target, frame)| match frame {
                Frame::Heartbeat(heartbeat) => {
                    (*target, heartbeat.source, heartbeat.network) == (index(to), NodeId(from), NetworkId(network))
                }
                Frame::Control(_) => false,
            });
            if let Some((target, frame)) = kept.cloned() {
                self.world.after(0, Happening::Arrive(target, frame));
                self.advance(0);
                return Ok(());
            }
            self.advance(self.world.config.timing.interval_ns);
        }
        bail!("no heartbeat from {from} to {to} was captured")
    }

    fn logged(&self, by: NodeId, event: &Event) -> Logged {
        let name = |network: NetworkId| self.networks.get(usize::from(network.0) - 1).cloned().unwrap_or_default();
        Logged {
            id: event.id.number(),
            node: by.0,
            peer: event.peer.map(|peer| peer.0),
            network: event.network.map(name),
            at_ns: event.mono_ns,
            last_heartbeat_ns: last_heartbeat_ns(&event.detail),
            text: event.text.clone(),
        }
    }
}

impl Backend for Simulated {
    fn now_ns(&mut self) -> u64 {
        self.world.true_ns
    }

    fn interval_ns(&self) -> u64 {
        self.world.config.timing.interval_ns
    }

    fn tolerance_ns(&self) -> u64 {
        0
    }

    fn pass(&mut self, length_ns: u64) -> Result<()> {
        let mut left_ns = length_ns;
        while left_ns > 0 {
            let part_ns = left_ns.min(self.interval_ns());
            self.advance(part_ns);
            self.is_sound()?;
            left_ns -= part_ns;
        }
        Ok(())
    }

    fn act(&mut self, deed: &Deed) -> Result<()> {
        let true_ns = self.world.true_ns;
        match deed {
            Deed::Cut { ways, networks } => {
                for network in networks {
                    self.world.cuts.extend(ways.iter().map(|way| directed(*network, *way)));
                }
            }
            Deed::Heal { ways, networks } => {
                let healed =
                    |cut: &Cut| networks.iter().any(|network| ways.iter().any(|way| directed(*network, *way) == *cut));
                self.world.cuts.retain(|cut| !healed(cut));
            }
            Deed::Stop(node) => {
                self.stopped.push((index(*node), true_ns));
                self.world.freeze(index(*node), FOR_EVER_NS, true);
            }
            Deed::Continue(node) => self.proceed(*node)?,
            Deed::Hang(node) => self.world.freeze(index(*node), FOR_EVER_NS, false),
            Deed::Stun { node, length } => {
                let length_ns = length.ns(self.interval_ns());
                self.world.stun(index(*node), length_ns);
            }
            Deed::Outside { node, network, answer } => {
                self.world.outside.insert((NetworkId(*network), NodeId(*node)), *answer);
            }
            Deed::Kill(node) => self.world.kill(index(*node), FOR_EVER_NS),
            Deed::Crash(node) => self.world.crash(index(*node)),
            Deed::Start(node) => {
                self.world.after(0, Happening::Start(index(*node)));
                self.advance(0);
            }
            Deed::Leave(node) => self.world.feed(index(*node), Input::Leave),
            Deed::Replay { way, network } => self.replay(*way, *network)?,
            Deed::Fenced { node, on } => {
                let input = MembershipInput::ConfirmFenced { peer: NodeId(*node) };
                self.world.feed(index(*on), Input::Membership(input));
            }
            Deed::ClearQuarantine { node, on } => {
                let input = MembershipInput::ClearQuarantine { peer: NodeId(*node) };
                self.world.feed(index(*on), Input::Membership(input));
            }
            Deed::Force(node) => {
                self.world.feed(index(*node), Input::Membership(MembershipInput::FormForced));
            }
        }
        self.is_sound()
    }

    fn events(&mut self) -> Vec<Logged> {
        self.world.events.iter().map(|(_, by, event)| self.logged(*by, event)).collect()
    }

    fn own_noise(&self) -> &'static [u16] {
        &[]
    }

    fn node(&mut self, id: u16) -> Result<NodeState> {
        let machine = &self.world.machines[index(id)];
        let view = machine.view.as_ref();
        let peers = self.world.machines.iter().map(|peer| peer.id).filter(|peer| *peer != machine.id);
        let mut state = NodeState {
            members: view.map(|view| view.members.keys().map(|member| member.0).collect()),
            quorate: view.is_some() && machine.leased(self.world.true_ns),
            incarnation: machine.incarnation().map_or(0, |incarnation| incarnation.0),
            sent: machine.next.iter().flat_map(|(_, next)| next).map(|next| next.unicast).sum(),
            accepted: peers.map(|peer| (peer.0, machine.kernel.newest(peer))).collect(),
            refused: machine.kernel.refused,
            ..NodeState::default()
        };
        let Some(membership) = machine.core.as_ref().and_then(|core| core.snapshot().membership) else {
            return Ok(state);
        };
        for (network, report) in membership.networks {
            let name = self.networks.get(usize::from(network.0) - 1).cloned().unwrap_or_default();
            let interfaces = report.interfaces.iter();
            state.interfaces.extend(interfaces.map(|(node, is)| ((node.0, name.clone()), word(is))));
            state.networks.insert(name, word(&report.state));
        }
        state.quarantined = membership.quarantined.keys().map(|node| node.0).collect();
        Ok(state)
    }

    fn stalls_ns(&mut self, _place: usize) -> u64 {
        0
    }

    fn finish(&mut self) -> Result<()> {
        self.is_sound()
    }

    fn evidence(&mut self) -> String {
        let lines = &self.world.log;
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

fn network(id: u8, name: &str) -> NetworkConfig {
    let role = if id == 1 { NetworkRole::Internal } else { NetworkRole::Mixed };
    NetworkConfig { id: NetworkId(id), name: name.to_owned(), role }
}

fn index(node: u16) -> usize {
    usize::from(node) - 1
}

/// One way of a network, as the world has it.
type Cut = (NetworkId, NodeId, NodeId);

fn directed(network: u8, (from, to): Way) -> Cut {
    (NetworkId(network), NodeId(from), NodeId(to))
}

/// The word that status has for a state.
fn word(state: &impl std::fmt::Debug) -> String {
    format!("{state:?}").to_lowercase()
}

fn last_heartbeat_ns(detail: &Detail) -> Option<u64> {
    if let Detail::Lost { stamp_ns, .. } = detail {
        Some(*stamp_ns)
    } else if let Detail::Removed { newest_ns, .. } | Detail::Safe { newest_ns, .. } = detail {
        Some(*newest_ns)
    } else {
        None
    }
}
