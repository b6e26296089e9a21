//! What the API shows: the records, the core's snapshot, and what the threads measure of themselves.

mod arrivals;
mod links;
mod membership;
mod metrics;
mod own;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

use heartbeat_common::{metronome::MetronomeBooks, records::CounterRecord, reject::Reject};
use heartbeat_membership::{LinkState as CoreLinkState, Snapshot};

use super::{metronome::Chosen, orders::Orders, tallies::Tallies};
use crate::{
    api::{self, Caller, Done, Failure, NodeName, Operation},
    clock,
    config::{Config, Hooks, Node as ConfiguredNode},
    dataplane::{
        self, Adoption, Attachment, Dataplane, JudgeKind, KernelCounts, LocalCounts, memory::Memory, reattach::News,
    },
    event::{EventLog, Filter},
    history::History,
    metronome::{
        Records,
        standby::{StandbyReport, StandbyStatistics},
    },
    reactor::{queue::Mailbox, statistics::ReactorStatistics},
    record::{RecordCounts, RecordStatistics},
    sender::statistics::SenderStatistics,
    socket::NetworkSocket,
    status::{EventLog as EventLogStatus, Link, LinkState, LocalNode, Regroup, Stage, Status, View},
    why::{self, About, Why},
    witness::{Exchange, WitnessReport},
};

/// The engines of a running node.
pub(super) struct Engines {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) reactor: Arc<ReactorStatistics>,
    pub(super) sender: Arc<SenderStatistics>,
    pub(super) sockets: Vec<Arc<NetworkSocket>>,
}

impl Engines {
    /// What the kernel has dropped at the sockets of all networks. One that does not tell adds nothing: none is of a kind
    /// that cannot.
    fn dropped_at_sockets(&self) -> u64 {
        self.sockets.iter().filter_map(|socket| socket.dropped().ok()).sum()
    }
}

/// Everything that status, links and metrics are made of.
pub(super) struct NodeSource {
    config: RwLock<Arc<Config>>,
    /// What waits until all members have it.
    staged: Mutex<Option<Config>>,
    memory: Arc<Memory>,
    attachments: RwLock<Vec<(u8, Attachment)>>,
    degradations: Vec<String>,
    /// Why an interface is not served any more, by network.
    unserved: Mutex<BTreeMap<u8, String>>,
    judge: JudgeKind,
    adopted: bool,
    networks: BTreeMap<u8, String>,
    log: EventLog,
    kernel_counts: Option<KernelCounts>,
    local_counts: Arc<LocalCounts>,
    engines: OnceLock<Engines>,
    snapshot: Mutex<Option<Snapshot>>,
    orders: Orders,
    tallies: Tallies,
    witness: OnceLock<Arc<Exchange>>,
    recording: OnceLock<Arc<RecordStatistics>>,
    sender: OnceLock<SenderChoice>,
}

/// What sends, beside the thread that always stands by.
struct SenderChoice {
    metronome: Option<(Arc<Records>, Arc<StandbyStatistics>)>,
    why: String,
}

impl NodeSource {
    pub(super) fn new(
        config: &Config,
        dataplane: &Dataplane,
        log: EventLog,
        kernel_counts: Option<KernelCounts>,
        local_counts: Arc<LocalCounts>,
    ) -> Self {
        Self {
            config: RwLock::new(Arc::new(config.clone())),
            staged: Mutex::new(None),
            memory: Arc::clone(&dataplane.memory),
            attachments: RwLock::new(dataplane.attachments.clone()),
            degradations: dataplane.degradations.clone(),
            unserved: Mutex::default(),
            judge: dataplane.judge(),
            adopted: matches!(dataplane.adoption, Adoption::Adopted(_)),
            networks: config.networks.iter().map(|network| (network.id, network.name.clone())).collect(),
            log,
            kernel_counts,
            local_counts,
            engines: OnceLock::new(),
            snapshot: Mutex::new(None),
            orders: Orders::default(),
            recording: OnceLock::new(),
            sender: OnceLock::new(),
            tallies: Tallies::default(),
            witness: OnceLock::new(),
        }
    }

    pub(super) fn set_engines(&self, engines: Engines) {
        // Called once, at start; a second call would change nothing.
        let _first = self.engines.set(engines);
    }

    pub(super) fn set_sender(&self, chosen: &Chosen) {
        let metronome = chosen
            .metronome
            .as_ref()
            .map(|metronome| (Arc::clone(&metronome.records), Arc::clone(&metronome.statistics)));
        // As above.
        let _first = self.sender.set(SenderChoice { metronome, why: chosen.why.clone() });
    }

