//! The node: everything started in order, watched, and taken down in order.

mod announce;
mod attachments;
mod carrier;
mod events;
mod hooks;
mod membership;
mod metrics_task;
mod metronome;
mod orders;
mod outside;
mod readable;
mod refusals;
mod relay;
mod reload;
mod signals;
mod source;
mod storage;
mod tallies;
mod witness;

use std::{collections::VecDeque, sync::Arc, task::Poll};

use anyhow::{Context as _, Result};
use heartbeat_common::notice::Notice;
use heartbeat_membership::{Identity, Node, Now, membership::Settings};

use self::{
    announce::announce,
    attachments::AttachmentKeeper,
    metrics_task::MetricsTask,
    metronome::Chosen,
    outside::Outside,
    reload::Reloader,
    signals::Signals,
    source::{Engines, NodeSource},
    witness::start_witness,
};
use crate::{
    api, clock,
    config::{Config, Dataplane as Receiving, LocalInterface, Machine, Multicast, Sender as Wanted, check_machine},
    dataplane::{self, Adoption, Dataplane, LocalCounts, pins::Pins},
    event::{Draft, EventLog, kind},
    incarnation::IncarnationStore,
    keys::{self, DerivedKeys},
    metronome::Metronome,
    reactor::{self, Reactor, core_config, identity, queue::Command},
    realtime,
    record::{self, Built, Recorder},
    reload::{Keyring, LogControl, shared},
    sender::{self, Sender},
    service,
    socket::NetworkSocket,
};

/// How a node runs, beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Load the object that prints each verdict.
    pub trace: bool,
    /// Receive heartbeats this way, whatever the configuration says.
    pub dataplane: Option<Receiving>,
    /// Send heartbeats this way, whatever the configuration says.
    pub sender: Option<Wanted>,
    /// The way to the level of the program's own log.
    pub log: Option<LogControl>,
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It has left the cluster.
    Left,
    /// The kernel side goes on for the next controller.
    HandedOver,
}

