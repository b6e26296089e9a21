//! The command line of `heartbeat`.

mod check;
mod doctor;
mod events;
mod keygen;
mod order;
mod output;
mod query;
mod replay;
mod run;
mod top;
mod why;

#[cfg(test)]
pub(crate) use check::HELP as CHECK_CONFIG_HELP;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::config::{self, ConfigError, parse_duration_ns};
use crate::event::Timestamp;

/// Where a node with the default `run_dir` listens.
const DEFAULT_SOCKET: &str = "/run/heartbeat/heartbeat.sock";

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_NOT_QUORATE: u8 = 3;

const EXAMPLES: &str = "\
A first node:
  heartbeat keygen --out /etc/heartbeat-xdp/key     the same file on every node
  heartbeat check-config heartbeat.toml             what is wrong with it, and where
  heartbeat run --config /etc/heartbeat-xdp/heartbeat.toml

What goes on:
  heartbeat status                              everything at a glance
  heartbeat doctor                              what is wrong with this machine
  heartbeat events --since 1h                   what happened, and the evidence with --json
  heartbeat --socket /run/hb-b/heartbeat.sock links

Exit codes: 0 fine, 1 failed, 2 usage or configuration, 3 not quorate (status only).";

/// Heartbeats between the nodes of a cluster, received in the kernel.
#[derive(Debug, Parser)]
#[command(name = "heartbeat", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// Control socket of the node to talk to: `heartbeat.sock` in its [local] run_dir.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,

    /// More detail in the log: -v for debugging, -vv for everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node, in the foreground.
    #[command(after_help = run::HELP)]
    Run(RunArgs),
    /// Check a configuration, and print what it means: effective values and detection times.
    #[command(after_help = check::HELP)]
    CheckConfig(CheckArgs),
    /// Make a new 32-byte secret, as 64 hexadecimal digits, for its owner only.
    #[command(after_help = keygen::HELP)]
    Keygen(KeygenArgs),
    /// Everything at a glance; exit code 3 if this node is not in a quorate view.
    Status(JsonArgs),
    /// The links: every peer on every network, as seen from here.
    #[command(after_help = query::LINKS_HELP)]
    Links(LinksArgs),
    /// The event log.
    #[command(after_help = events::HELP)]
    Events(EventsArgs),
    /// Why something happened: the evidence for the last verdict on a node, in order and with times.
    #[command(after_help = why::HELP)]
    Why(WhyArgs),
    /// Look for the known causes of false verdicts; exit code 1 if something is wrong.
    #[command(after_help = doctor::HELP)]
    Doctor(DoctorArgs),
    /// Everything live: who hears whom, how evenly, the newest events.
    #[command(after_help = top::HELP)]
    Top,
    /// The nodes, their states and votes.
    Nodes(JsonArgs),
    /// The networks and their states.
    Networks(JsonArgs),
    /// The interfaces: every node's attachment to every network.
    Interfaces(JsonArgs),
    /// Everything that is counted and measured, as Prometheus reads it; [metrics] listen serves the same.
    Metrics,
    /// Leave the cluster in order, and end.
    #[command(after_help = order::LEAVE_HELP)]
    Leave(OrderArgs),
    /// Form a cluster without a majority, on your word that all other nodes are off.
    #[command(after_help = order::FORM_HELP)]
    Form(FormArgs),
    /// Say that a removed node is off: what it did may be taken over at once.
    #[command(after_help = order::CONFIRM_FENCED_HELP)]
    ConfirmFenced(NodeArgs),
    /// Make the recorded decisions of a node again, and compare.
    #[command(after_help = replay::HELP)]
    Replay(ReplayArgs),
    /// Nodes that are kept out because they were removed again and again.
    #[command(after_help = order::QUARANTINE_HELP)]
    Quarantine {
        #[command(subcommand)]
        command: QuarantineCommand,
    },
}

#[derive(Debug, Args)]
struct WhyArgs {
    /// A node, by id or name, or the number of an event (#17 where a node has the id 17); the last verdict on anybody if absent.
    #[arg(value_name = "NODE|EVENT")]
    about: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// The node's configuration, TOML.
    #[arg(long, value_name = "FILE", default_value = "/etc/heartbeat-xdp/heartbeat.toml")]
    config: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// A file of `record/` in the node's state_dir.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print everything, not only the events: each input, and each action that follows.
    #[arg(long)]
    all: bool,

    /// Print JSON, one step a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// Let a node in again, and forget its removals.
    #[command(after_help = order::QUARANTINE_HELP)]
    Clear(NodeArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The configuration, TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Receive heartbeats this way and no other, whatever the configuration says.
    #[arg(long, value_enum)]
    dataplane: Option<DataplaneArg>,

    /// Send heartbeats this way, whatever the configuration says.
    #[arg(long, value_enum)]
    sender: Option<SenderArg>,

    /// Load the build of the XDP program that logs each verdict; slow, for looking closely.
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The configuration, TOML.
    #[arg(value_name = "FILE")]
    config: PathBuf,

    /// Also check that this machine has what the node needs: interfaces with its addresses, a BPF file system.
    #[arg(long)]
    here: bool,
}

#[derive(Debug, Args)]
struct KeygenArgs {
    /// Write to this new file, mode 0600, instead of printing; an existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct JsonArgs {
    /// Print JSON, for programs; names stay the same over versions.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct LinksArgs {
    /// The last arrivals of this peer's heartbeats, newest last, instead: a node, by id or name.
    #[arg(long, value_name = "PEER")]
    history: Option<String>,

