//! `heartbeat run`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::RunArgs;
use crate::config::Config;
use crate::daemon::{self, RunOptions};

pub(super) const HELP: &str = "\
Needs root, or the capabilities CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW,
CAP_SYS_NICE and CAP_IPC_LOCK.
SIGTERM leaves the cluster in order. After SIGKILL, the kernel goes on counting,
and the next start takes over.

Several nodes on one machine, one in each network namespace: give each its own
run_dir, state_dir and bpf_dir, and enter the namespace with nsenter, because
`ip netns exec` hides the BPF file system:
  nsenter --net=/run/netns/b heartbeat run --config b.toml";

pub(super) fn run(args: &RunArgs, verbosity: u8) -> anyhow::Result<u8> {
    start_logging(verbosity);
    let mut config = Config::load(&args.config)?;
    if let Some(dataplane) = args.dataplane {
        config.local.dataplane = dataplane.into();
    }
    if let Some(sender) = args.sender {
        config.local.sender = sender.into();
    }
    daemon::run(config, RunOptions { trace: args.trace })?;
    Ok(0)
}

/// To standard error, which systemd hands to the journal. `RUST_LOG` overrides the verbosity.
fn start_logging(verbosity: u8) {
    let level = match verbosity {
        0 => "info",
        1 => "debug",
        2.. => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