    /// What the metronome did, and what the thread did beside it.
    fn metronome(&self) -> Option<(MetronomeBooks, StandbyReport, bool)> {
        let (records, statistics) = self.sender.get()?.metronome.as_ref()?;
        let interval_ns = self.config().timing.interval_ns;
        Some((records.books.read(0)?, statistics.report(), records.beats(clock::monotonic_ns(), interval_ns)))
    }

    pub(super) fn set_recording(&self, statistics: Arc<RecordStatistics>) {
        // As above.
        let _first = self.recording.set(statistics);
    }

    /// What became of the recording of the core so far.
    pub(super) fn recording(&self) -> RecordCounts {
        self.recording.get().map(|statistics| statistics.counts()).unwrap_or_default()
    }

    /// Have both threads come as far as to know their priority?
    pub(super) fn engines_run(&self) -> bool {
        self.engines
            .get()
            .is_some_and(|engines| engines.reactor.report().passes > 0 && engines.sender.report().priority != 0)
    }

    /// Priority that reactor and sender asked for, and whether they have it.
    pub(super) fn realtime(&self) -> ((u8, bool), (u8, bool)) {
        let Some(engines) = self.engines.get() else { return ((0, false), (0, false)) };
        let (reactor, sender) = (engines.reactor.report(), engines.sender.report());
        ((reactor.priority, reactor.realtime), (sender.priority, sender.realtime))
    }

    pub(super) fn hooks(&self) -> Hooks {
        self.config().local.hooks.clone()
    }

    pub(super) fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.config().metrics.listen
    }

    pub(super) fn log(&self) -> &EventLog {
        &self.log
    }

    pub(super) fn networks(&self) -> &BTreeMap<u8, String> {
        &self.networks
    }

    /// An interface is served in another way now, or not at all.
    pub(super) fn set_attachment(&self, news: News) {
        let mut attachments = self.attachments.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = attachments.iter_mut().find(|(network, _)| *network == news.network) {
            *known = news.attachment;
        }
        let mut unserved = self.unserved.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = match news.failure {
            Some(failure) => {
                unserved.insert(news.network, failure);
                &self.tallies.attachments.failed
            }
            None => {
                unserved.remove(&news.network);
                &self.tallies.attachments.renewed
            }
        };
        tally.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    pub(super) fn attachments(&self) -> Vec<(u8, Attachment)> {
        self.attachments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything that the data plane is below what was asked for, in words.
    fn degradations(&self) -> Vec<String> {
        let unserved = self.unserved.lock().unwrap_or_else(PoisonError::into_inner);
        let unserved = unserved.iter().map(|(network, why)| {
            format!("network {} is not served: {why}", self.networks.get(network).map_or("?", String::as_str))
        });
        self.degradations.iter().cloned().chain(unserved).collect()
    }

    /// Refusals by reason, and the other counters.
    pub(super) fn counts(&self) -> ([u64; Reject::COUNT], CounterRecord) {
        // The maps are ours and open: reading them does not fail while this process lives.
        let kernel = self.kernel_counts.as_ref().and_then(|counts| counts.read().ok());
        let (mut rejects, counters) = dataplane::total(kernel, &self.local_counts);
        (*rejects.counters(), counters)
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Digest of what waits until all members have it.
    pub(super) fn staged_digest(&self) -> Option<[u8; 32]> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Config::digest)
    }

    /// Another configuration is in force, and another one, or none, waits.
    pub(super) fn change_config(&self, effective: Config, staged: Option<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(effective);
        *self.staged.lock().unwrap_or_else(PoisonError::into_inner) = staged;
    }

    /// What waited does not any more: the core refused it.
    pub(super) fn drop_staged(&self, digest: &[u8; 32]) {
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        let _refused = staged.take_if(|config| config.digest() == *digest);
    }

    /// All members have changed to what waited.
    pub(super) fn switch_config(&self, digest: &[u8; 32]) {
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = staged.take_if(|config| config.digest() == *digest) {
            *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        }
    }

    pub(super) fn set_witness(&self, witness: Option<Arc<Exchange>>) {
        if let Some(exchange) = witness {
            // Called once, at start; a second call would change nothing.
            let _first = self.witness.set(exchange);
        }
    }

    /// The witness at work, where there is one.
    pub(super) fn witness_report(&self) -> Option<WitnessReport> {
        self.witness.get().map(|exchange| exchange.report())
    }

    pub(super) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }

    pub(super) fn mailbox(&self) -> Option<&Mailbox> {
        self.engines.get().map(|engines| &*engines.mailbox)
    }

    /// Every configured node, ascending by id.
    pub(super) fn configured(&self) -> Vec<ConfiguredNode> {
        self.config().nodes.clone()
    }

    pub(super) fn own_node(&self) -> ConfiguredNode {
        self.config().local_node().clone()
    }

    pub(super) fn node_name(&self, id: u16) -> Option<String> {
        self.config().node(id).map(|node| node.name.clone())
    }

    pub(super) fn view_now(&self) -> View {
        self.snapshot().as_ref().map(|snapshot| membership::view(snapshot, &self.memory)).unwrap_or_default()
    }

    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let mut newest = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = self.engines.get().and_then(|engines| engines.mailbox.take_snapshot()) {
            *newest = Some(taken);
        }
        newest.clone()
    }

    fn collect_links(&self, snapshot: Option<&Snapshot>, with_histogram: bool) -> Vec<Link> {
        let now_ns = clock::monotonic_ns();
        let mut links = Vec::new();
        for network in &self.config().networks {
            for (node, _) in self.config().peers_on(network.id) {
                let state = core_state(snapshot, node.id, network.id);
                let link =
                    links::Reading { memory: &self.memory, now_ns, interval_ns: self.config().timing.interval_ns };
                links.push(link.link(node.id, network.id, &network.name, state, with_histogram));
            }
        }
        links.sort_by_key(|link| link.peer);
        links
    }
}

