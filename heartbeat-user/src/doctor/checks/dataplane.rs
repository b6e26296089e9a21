//! How the node receives and sends, by its own account.

use super::START_THE_NODE;
use crate::doctor::{Facts, Findings};
use crate::status::Mode;

pub(super) fn node(facts: &Facts, found: &mut Findings) {
    let Err(reason) = &facts.node else { return };
    found.unknown(reason.clone(), "checks that need the running node were left out");
}

pub(super) fn attach_mode(facts: &Facts, found: &mut Findings) {
    let Some(node) = found.known(&facts.node, START_THE_NODE) else { return };
    let dataplane = &node.status.dataplane;
    for interface in &dataplane.interfaces {
        let (name, network) = (&interface.name, &interface.network);
        match interface.mode {
            Mode::Native => {}
            Mode::Generic => found.wrong(
                format!("{name} ({network}) runs XDP in generic mode: frames are received after the network stack's queues"),
                "use a driver with native XDP, or less GRO and VLAN offload (ethtool -K); 9003 in `heartbeat events` says \
                 what the driver refused",
            ),
            Mode::Socket => found.wrong(
                format!("{name} ({network}) is served by a socket: a node that is not scheduled does not receive"),
                "give the node CAP_BPF and CAP_NET_ADMIN, and a BPF file system; 9003 in `heartbeat events` says what failed",
            ),
        }
    }
    if let Some(reason) = &dataplane.degraded
        && found.list.is_empty()
    {
        found.wrong(reason.clone(), "9003 in `heartbeat events` says what was refused, and why");
    }
    if dataplane.ring_lost > 0 {
        found.advice(
            format!(
                "the kernel could not hand over {} records to the reactor; verdicts were read again",
                dataplane.ring_lost
            ),
            "find out what held up the reactor: 9001 in `heartbeat events`",
        );
    }
}

pub(super) fn real_time(facts: &Facts, found: &mut Findings) {
    for constraint in &facts.machine.constraints {
        if constraint.is_harmful() {
            found.wrong(constraint.to_string(), constraint.remedy());
        } else {
            found.advice(constraint.to_string(), constraint.remedy());
        }
    }
    let Some(node) = found.known(&facts.node, START_THE_NODE) else { return };
    let sender = &node.status.sender;
    if !sender.rt_granted {
        found.wrong(
            format!("priority {} was not granted: sender and reactor run as any program does", sender.rt_priority),
            "give the node CAP_SYS_NICE, or LimitRTPRIO= in its unit",
        );
    }
}
