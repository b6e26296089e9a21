//! Scripts on real processes: the program itself, in network namespaces of this machine.

use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST, LOCAL_STALL},
    namespace::Namespace,
    naming::{network_name, node_name},
    process::find_program,
    topology::TopologySpec,
};
use heartbeat_user::record;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::backend::{Backend, Logged, NodeState};
use crate::language::{Arbiter, Deed, Setup, Way};
use crate::recordings::Recordings;

/// How long a cluster may take to form, on a loaded machine.
const FORMING: Duration = Duration::from_secs(30);
/// First states are announced within these intervals, and nothing is left of how the cluster came up.
const SETTLING: u32 = 10;
/// What a node may take to say what is so, on a loaded machine.
const TOLERANCE_NS: u64 = 2_000_000_000;
/// Last byte of the address of the host outside: topologies have no node with such a number.
const GATEWAY: u32 = 254;
/// Lines of each node's output that a failure shows.
const LINES: usize = 40;

/// 1135: a node was removed.
const NODE_REMOVED: u64 = 1135;
/// 9008: it can no longer act.
const REMOVAL_SAFE: u64 = 9008;

/// Stalls of the machine, attachments, refusals, starts: what drivers log beside their cores.
const OWN_NOISE: [u16; 4] = [9001, 9003, 9004, 9011];

/// A cluster of real processes.
pub struct Real {
    cluster: Cluster,
    interval: Duration,
    began: Instant,
    stopped: BTreeSet<u16>,
    /// Do not run, by what the script did.
    gone: BTreeSet<u16>,
    /// Of these, those whose machine died: nothing of them is left in the kernel.
    crashed: BTreeSet<u16>,
    /// Processes that were killed at some time: the last entry of a recording may not be whole.
    killed: BTreeSet<u16>,
    recordings: Recordings,
    /// Recordings of earlier runs that were moved away, in the order of time: whose, and the folder that was its state's.
    set_aside: Vec<(u16, PathBuf)>,
}

impl Real {
    /// Starts every node, and waits until all are in one view.
    ///
    /// # Errors
    /// When they do not form one; without root or the program.
    pub fn form(setup: &Setup) -> Result<Self> {
        let interval = Duration::from_nanos(setup.real_interval_ns);
        let mut spec = ClusterSpec::new(&format!("{}ms", interval.as_millis()));
        spec.late_after = Some(setup.late_after);
        spec.lost_after = Some(setup.lost_after);
        match setup.arbiter {
            Arbiter::TieBreaker(node) => spec.tie_breaker = node,
            Arbiter::FileWitness => spec.witness = true,
        }
        let networks = u8::try_from(setup.networks.len()).context("more networks than a cluster may have")?;
        let cluster = Cluster::start(TopologySpec::new(setup.nodes, networks), &spec)?;
        let (stopped, gone, crashed, killed, set_aside) = Default::default();
        let (began, recordings) = (Instant::now(), Recordings::default());
        let mut formed = Self { cluster, interval, began, stopped, gone, crashed, killed, recordings, set_aside };
        let whole = formed.wait_until_whole();
        whole.map_err(|error| error.context(formed.evidence()))?;
        std::thread::sleep(SETTLING * interval);
        Ok(formed)
    }

    /// The nodes, to do to them what no script does.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Whether the node does not run, by what was done to it.
    #[must_use]
    pub fn is_gone(&self, node: u16) -> bool {
        self.gone.contains(&node)
    }

    /// Whether its process stands still, by what was done to it.
    #[must_use]
    pub fn is_stopped(&self, node: u16) -> bool {
        self.stopped.contains(&node)
    }