    /// Only those on this network.
    #[arg(long, value_name = "NETWORK", requires = "history")]
    network: Option<String>,

    /// Print JSON, for programs; names stay the same over versions.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct OrderArgs {
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct FormArgs {
    /// Your word that all other nodes are off, or fenced: nothing else prevents that two sides act at once.
    #[arg(long)]
    force: bool,

    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct NodeArgs {
    /// The node, by its id or its name.
    #[arg(value_name = "NODE")]
    node: String,

    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct EventsArgs {
    /// Print JSON, one event a line, with the evidence.
    #[arg(long)]
    json: bool,

    /// Go on with new events as they come.
    #[arg(short, long)]
    follow: bool,

    /// Only events since then: a time such as 2026-11-23T02:00:00Z, or an age such as 90s, 10m or 2h.
    #[arg(long, value_name = "T", value_parser = since)]
    since: Option<Timestamp>,

    /// Only events with this number, such as 1123.
    #[arg(long, value_name = "N")]
    id: Option<u16>,

    /// Only the newest so many of the past.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DataplaneArg {
    Auto,
    Native,
    Generic,
    Socket,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SenderArg {
    Auto,
    Realtime,
    Metronome,
}

/// Runs the command line of this process, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let (code, message) = match error.downcast_ref::<ConfigError>() {
                Some(problems) => (EXIT_USAGE, problems.to_string()),
                None => (EXIT_FAILED, format!("heartbeat: {error:#}")),
            };
            // Standard error may be closed as well; the exit code still tells.
            let _ = output::complain(&message);
            ExitCode::from(code)
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Run(args) => run::run(&args, cli.verbose),
        Command::CheckConfig(args) => check::check(&args),
        Command::Keygen(args) => keygen::keygen(&args),
        Command::Status(args) => query::status(&cli.socket, args.json),
        Command::Links(args) => query::links(&cli.socket, &args),
        Command::Events(args) => events::events(&cli.socket, &args),
        Command::Top => top::top(&cli.socket),
        Command::Why(args) => why::why(&cli.socket, &args),
        Command::Doctor(args) => doctor::doctor(&cli.socket, &args),
        Command::Nodes(args) => query::part(&cli.socket, "nodes", args.json),
        Command::Networks(args) => query::part(&cli.socket, "networks", args.json),
        Command::Interfaces(args) => query::part(&cli.socket, "interfaces", args.json),
        Command::Metrics => query::metrics(&cli.socket),
        Command::Replay(args) => replay::replay(&args),
        Command::Leave(args) => order::leave(&cli.socket, &args),
        Command::Form(args) => order::form(&cli.socket, &args),
        Command::ConfirmFenced(args) => order::confirm_fenced(&cli.socket, &args),
        Command::Quarantine { command: QuarantineCommand::Clear(args) } => order::clear_quarantine(&cli.socket, &args),
    }
}

/// A time, or an age.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Some(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let age = parse_duration_ns(text)
        .map_err(|reason| format!("neither a time such as 2026-11-23T02:00:00Z nor an age such as 10m: {reason}"))?;
    Ok(Timestamp::from_unix_ns(Timestamp::now().unix_ns().saturating_sub(age)))
}

impl From<DataplaneArg> for config::Dataplane {
    fn from(arg: DataplaneArg) -> Self {
        match arg {
            DataplaneArg::Auto => Self::Auto,
            DataplaneArg::Native => Self::Native,
            DataplaneArg::Generic => Self::Generic,
            DataplaneArg::Socket => Self::Socket,
        }
    }
}

impl From<SenderArg> for config::Sender {
    fn from(arg: SenderArg) -> Self {
        match arg {
            SenderArg::Auto => Self::Auto,
            SenderArg::Realtime => Self::Realtime,
            SenderArg::Metronome => Self::Metronome,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself() {
        let program = Cli::command();
        for command in
            program.get_subcommands().flat_map(|command| std::iter::once(command).chain(command.get_subcommands()))
        {
            assert!(command.get_about().is_some(), "{} has no description", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn since_takes_times_and_ages() {
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(Timestamp::from_unix_ns(1_000_000_000)));
        let since_then = since("10m").unwrap().unix_ns();
        let age = Timestamp::now().unix_ns() - since_then;
        assert!((600_000_000_000..601_000_000_000).contains(&age), "{age}");
        assert!(since("yesterday").unwrap_err().contains("10m"));
    }

    #[test]
    fn the_socket_can_be_named_before_and_behind_the_command() {
        for line in ["heartbeat --socket /a status", "heartbeat status --socket /a"] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap().socket, PathBuf::from("/a"));
        }
    }
}
