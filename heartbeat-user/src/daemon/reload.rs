//! SIGHUP: the configuration is read again.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context as _, Result};
use heartbeat_membership::Staged;

use super::{RunOptions, announce::announce, membership, metrics_task::MetricsTask, source::NodeSource};
use crate::{
    clock,
    config::Config,
    dataplane,
    event::{Draft, kind},
    reactor::{
        Reactor, core_config,
        reconfigure::{Reconfiguration, Staging},
    },
    reload::{self, Keyring, LogControl, SharedPart},
    sender::change::{Change, Changes},
    service,
    socket::NetworkSocket,
};

/// What a reload needs beside the node that runs.
pub(super) struct Reloader {
    file: PathBuf,
    options: RunOptions,
    sockets: Vec<Arc<NetworkSocket>>,
    sender: Arc<Changes>,
    /// Links that the maps have room for.
    links: usize,
    /// Highest node id that they have room for.
    capacity: u16,
}

impl Reloader {
    /// Reads the file of `config` again when it is told to.
    pub(super) fn new(
        config: &Config,
        options: RunOptions,
        sockets: &[Arc<NetworkSocket>],
        sender: &Arc<Changes>,
        links: usize,
    ) -> Self {
        Self {
            file: config.file.clone(),
            options,
            sockets: sockets.to_vec(),
            sender: Arc::clone(sender),
            links,
            capacity: dataplane::room_for(config),
        }
    }

    /// Reads the file, and changes what it says; or nothing, and says why.
    pub(super) async fn reload(&self, source: &Arc<NodeSource>, reactor: &Reactor, metrics: &mut MetricsTask) {
        service::reloading();
        let reloads = &source.tallies().reloads;
        let counter = match self.apply(source, reactor, metrics).await {
            Ok(true) => &reloads.applied,
            Ok(false) => &reloads.unchanged,
            Err(error) => {
                let text =
                    format!("The configuration {} was read again and changes nothing: {error:#}", self.file.display());
                let mut draft = Draft::new(&kind::CONFIG_REFUSED, clock::monotonic_ns(), text);
                draft.detail = serde_json::json!({
                    "file": self.file.display().to_string(), "reason": format!("{error:#}"),
                });
                announce(source.log(), draft);
                &reloads.refused
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        service::ready();
    }

    /// Whether anything changed.
    async fn apply(&self, source: &Arc<NodeSource>, reactor: &Reactor, metrics: &mut MetricsTask) -> Result<bool> {
        let current = source.config();
        let new = self.read().await?;
        let plan = reload::plan(&current, &new, self.capacity)?;
        let staged_before = source.staged_digest();
        let staged_now = plan.staged.as_ref().map(Config::digest);
        let staging = match &plan.staged {
            Some(config) if staged_now != staged_before => Some(Some(self.staging(&current, config)?)),
            None if staged_before.is_some() => Some(None),
            Some(_) | None => None,
        };
        if plan.keys {
            let keyring = Box::new(Keyring::new(&plan.effective));
            let signer = Change::Signer(Box::new(keyring.signer.clone()));
            let accepted = reactor.mailbox.reconfigure(Reconfiguration::Keys(keyring));
            anyhow::ensure!(accepted, "the reactor has not come to the change before this one; try again");
            anyhow::ensure!(
                self.sender.push(signer),
                "the sender has not come to the change before this one; try again"
            );
        }
        let stages = staging.is_some();
        if let Some(staging) = staging {
            let accepted = reactor.mailbox.reconfigure(Reconfiguration::Stage(staging));
            anyhow::ensure!(accepted, "the reactor has not come to the change before this one; try again");
        }
        if let Some(log) = self.options.log.as_ref().filter(|_| plan.effective.local.log != current.local.log) {
            log.set(plan.effective.local.log);
        }
        tell(source, &plan, stages, staged_before);
        let changed = stages || !plan.changes.is_empty();
        source.change_config(plan.effective, plan.staged);
        metrics.listen(source, source.metrics_address());
        Ok(changed)
    }

    /// The file as it is now, under the command line's settings.
    async fn read(&self) -> Result<Config> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&file)).await;
        let mut config = read.context("the file could not be read")??;
        self.options.override_local(&mut config.local);
        Ok(config)
    }

    fn staging(&self, current: &Config, config: &Config) -> Result<Staging> {
        let core = Staged {
            config: core_config::core_config(config),
            arbiter: membership::arbiter(config)?,
            record_lease_ns: config.quorum.record_lease_ns,
        };
        core.check(&core_config::core_config(current), membership::arbiter(current)?)
            .context("what all nodes must agree on changes too much at once")?;
        let shared = SharedPart::new(config, &self.sockets, self.links);
        Ok(Staging { core: Box::new(core), shared: Box::new(shared), sender: Arc::clone(&self.sender) })
    }
}

impl RunOptions {
    /// What the command line says goes before what the file says.
    pub fn override_local(&self, local: &mut crate::config::Local) {
        if let Some(dataplane) = self.dataplane {
            local.dataplane = dataplane;
        }
        if let Some(sender) = self.sender {
            local.sender = sender;
        }
    }

    /// The way to the log's level, where there is one.
    #[must_use]
    pub fn with_log(mut self, log: LogControl) -> Self {
        self.log = Some(log);
        self
    }
}

fn tell(source: &NodeSource, plan: &reload::Plan, stages: bool, staged_before: Option<[u8; 32]>) {
    let file = plan.effective.file.display().to_string();
    let mut changes = plan.changes.clone();
    let staged = plan.staged.as_ref().map(|config| hex::encode(config.digest()));
    match (&staged, stages) {
        (Some(digest), true) => {
            changes.push(format!("what all nodes must agree on waits until all members have it (digest {digest})"));
        }
        (Some(digest), false) => changes.push(format!("digest {digest} goes on waiting until all members have it")),
        (None, true) => changes.push(format!(
            "what was waiting is taken back (digest {})",
            staged_before.map(hex::encode).unwrap_or_default()
        )),
        (None, false) => {}
    }
    let what = if changes.is_empty() { "it says what it said before".to_owned() } else { changes.join("; ") };
    let text = format!("The configuration {file} was read again: {what}");
    let mut draft = Draft::new(&kind::CONFIG_RELOADED, clock::monotonic_ns(), text);
    draft.detail = serde_json::json!({
        "file": file, "changes": plan.changes, "digest": hex::encode(plan.effective.digest()), "staged": staged,
    });
    announce(source.log(), draft);
}