    /// Moves what a node that does not run has recorded out of its way: it keeps no more than a few files.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub fn set_recordings_aside(&mut self, node: u16) -> Result<()> {
        let files = self.cluster.node(node).files();
        let recorded = record::directory(&files.state_directory());
        if !recorded.is_dir() {
            return Ok(());
        }
        let place = files.directory.join(format!("recorded-{:04}", self.set_aside.len()));
        let target = record::directory(&place);
        fs::create_dir_all(target.parent().unwrap_or(&place))?;
        fs::rename(&recorded, &target).with_context(|| format!("cannot move {}", recorded.display()))?;
        self.set_aside.push((node, place));
        Ok(())
    }

    /// Whatever was done to the network ends: nothing is cut, nothing is lost.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn heal(&self) -> Result<()> {
        let topology = self.cluster.topology();
        for network in topology.network_ids() {
            topology.heal_all(network)?;
            topology.lose_nothing(network)?;
        }
        Ok(())
    }

    /// Waits until all nodes are in one view, and each may act.
    ///
    /// # Errors
    ///
    /// When they are not within half a minute; the message says what each has instead.
    pub fn wait_until_in(&mut self) -> Result<()> {
        let all: Vec<u16> = self.cluster.topology().node_ids().collect();
        let deadline = Instant::now() + FORMING;
        loop {
            self.all_run()?;
            let states = all.iter().map(|node| self.node(*node)).collect::<Result<Vec<_>>>()?;
            if states.iter().all(|state| state.quorate && state.members.as_ref() == Some(&all)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let shown = all.iter().zip(&states);
                let shown: Vec<String> = shown
                    .map(|(node, state)| {
                        let NodeState { members, quorate, quarantined, .. } = state;
                        format!("node {node}: view {members:?}, quorate {quorate}, keeps out {quarantined:?}")
                    })
                    .collect();
                bail!("no view of all nodes within {FORMING:?}: {}", shown.join("; "));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_until_whole(&mut self) -> Result<()> {
        self.cluster.wait_until_up(FORMING)?;
        self.wait_until_in()
    }

    /// Nodes end by what a script does, and never by themselves.
    fn all_run(&mut self) -> Result<()> {
        for node in self.cluster.topology().node_ids().filter(|node| !self.gone.contains(node)) {
            if let Some(status) = self.cluster.node_mut(node).ended()? {
                bail!("node {node} ended by itself: {status}");
            }
        }
        Ok(())
    }

    fn start(&mut self, node: u16) -> Result<()> {
        if self.crashed.remove(&node) {
            let pins = &self.cluster.node(node).files().bpf_directory;
            if pins.exists() {
                fs::remove_dir_all(pins).with_context(|| format!("cannot remove {}", pins.display()))?;
            }
        }
        self.cluster.start_node(node, &[])?;
        self.gone.remove(&node);
        // Its control socket is there once it can be asked.
        let deadline = Instant::now() + FORMING;
        while let Err(error) = self.node(node) {
            self.all_run()?;
            ensure!(Instant::now() < deadline, "node {node} does not answer: {error:#}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn kill(&mut self, node: u16) -> Result<()> {
        self.cluster.node_mut(node).kill()?;
        self.gone.insert(node);
        self.killed.insert(node);
        Ok(())
    }

    /// Gives a node a gateway on a network: one that is there, or one that is not.
    fn set_gateway(&self, node: u16, network: u8, answers: bool) -> Result<()> {
        let topology = self.cluster.topology();
        let host = |last| Ipv4Addr::from_bits(topology.address(node, network).to_bits() & !0xff | last);
        let (there, nowhere) = (host(GATEWAY), host(GATEWAY - 1));
        ip(topology.network(network), &["address", "replace", &format!("{there}/24"), "dev", "bridge"])?;
        let gateway = if answers { there } else { nowhere };
        let device = network_name(network);
        ip(topology.node(node), &["route", "replace", "default", "via", &gateway.to_string(), "dev", &device])
    }

    /// What the nodes recorded is merged, and checked as a run of the simulator is.
    fn check_recordings(&mut self) -> Result<()> {
        let mut recordings = std::mem::take(&mut self.recordings);
        for (node, place) in std::mem::take(&mut self.set_aside) {
            let read = recordings.add(&place, self.killed.contains(&node));
            read.with_context(|| format!("a recording of node {node} in {}", place.display()))?;
        }
        for node in self.cluster.nodes() {
            let read = recordings.add(&node.files().state_directory(), self.killed.contains(&node.id()));
            read.with_context(|| format!("the recording of node {}", node.id()))?;
        }
        println!("by the recordings: {:?}", recordings.check()?);
        Ok(())
    }

    /// As an operator on the machine of `on` does.
    fn operate(&self, on: u16, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(find_program()?);
        command.arg("--socket").arg(self.cluster.node(on).files().socket()).args(arguments);
        let output = command.output().context("cannot start the program")?;
        ensure!(output.status.success(), "{command:?}: {output:?}");
        Ok(())
    }

    fn change(&self, ways: &[Way], networks: &[u8], cut: bool) -> Result<()> {
        let topology = self.cluster.topology();
        for network in networks {
            if cut {
                topology.cut_ways(*network, ways)?
            } else {
                topology.heal_ways(*network, ways)?
            };
        }
        Ok(())
    }
}

impl Backend for Real {
    fn now_ns(&mut self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    fn interval_ns(&self) -> u64 {
        nanoseconds(self.interval)
    }

    fn tolerance_ns(&self) -> u64 {
        TOLERANCE_NS
    }

    fn pass(&mut self, length_ns: u64) -> Result<()> {
        std::thread::sleep(Duration::from_nanos(length_ns));
        self.all_run()
    }

    fn act(&mut self, deed: &Deed) -> Result<()> {
        match deed {
            Deed::Cut { ways, networks } => self.change(ways, networks, true),
            Deed::Heal { ways, networks } => self.change(ways, networks, false),
            Deed::Stop(node) => {
                self.stopped.insert(*node);
                self.cluster.node(*node).signal(Signal::SIGSTOP)
            }
            Deed::Continue(node) => {
                self.stopped.remove(node);
                self.cluster.node(*node).signal(Signal::SIGCONT)
            }
            Deed::Kill(node) => self.kill(*node),
            Deed::Crash(node) => {
                self.kill(*node)?;
                self.crashed.insert(*node);
                self.recordings.died(*node);
                Ok(())
            }
            Deed::Start(node) => self.start(*node),
            Deed::Leave(node) => {
                self.gone.insert(*node);
                let status = self.cluster.node_mut(*node).terminate()?;
                ensure!(status.success(), "node {node} ended with {status}");
                Ok(())
            }
            Deed::Fenced { node, on } => self.operate(*on, &["confirm-fenced", &node_name(*node)]),
            Deed::ClearQuarantine { node, on } => self.operate(*on, &["quarantine", "clear", &node_name(*node)]),
            Deed::Force(node) => self.operate(*node, &["form", "--force"]),
            Deed::Outside { node, network, answer } => self.set_gateway(*node, *network, *answer),
            Deed::Hang(_) | Deed::Stun { .. } | Deed::Replay { .. } => {
                bail!("only the simulator can do that")
            }
        }
    }

    fn events(&mut self) -> Vec<Logged> {
        self.cluster.events().inspect(|events| events.iter().map(logged).collect())
    }

    fn own_noise(&self) -> &'static [u16] {
        &OWN_NOISE
    }

    fn node(&mut self, id: u16) -> Result<NodeState> {
        let status = self.cluster.node(id).request(&json!({"request": "status"}))?;
        Ok(state(id, &status))
    }

    fn stalls_ns(&mut self, place: usize) -> u64 {
        let events = self.cluster.events().since(place);
        let stalls = events.iter().filter(|event| event.id() == LOCAL_STALL).map(Event::detail);
        let length_ns = |detail: &Value| detail["total_ms"].as_u64().map(|ms| ms * 1_000_000);
        stalls.filter_map(|detail| length_ns(detail).or_else(|| detail["length_ns"].as_u64())).sum()
    }

    fn finish(&mut self) -> Result<()> {
        self.all_run()?;
        for node in std::mem::take(&mut self.stopped) {
            self.cluster.node(node).signal(Signal::SIGCONT)?;
        }
        self.cluster.leave()?;
        self.check_recordings()
    }

    fn evidence(&mut self) -> String {
        let events = self.cluster.events().since(0);
        let mut lines: Vec<String> = events.iter().map(|event| event.value().to_string()).collect();
        for node in self.cluster.nodes() {
            lines.push(format!("--- output of node {}, last lines:\n{}", node.id(), node.log_tail(LINES)));
        }
        lines.join("\n")
    }
}

fn ip(namespace: &Namespace, arguments: &[&str]) -> Result<()> {
    let output = namespace.command("ip")?.args(arguments).output().context("cannot start `ip`")?;
    ensure!(output.status.success(), "ip {arguments:?} in {}: {output:?}", namespace.name());
    Ok(())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn logged(event: &Event) -> Logged {
    let small = |number: u64| u16::try_from(number).unwrap_or_default();
    let stamp = match event.id() {
        LINK_LOST => event.detail()["stamp_ns"].as_u64(),
        NODE_REMOVED | REMOVAL_SAFE => event.detail()["newest_ns"].as_u64(),
        _ => None,
    };
    Logged {
        id: small(event.id()),
        node: small(event.node()),
        peer: event.peer().map(small),
        network: event.network().map(str::to_owned),
        at_ns: event.mono_ns(),
        last_heartbeat_ns: stamp,
        text: event.text().to_owned(),
    }
}

fn state(id: u16, status: &Value) -> NodeState {
    let list = |field: &str| status[field].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let node = |value: &Value| u16::try_from(number(value)).unwrap_or_default();
    let members: Vec<u16> = status["view"]["members"].as_array().into_iter().flatten().map(node).collect();
    let mut state = NodeState {
        members: (!members.is_empty()).then_some(members),
        quorate: status["view"]["quorate"] == true,
        incarnation: number(&status["node"]["incarnation"]),
        sent: number(&status["counters"]["sender_sent"]),
        refused: status["rejects"].as_object().into_iter().flatten().map(|(_, count)| number(count)).sum(),
        ..NodeState::default()
    };
    for link in list("links") {
        *state.accepted.entry(node(&link["peer"])).or_default() += number(&link["received"]);
    }
    for network in list("networks") {
        state.networks.insert(text(&network["name"]), text(&network["state"]));
    }
    for interface in list("interfaces") {
        let key = (node(&interface["node"]), text(&interface["network"]));
        state.interfaces.insert(key, text(&interface["state"]));
    }
    let nodes = list("nodes");
    let kept_out = nodes.iter().filter(|other| other["state"] == "quarantined" && node(&other["id"]) != id);
    state.quarantined = kept_out.map(|other| node(&other["id"])).collect();
    state
}
