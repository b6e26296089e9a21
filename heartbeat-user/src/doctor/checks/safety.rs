//! What makes a removal safe: fencing, watchdog, witness.

use super::NAME_THE_CONFIG;
use crate::doctor::{Facts, Findings};

pub(super) fn witness(facts: &Facts, found: &mut Findings) {
    let Some(config) = found.known(&facts.config, NAME_THE_CONFIG) else { return };
    if let Some((_, Err(reason))) = &config.witness {
        found.wrong(
            reason.clone(),
            "mount it: without it its vote does not count, and an even split may stop both sides",
        );
    }
    let Ok(node) = &facts.node else { return };
    if let Some(witness) = node.status.witness.as_ref().filter(|witness| witness.failures > 0) {
        found.wrong(
            format!(
                "the last {} operations of the witness failed: {}",
                witness.failures,
                witness.last_error.as_deref().unwrap_or("no answer")
            ),
            "look at the shared file system",
        );
    }
}

pub(super) fn fencing(facts: &Facts, found: &mut Findings) {
    let Some(config) = found.known(&facts.config, NAME_THE_CONFIG) else { return };
    let Some(is_virtual) = found.known(&facts.machine.virtual_machine, "look at `systemd-detect-virt`").copied() else {
        return;
    };
    if is_virtual && !config.fences {
        found.wrong(
            "a virtual machine without fencing: its clocks stop while it is stunned, and it may go on for a moment after its \
             lease has ended elsewhere",
            "let [local.hooks] on_node_removed fence the node, and take over after 9008 or `heartbeat confirm-fenced` only \
             (docs/guarantees.md)",
        );
    }
}

pub(super) fn watchdog(facts: &Facts, found: &mut Findings) {
    let Some(devices) = found.known(&facts.machine.watchdogs, "look at /sys/class/watchdog") else { return };
    if devices.iter().any(|device| device.armed) {
        return;
    }
    let evidence = match devices.as_slice() {
        [] => "there is no watchdog device: a machine that hangs is not reset".to_owned(),
        [device, ..] => format!("nobody feeds {}: a machine that hangs is not reset", device.name),
    };
    found.advice(
        evidence,
        "RuntimeWatchdogSec= in /etc/systemd/system.conf arms one; `modprobe softdog` where there is none",
    );
}
