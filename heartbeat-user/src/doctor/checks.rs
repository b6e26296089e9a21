//! The checks, each in the file of what it looks at. docs/doctor.md has a row for every one.

mod configuration;
mod dataplane;
mod history;
mod interfaces;
mod machine;
mod network;
mod safety;
mod timing;

use super::Check;

/// Remedy where the node could not be asked.
const START_THE_NODE: &str = "start the node, or name its socket with --socket";
/// Remedy where the configuration could not be read.
const NAME_THE_CONFIG: &str = "name the configuration with --config";

/// All of them, in the order in which they are listed.
pub(super) const ALL: &[Check] = &[
    Check { name: "node", judge: dataplane::node },
    Check { name: "configuration", judge: configuration::readable },
    Check { name: "attach-mode", judge: dataplane::attach_mode },
    Check { name: "real-time", judge: dataplane::real_time },
    Check { name: "kernel", judge: machine::kernel },
    Check { name: "versions", judge: configuration::versions },
    Check { name: "secrets", judge: configuration::secrets },
    Check { name: "one-network", judge: network::one_network },
    Check { name: "shared-device", judge: network::shared_device },
    Check { name: "shared-subnet", judge: network::shared_subnet },
    Check { name: "bond", judge: interfaces::bond },
    Check { name: "mtu", judge: interfaces::mtu },
    Check { name: "rings", judge: interfaces::rings },
    Check { name: "offload", judge: interfaces::offload },
    Check { name: "moderation", judge: interfaces::moderation },
    Check { name: "multicast", judge: network::multicast },
    Check { name: "firewall", judge: network::firewall },
    Check { name: "clock", judge: machine::clock },
    Check { name: "steal", judge: machine::steal },
    Check { name: "softirq", judge: machine::softirq },
    Check { name: "idle-states", judge: machine::idle_states },
    Check { name: "detection-time", judge: timing::detection_time },
    Check { name: "jitter", judge: timing::jitter },
    Check { name: "losses", judge: history::losses },
    Check { name: "witness", judge: safety::witness },
    Check { name: "fencing", judge: safety::fencing },
    Check { name: "watchdog", judge: safety::watchdog },
];