/// Runs the node until SIGTERM or SIGINT, and leaves the cluster in order then; or until SIGUSR1, which ends this process
/// alone: the kernel goes on receiving and judging for the start that follows.
///
/// # Errors
/// What prevents the node from starting, with the remedy: a [`crate::config::ConfigError`] among the causes is about the
/// configuration or this machine. Nothing is attached and no pin of ours is left when this fails, unless a pinned data
/// plane of an earlier controller could not be adopted.
pub fn run(mut config: Config, options: RunOptions) -> Result<()> {
    options.override_local(&mut config.local);
    if let Some(log) = &options.log {
        log.set(config.local.log);
    }
    // Before any thread: what is locked now never faults later. Signals before anything that has to be undone.
    let memory_locked = realtime::lock_memory();
    realtime::prefault_heap();
    // Where it is refused, the limits that are told say so.
    let _refused = realtime::survive_out_of_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // API, events and metrics are light; two threads keep one busy client from delaying the event log.
        .worker_threads(2)
        .thread_name("heartbeat-rest")
        .enable_all()
        .build()
        .context("the runtime for API and events cannot be started")?;
    let signals = runtime.block_on(async { Signals::install() })?;
    let machine = check_machine(&config)?;
    let arbiter = membership::arbiter(&config)?;
    let mut store = IncarnationStore::open(&config.local.state_dir)?;
    let listener = api::Listener::bind(&config.local.run_dir)?;
    let log = EventLog::open(config.local.node, &config.local.state_dir)
        .with_context(|| format!("the event log in {} cannot be opened", config.local.state_dir.display()))?;
    let keys: Vec<(u8, DerivedKeys)> =
        config.keys.iter().map(|key| (key.id, key.secret.derive(keys::cluster_id(&config.cluster_name)))).collect();
    let keyring = Keyring::new(&config);
    let witness = start_witness(&config)?;
    let sockets = open_sockets(&config, &machine)?;

    let preparation = dataplane::prepare(&config)?;
    metronome::remove_stale(&config, &preparation)?;
    let mut dataplane = Dataplane::start(
        &config,
        &machine,
        &keys,
        preparation,
        || Ok(store.take(clock::realtime_ns(), 0)?),
        options.trace,
    )?;
    let undo = Undo::of(&config, &dataplane);
    let counts = Arc::new(LocalCounts::default());
    let kernel_counts = dataplane.take_counts()?;
    let memory = Arc::clone(&dataplane.memory);
    let watched = Arc::clone(&memory);
    let routes = shared::routes(&config, &sockets);
    let links = memory.links.len();
    let reattacher = dataplane.reattacher(&config, &machine).context("the data plane cannot be looked after")?;
    let mut chosen = metronome::choose(&config, &machine, &mut dataplane);
    tell_start(&log, &dataplane, &memory_locked, &chosen);
    tell_limits(&log, config.local.rt_priority);
    tell_unbuilt(&log, &config);

    let source = Arc::new(NodeSource::new(&config, &dataplane, log, kernel_counts, Arc::clone(&counts)));
    abort_on_panic();
    if options.trace {
        let _context = runtime.enter();
        start_trace(&mut dataplane, &runtime)?;
    }
    let (identity, unread) = identity(&config, &mut dataplane);
    let accepted = identity.adopted.iter().map(|peer| (peer.peer.0, peer.incarnation.0)).collect();
    let (mut recorder, writer) =
        record::start(record::directory(&config.local.state_dir), &config.cluster_name, config.local.node)
            .context("the thread that records the core cannot be started")?;
    let core =
        core(&config, identity, membership::settings(&config, arbiter, &dataplane, store.epoch()), &mut recorder)?;
    let lanes = shared::lanes(&config, &sockets, &routes);
    let sockets_at_exit = sockets.clone();
    let reactor = Reactor::start(reactor::Setup {
        core,
        dataplane,
        sockets,
        signer: keyring.signer.clone(),
        control_keys: keyring.control,
        routes,
        counts,
        interval_ns: config.timing.interval_ns,
        slack_ns: config.timing.slack_ns(),
        priority: config.local.rt_priority,
        accepted,
        unread,
        counting: membership::counting_networks(&config),
        hang_timeout_ns: config.timing.hang_timeout_ns,
        epoch: store.epoch(),
        recorder,
        witness: witness.clone(),
    })
    .context("the reactor cannot be started")?;
    let sender = Sender::start(sender::Setup {
        interval_ns: config.timing.interval_ns,
        priority: config.local.rt_priority,
        signer: keyring.signer,
        lanes,
        memory,
        standby: chosen.metronome.as_mut().and_then(Metronome::take_standby),
    })
    .context("the sender cannot be started")?;
    undo.forget();
    source.set_sender(&chosen);
    if let Some(metronome) = &mut chosen.metronome {
        let tell = Arc::clone(&source);
        metronome
            .keep(Box::new(move |text| {
                drop(announce(tell.log(), Draft::new(&kind::DATAPLANE_DEGRADED, clock::monotonic_ns(), text)));
            }))
            .context("the thread that looks after the metronome cannot be started")?;
    }
    source.set_engines(Engines {
        mailbox: Arc::clone(&reactor.mailbox),
        reactor: Arc::clone(&reactor.statistics),
        sender: Arc::clone(&sender.statistics),
        sockets: sockets_at_exit.clone(),
    });
    source.set_recording(Arc::clone(&writer.statistics));
    source.set_witness(witness);
    let reloader = Reloader::new(&config, options, &sockets_at_exit, &sender.changes, links);

    let keeper = AttachmentKeeper::start(reattacher, sockets_at_exit.clone(), Arc::clone(&source), &config.timing)
        .context("the thread that looks after the data plane cannot be started")?;
    service::watch(&config.local, Arc::clone(&reactor.statistics), watched).context("the watchdog has no thread")?;
    let doors = Doors { listener, signals, interfaces: machine.interfaces, reloader };
    match runtime.block_on(serve(doors, &source, &reactor, sender, &mut store))? {
        Ending::Left => {}
        // As after SIGKILL: whatever runs down in order would take attachments, pins or the lease with it.
        Ending::HandedOver => std::process::exit(0),
    }
    // What is taken down now is not to be put up again.
    keeper.stop();
    let removed = match reactor.join() {
        Some(dataplane) => {
            sockets_at_exit.iter().for_each(|socket| socket.forget_group());
            let devices = chosen.metronome.map_or(Ok(()), Metronome::remove);
            devices.context("the metronome's devices cannot be removed").and(dataplane.remove())
        }
        None => {
            Err(anyhow::anyhow!("the reactor ended unexpectedly; the kernel side is left for the next start to adopt"))
        }
    };
    writer.wait();
    // Last: whoever ordered the end sees it by the end of the connection, when nothing is left to wait for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    removed
}

