//! From the reactor's reports to the event log, and the counters that are looked at from time to time.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use heartbeat_membership::{Detail, EventId};
use tokio::time::MissedTickBehavior;

use super::{
    announce::announce,
    events::{StallLimiter, draft},
    hooks::HookRunner,
    outside::Outside,
    readable,
    refusals::Refusals,
    source::NodeSource,
    storage::StorageWatch,
    witness::WitnessWatch,
};
use crate::{
    clock,
    event::{Draft, kind},
    incarnation::IncarnationStore,
    reactor::{
        Reactor,
        queue::{Command, Report},
    },
    reload::remembered,
};

/// How often counters are looked at: a burst of refusals is told within a second.
const LOOK: Duration = Duration::from_secs(1);

/// Pause before a command is offered again.
const COMMAND_AGAIN: Duration = Duration::from_millis(1);

/// Runs until the reactor has stopped.
pub(super) async fn run(
    source: &Arc<NodeSource>,
    reactor: &Reactor,
    store: &mut IncarnationStore,
    outside: &Arc<Outside>,
) -> Result<()> {
    let wake = reactor
        .mailbox
        .reports_fd()
        .try_clone_to_owned()
        .and_then(readable::descriptor)
        .context("the reactor's reports cannot be waited for")?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (rejects, _) = source.counts();
    let mut refusals = Refusals::new(rejects);
    let mut stalls = StallLimiter::default();
    let hooks = HookRunner::start(Arc::clone(&source.tallies().hooks));
    let mut witness = WitnessWatch::new(source.config().quorum.record_lease_ns);
    let mut realtime_told = false;
    let mut storage = StorageWatch::default();
    let mut owed = Owed::default();
    let mut remembered = remembered::read(&source.config().local.state_dir);
    loop {
        tokio::select! {
            ready = wake.readable() => ready.context("the reactor's reports cannot be waited for")?.clear_ready(),
            _ = look.tick() => {
                refusals.tell(source);
                let now_ns = clock::monotonic_ns();
                let told = storage.look(&source.log().counters(), &source.recording(), owed.refusal.as_deref(), now_ns);
                let asked = source.witness_report().and_then(|report| witness.look(&report, now_ns));
                for draft in [stalls.due(now_ns), told, asked].into_iter().flatten() {
                    announce(source.log(), draft);
                }
                if !realtime_told && source.engines_run() {
                    realtime_told = true;
                    tell_realtime(source);
                }
            }
        }
        // First what the reactor waits for; `stopped` is looked at only after its last reports have been told.
        let demands = reactor.mailbox.demands();
        owed.incarnation = demands.incarnation.or(owed.incarnation);
        owed.epoch = demands.epoch.or(owed.epoch);
        owed.settle(source, reactor, store).await?;
        while let Some(report) = reactor.mailbox.next_report() {
            match report {
                Report::Event(event) => {
                    if let Detail::Staged { staged, refused: Some(_), .. } = &event.detail {
                        source.drop_staged(&staged.0);
                    }
                    if event.id == EventId::ViewInstalled {
                        remember_config(source, &mut remembered);
                    }
                    let mut draft = draft(&event, source.networks());
                    source.add_arrivals(&event, &mut draft);
                    if let Some(draft) = stalls.pass(draft) {
                        hooks.event(&source.hooks(), &announce(source.log(), draft));
                    }
                }
                Report::Reconfigured { failure } => {
                    tell_failure(source, "The kernel did not take new settings", failure)
                }
                Report::Switched { digest, failure } => {
                    source.switch_config(&digest.0);
                    remember_config(source, &mut remembered);
                    tell_failure(source, "Not everything follows the configuration that was installed", failure);
                }
                Report::AskExternalHosts(network) => outside.ask(network),
                Report::Carried { ticket, refusal } => source.orders().carried(ticket, refusal),
                Report::JudgeRestarted { ran_ns, found_ns, failure } => tell_judge(source, ran_ns, found_ns, failure),
                Report::RecordTooLong(length) => {
                    tracing::error!("the core's record of {length} bytes does not fit: a restart will join anew");
                }
                Report::MessageTooLong { kind, length } => {
                    tracing::error!("a control message of kind {kind} with {length} bytes does not fit a datagram");
                }
            }
        }
        if demands.stopped {
            return Ok(());
        }
    }
}

