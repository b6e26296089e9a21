//! Whether a metronome sends, and what an operator is told of it.

use anyhow::{Context as _, Result};

use crate::{
    config::{Config, Machine, Sender as Wanted},
    dataplane::{Adoption, Dataplane, Preparation, pins::Pins},
    metronome::{
        self, Metronome,
        choice::{Kernel, objection},
    },
};

/// Which sender it is, and why.
pub(super) struct Chosen {
    /// The metronome, where it sends.
    pub metronome: Option<Metronome>,
    /// In words, for status.
    pub why: String,
    /// Something worse than what was asked for.
    pub degraded: bool,
}

/// Takes away the metronome of an earlier controller whose records are not gone on with: it would send as somebody who is
/// no more.
///
/// # Errors
/// When its devices or pins cannot be removed.
pub(super) fn remove_stale(config: &Config, preparation: &Preparation) -> Result<()> {
    let pins = Pins::new(&config.local.bpf_dir);
    // Without a trace of it there is nothing to look for, and a controller without BPF needs no privilege.
    let stale = matches!(preparation.adoption, Adoption::Fresh(_)) && pins.metronome().exists();
    // The socket data plane holds no lock on the pins: somebody else may run with them.
    if stale && (preparation.owns_pins() || pins.lock().is_ok()) {
        metronome::remove(&config.local.bpf_dir).context("the metronome of an earlier controller cannot be removed")?;
    }
    Ok(())
}

/// Chooses, and makes the metronome ready. Whatever prevents it leaves the real-time thread, and is said.
pub(super) fn choose(config: &Config, machine: &Machine, dataplane: &mut Dataplane) -> Chosen {
    let prepared = match objection(config, &Kernel::running()) {
        Some(objection) => Err(objection),
        None => prepare(config, machine, dataplane).map_err(|error| format!("{error:#}")),
    };
    match prepared {
        Ok(metronome) => {
            let why = match config.local.sender {
                Wanted::Auto => {
                    "sender = \"auto\": the kernel can, and goes on sending when no process is let run".to_owned()
                }
                Wanted::Metronome | Wanted::Realtime => "sender = \"metronome\"".to_owned(),
            };
            Chosen { metronome: Some(metronome), why, degraded: false }
        }
        Err(reason) => {
            // An earlier controller may have had one, with the maps that are gone on with.
            let pins = Pins::new(&config.local.bpf_dir);
            let left = if pins.metronome().exists() && dataplane.has_kernel() {
                metronome::remove(&config.local.bpf_dir).err()
            } else {
                None
            };
            let why = match left {
                Some(error) => format!("{reason}; an earlier metronome cannot be removed: {error}"),
                None => reason,
            };
            Chosen { metronome: None, why, degraded: config.local.sender == Wanted::Metronome }
        }
    }
}

fn prepare(config: &Config, machine: &Machine, dataplane: &mut Dataplane) -> Result<Metronome> {
    let parts = dataplane.metronome_parts()?.context("it needs the data plane in the kernel")?;
    Metronome::prepare(config, machine, parts)
}