/// Takes a fresh data plane down again when the start fails behind it.
struct Undo(Option<Pins>);

impl Undo {
    fn of(config: &Config, dataplane: &Dataplane) -> Self {
        let fresh = matches!(dataplane.adoption, Adoption::Fresh(_)) && config.local.dataplane != Receiving::Socket;
        Self(fresh.then(|| Pins::new(&config.local.bpf_dir)))
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(pins) = &self.0 {
            // What cannot be removed now is refused, and told, at the next start.
            let _devices = crate::metronome::remove(pins.base());
            let _left = pins.remove_all();
        }
    }
}

/// Where the outside world comes in: clients, signals, interfaces, the configuration's file.
struct Doors {
    listener: api::Listener,
    signals: Signals,
    interfaces: Vec<LocalInterface>,
    reloader: Reloader,
}

/// Everything of normal priority, until the node has left.
async fn serve(
    doors: Doors,
    source: &Arc<NodeSource>,
    reactor: &Reactor,
    mut sender: Sender,
    store: &mut IncarnationStore,
) -> Result<Ending> {
    let Doors { listener, mut signals, interfaces, reloader } = doors;
    // Serves until the runtime ends.
    let _server = tokio::spawn(api::serve(listener, Arc::clone(source), Arc::clone(&source.tallies().api)));
    let mailbox = Arc::clone(&reactor.mailbox);
    let members = source.configured().into_iter().flat_map(|node| node.addresses.into_values()).collect();
    let outside = Outside::new(&interfaces, members, Arc::clone(&mailbox));
    let _carrier = tokio::spawn(async move {
        if let Err(error) = carrier::watch(interfaces, mailbox).await {
            tracing::warn!("the kernel does not say when an interface loses its carrier: {error}");
        }
    });
    let mut metrics = MetricsTask::default();
    metrics.listen(source, source.metrics_address());
    let mut leaving = false;
    {
        let relay = relay::run(source, reactor, store, &outside);
        tokio::pin!(relay);
        service::ready();
        loop {
            tokio::select! {
                _ = signals.hand_over.recv(), if !leaving => {
                    tracing::info!("SIGUSR1: this process ends, the kernel goes on until the next start takes over");
                    service::stopping();
                    // One turn more: what the reactor has reported goes into the event log.
                    let reported = std::future::poll_fn(|context| Poll::Ready(relay.as_mut().poll(context).is_ready()));
                    let _ended = reported.await;
                    return Ok(Ending::HandedOver);
                }
                ended = &mut relay => {
                    ended?;
                    break;
                }
                _ = signals.terminate.recv(), if !leaving => leaving = true,
                _ = signals.interrupt.recv(), if !leaving => leaving = true,
                () = source.orders().leave_wanted(), if !leaving => leaving = true,
                _ = signals.hangup.recv() => {
                    reloader.reload(source, reactor, &mut metrics).await;
                    continue;
                }
            }
            if leaving {
                source.orders().begin_to_leave();
                service::stopping();
                // The heartbeats end first: a leave is sent after the node has stopped acting.
                sender.stop();
                relay::command(reactor, Command::Leave).await;
            }
        }
    }
    Ok(Ending::Left)
}

fn open_sockets(config: &Config, machine: &Machine) -> Result<Vec<Arc<NetworkSocket>>> {
    machine
        .interfaces
        .iter()
        .map(|interface| {
            let group = config.network(interface.network).and_then(|network| match network.multicast {
                Multicast::Group(group) => Some(group),
                Multicast::Off | Multicast::Auto => None,
            });
            NetworkSocket::open(interface, group)
                .map(Arc::new)
                .with_context(|| format!("network {} has no socket", interface.network))
        })
        .collect()
}

/// Who this node is, and the records of the kernel that its earlier controller did not come to read.
fn identity(config: &Config, dataplane: &mut Dataplane) -> (Identity, VecDeque<Notice>) {
    match dataplane.adoption {
        Adoption::Adopted(_) => {
            let standing = identity::adopted(dataplane.incarnation, config, &dataplane.memory);
            // Taken after the verdicts were read: what a verdict says by then is either told already or among these.
            let unread = dataplane.take_unread();
            (identity::as_told(standing, &unread), unread)
        }
        Adoption::Fresh(_) => (identity::fresh(dataplane.incarnation), VecDeque::new()),
    }
}