/// What the reactor waits for and could not be persisted yet. It is tried again at every look: the node is mute meanwhile,
/// but its kernel goes on, and a disk may have room again.
#[derive(Debug, Default)]
struct Owed {
    incarnation: Option<u64>,
    epoch: Option<u32>,
    /// Why not.
    refusal: Option<String>,
}

impl Owed {
    /// # Errors
    /// When the node is leaving: then nothing is waited for.
    async fn settle(&mut self, source: &NodeSource, reactor: &Reactor, store: &mut IncarnationStore) -> Result<()> {
        let mut refusal = None;
        if let Some(at_least) = self.incarnation {
            match store.take(clock::realtime_ns(), at_least) {
                Ok(incarnation) => {
                    self.incarnation = None;
                    command(reactor, Command::IncarnationTaken(incarnation)).await;
                }
                Err(error) => refusal = Some(error),
            }
        }
        if let Some(epoch) = self.epoch {
            match store.persist_epoch(epoch) {
                Ok(()) => {
                    self.epoch = None;
                    command(reactor, Command::EpochPersisted(epoch)).await;
                }
                Err(error) => refusal = Some(error),
            }
        }
        self.refusal = refusal.as_ref().map(ToString::to_string);
        match refusal {
            Some(error) if source.orders().is_leaving() => Err(error.into()),
            Some(_) | None => Ok(()),
        }
    }
}

/// Hands a command to the reactor, which takes 64 in every pass: a full queue has room again within one.
pub(super) async fn command(reactor: &Reactor, command: Command) {
    while !reactor.mailbox.command(command) {
        tokio::time::sleep(COMMAND_AGAIN).await;
    }
}

fn tell_judge(source: &NodeSource, ran_ns: u64, found_ns: u64, failure: Option<String>) {
    let gap_ms = found_ns.saturating_sub(ran_ns) / 1_000_000;
    let text = match &failure {
        None => format!("The judge in the kernel had not run for {gap_ms} ms; it was started again"),
        Some(failure) => format!("The judge in the kernel has not run for {gap_ms} ms, and does not start: {failure}"),
    };
    let mut draft = Draft::new(&kind::JUDGE_RESTARTED, found_ns, text);
    draft.detail = serde_json::json!({ "last_run_ns": ran_ns, "found_ns": found_ns, "failure": failure });
    announce(source.log(), draft);
}

/// This node is in a view under the configuration in force: it is what a later start has to go by.
fn remember_config(source: &NodeSource, remembered: &mut Option<[u8; 32]>) {
    let config = source.config();
    let digest = config.digest();
    if *remembered == Some(digest) {
        return;
    }
    match remembered::write(&config.local.state_dir, &digest) {
        Ok(()) => *remembered = Some(digest),
        // Tried again with the next view; that the disk refuses is told by whoever else writes there.
        Err(error) => tracing::error!("the configuration in force is not remembered for the next start: {error}"),
    }
}

fn tell_failure(source: &NodeSource, what: &str, failure: Option<String>) {
    if let Some(failure) = failure {
        let text = format!("{what}: {failure}. A restart of the node takes the configuration as a whole");
        announce(source.log(), Draft::new(&kind::DATAPLANE_DEGRADED, clock::monotonic_ns(), text));
    }
}

fn tell_realtime(source: &NodeSource) {
    let (reactor, sender) = source.realtime();
    for (thread, priority, granted) in [("reactor", reactor.0, reactor.1), ("sender", sender.0, sender.1)] {
        if granted {
            continue;
        }
        let text = format!(
            "The {thread} was not given real-time priority {priority}: a busy machine can delay it. Give the node \
             CAP_SYS_NICE, or LimitRTPRIO={priority}, and check the cgroup's cpu.rt settings"
        );
        announce(source.log(), Draft::new(&kind::DATAPLANE_DEGRADED, clock::monotonic_ns(), text));
    }
}