impl api::Source for NodeSource {
    fn status(&self) -> Status {
        let snapshot = self.snapshot();
        let links = self.collect_links(snapshot.as_ref(), false);
        let (rejects, counters) = self.counts();
        let (log, recording) = (self.log.counters(), self.recording());
        Status {
            cluster: self.config().cluster_name.clone(),
            node: LocalNode {
                id: self.config().local.node,
                name: self.config().local_node().name.clone(),
                incarnation: self.memory.node.read(0).map_or(0, |record| record.incarnation),
                adopted: self.adopted,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                config_digest: hex::encode(self.config().digest()),
            },
            view: snapshot.as_ref().map(|snapshot| membership::view(snapshot, &self.memory)).unwrap_or_default(),
            regroup: snapshot.as_ref().map_or(Regroup { stage: Stage::Stabilized, sequence: 0 }, membership::regroup),
            dataplane: self.dataplane(&counters),
            sender: self.sender(),
            nodes: self.nodes(snapshot.as_ref()),
            removals: snapshot.as_ref().map(membership::removals).unwrap_or_default(),
            witness: self.witness_status(snapshot.as_ref()),
            staged: snapshot.as_ref().and_then(membership::staged),
            networks: self.networks_status(snapshot.as_ref(), &links),
            interfaces: self.interfaces(snapshot.as_ref(), &links),
            links,
            rejects: Reject::ALL
                .into_iter()
                .map(|reason| (reason.name().to_owned(), rejects[reason as usize]))
                .collect(),
            counters: self.counters(&counters, snapshot.as_ref()),
            event_log: EventLogStatus {
                written: log.written,
                dropped: log.dropped,
                failed: log.failed,
                last_error: log.last_error,
            },
            recording: EventLogStatus {
                written: recording.written,
                dropped: recording.lost,
                failed: recording.failed,
                last_error: recording.last_error,
            },
        }
    }

    fn links(&self) -> Vec<Link> {
        let snapshot = self.snapshot();
        self.collect_links(snapshot.as_ref(), true)
    }

    fn history(&self, peer: &NodeName, network: Option<&str>, limit: usize) -> Result<Vec<History>, Failure> {
        self.told_history(peer, network, limit)
    }

    fn events(&self) -> &EventLog {
        &self.log
    }

    fn metrics(&self) -> String {
        self.scrape()
    }

    fn why(&self, about: Option<&About>) -> Result<Why, Failure> {
        let nodes = self.config().nodes.iter().map(|node| (node.id, node.name.clone())).collect();
        let names = why::Names { local: self.config().local.node, nodes: &nodes, networks: &self.networks };
        why::explain(&self.log.query(&Filter::default(), usize::MAX), about, names)
    }

    async fn operate(&self, operation: Operation, caller: Caller) -> Result<Done, Failure> {
        self.carry_out(operation, caller).await
    }
}

fn core_state(snapshot: Option<&Snapshot>, node: u16, network: u8) -> LinkState {
    let link = snapshot
        .and_then(|snapshot| snapshot.peers.iter().find(|peer| peer.id.0 == node))
        .and_then(|peer| peer.links.iter().find(|link| link.network.0 == network));
    match link.map(|link| link.state) {
        None | Some(CoreLinkState::Init) => LinkState::Init,
        Some(CoreLinkState::Up) => LinkState::Up,
        Some(CoreLinkState::Late) => LinkState::Late,
        Some(CoreLinkState::Silent) => LinkState::Silent,
    }
}