fn core(config: &Config, identity: Identity, settings: Settings, recorder: &mut Recorder) -> Result<Node> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("the system gave no random bytes: {error}"))?;
    let now = Now { mono_ns: clock::monotonic_ns(), boot_ns: clock::boottime_ns() };
    let built = Built { config: core_config::core_config(config), settings, identity, seed, now };
    recorder.built(&built);
    let Built { config, settings, identity, seed, now } = built;
    Node::with_membership(config, settings, identity, seed, now).context("the core refuses the configuration")
}

fn tell_start(log: &EventLog, dataplane: &Dataplane, memory_locked: &std::io::Result<()>, chosen: &Chosen) {
    let now_ns = clock::monotonic_ns();
    let incarnation = dataplane.incarnation;
    let (adopted, why, text) = match &dataplane.adoption {
        Adoption::Adopted(_) => {
            (true, None, format!("The controller goes on as incarnation {incarnation}: no peer notices"))
        }
        Adoption::Fresh(None) => (false, None, format!("The controller starts as incarnation {incarnation}")),
        Adoption::Fresh(Some(why)) => (
            false,
            Some(why.clone()),
            format!("The controller starts as incarnation {incarnation}; what an earlier one left is not kept: {why}"),
        ),
    };
    let mut draft = Draft::new(&kind::CONTROLLER_STARTED, now_ns, text);
    let sender = if chosen.metronome.is_some() { "metronome" } else { "realtime" };
    draft.detail = serde_json::json!({
        "incarnation": incarnation, "adopted": adopted, "why_new": why, "sender": sender, "why_sender": chosen.why,
    });
    announce(log, draft);
    if chosen.degraded {
        let text = format!("The metronome cannot send, the real-time thread does: {}", chosen.why);
        announce(log, Draft::new(&kind::DATAPLANE_DEGRADED, now_ns, text));
    }
    for degradation in &dataplane.degradations {
        announce(log, Draft::new(&kind::DATAPLANE_DEGRADED, now_ns, degradation.clone()));
    }
    if let Err(error) = memory_locked {
        let text = format!(
            "Memory cannot be locked: {error}. Under memory pressure heartbeats may be sent late; give the node \
             CAP_IPC_LOCK or LimitMEMLOCK=infinity"
        );
        announce(log, Draft::new(&kind::DATAPLANE_DEGRADED, now_ns, text));
    }
}

/// What the machine may take away from real-time threads: an event where it can make heartbeats late, a line in the
/// program's own log where it is the ordinary limit of most machines.
fn tell_limits(log: &EventLog, priority: u8) {
    for constraint in realtime::constraints::own(std::path::Path::new("/"), priority) {
        let text = format!("{constraint}; {}", constraint.remedy());
        if constraint.is_harmful() {
            announce(log, Draft::new(&kind::DATAPLANE_DEGRADED, clock::monotonic_ns(), text));
        } else {
            tracing::info!("{text}");
        }
    }
}

/// Settings that this version reads but does better without than wrongly.
fn tell_unbuilt(log: &EventLog, config: &Config) {
    let now_ns = clock::monotonic_ns();
    let tell = |text: String| drop(announce(log, Draft::new(&kind::DATAPLANE_DEGRADED, now_ns, text)));
    for network in config.networks.iter().filter(|network| network.multicast == Multicast::Auto) {
        tell(format!(
            "multicast = \"auto\" on {} sends unicast: this version has no self-test that shows whether a group reaches \
             every peer. Name a group to use multicast",
            network.name
        ));
    }
}

/// A thread that panics must not leave half a node: the process ends as if killed, the kernel side goes on and is adopted
/// by the next start.
fn abort_on_panic() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::abort();
    }));
}

/// Prints the verdicts of the trace object through `tracing`.
fn start_trace(dataplane: &mut Dataplane, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let Some(object) = dataplane.object_mut() else { return Ok(()) };
    let logger = aya_log::EbpfLogger::init(object).context("the trace of the eBPF object cannot be read")?;
    let mut logger = readable::logger(logger).context("the trace cannot be waited for")?;
    runtime.spawn(async move {
        loop {
            let Ok(mut ready) = logger.readable_mut().await else { return };
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
    Ok(())
}
