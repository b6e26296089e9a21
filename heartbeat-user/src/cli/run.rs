//! `heartbeat run`.

use std::io::IsTerminal as _;

use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

use super::RunArgs;
use crate::config::{Config, LogLevel};
use crate::daemon::{self, RunOptions};
use crate::journal;
use crate::reload::LogControl;

pub(super) const HELP: &str = "\
Needs root, or the capabilities CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN,
CAP_NET_RAW, CAP_SYS_NICE and CAP_IPC_LOCK.
SIGTERM leaves the cluster in order, SIGHUP reads the configuration again. After SIGKILL, the kernel goes on counting,
and the next start takes over.

Several nodes on one machine, one in each network namespace: give each its own
run_dir, state_dir and bpf_dir, and enter the namespace with nsenter, because
`ip netns exec` hides the BPF file system:
  nsenter --net=/run/netns/b heartbeat run --config b.toml";

pub(super) fn run(args: &RunArgs, verbosity: u8) -> anyhow::Result<u8> {
    let log = start_logging(verbosity);
    let config = Config::load(&args.config)?;
    let options = RunOptions {
        trace: args.trace,
        dataplane: args.dataplane.map(Into::into),
        sender: args.sender.map(Into::into),
        log: Some(log),
    };
    daemon::run(config, options)?;
    Ok(0)
}

/// To the journal where systemd has connected it, else to standard error. `RUST_LOG` overrides both the verbosity and the
/// configuration; events are always told.
fn start_logging(verbosity: u8) -> LogControl {
    let level = match verbosity {
        0 => "info",
        1 => "debug",
        2.. => "trace",
    };
    let fixed = EnvFilter::try_from_default_env().ok();
    let is_fixed = fixed.is_some();
    let (filter, control) = reload::Layer::new(fixed.unwrap_or_else(|| EnvFilter::new(level)));
    let journal = if journal::is_standard_error() { Some(journal::connect()) } else { None };
    match journal {
        Some(Ok(journal)) => tracing_subscriber::registry()
            .with(journal.messages.with_filter(filter.and(filter_fn(|metadata| !journal::is_event(metadata)))))
            .with(journal.events.with_filter(filter_fn(journal::is_event)))
            .init(),
        failed => {
            let text = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false);
            tracing_subscriber::registry().with(text.with_filter(filter)).init();
            if let Some(Err(error)) = failed {
                tracing::warn!("the journal does not listen ({error}): what is logged goes to standard error as text");
            }
        }
    }
    LogControl::new(move |configured| {
        if !is_fixed {
            let wanted = configured.map_or(level, LogLevel::as_str);
            // It fails only when there is no log any more.
            let _changed = control.reload(EnvFilter::new(wanted));
        }
    })
}
