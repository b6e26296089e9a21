//! Explores with more and more faults until the time is up.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use heartbeat_membership::mutation::Mutation;
use heartbeat_model::{
    Broken, Scope, faults,
    search::{Found, search},
};

/// Check the protocol core through every sequence of a bounded number of faults
///
/// Begins with no fault, then one, and so on; prints one line for each number.
#[derive(Parser)]
struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=5))]
    nodes: u16,

    /// Stop after so many minutes
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,

    /// Most faults on a path
    #[arg(long, default_value_t = 4)]
    faults: u8,

    /// Break a rule on purpose, to see that it is noticed
    #[arg(long = "break", value_enum)]
    rule: Option<Rule>,

    /// Strike between intervals only, not between the messages of a regroup
    #[arg(long)]
    between_intervals: bool,

    /// Do not follow each state to the end to see whether everyone comes back
    #[arg(long)]
    no_recovery: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Rule {
    HalfIsMajority,
    NoWait,
    NoBinding,
    TieBreakerForms,
    AnyPoison,
    EchoAfterBinding,
}

impl Rule {
    fn broken(self) -> Broken {
        let rule = match self {
            Self::HalfIsMajority => Mutation::HalfIsMajority,
            Self::NoWait => Mutation::NoWait,
            Self::NoBinding => Mutation::NoBinding,
            Self::TieBreakerForms => Mutation::TieBreakerForms,
            Self::AnyPoison => Mutation::AnyPoison,
            Self::EchoAfterBinding => return Broken { rule: None, echo_after_binding: true },
        };
        Broken { rule: Some(rule), echo_after_binding: false }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let limit = Duration::from_secs_f64(arguments.minutes * 60.0);
    let began = Instant::now();
    println!("nodes  faults     generated        unique  depth  seconds  complete");
    for number in 0..=arguments.faults {
        let Some(left) = limit.checked_sub(began.elapsed()) else { break };
        let broken = arguments.rule.map_or(Broken::default(), Rule::broken);
        let scope = Scope {
            nodes: arguments.nodes,
            faults: number,
            strikes: faults::any,
            broken,
            within_intervals: !arguments.between_intervals,
            recovery: !arguments.no_recovery,
        };
        let found = search(scope, left, threads);
        let Found { generated, unique, depth, complete, took, .. } = found;
        let (nodes, seconds, complete_word) =
            (arguments.nodes, took.as_secs_f64(), if complete { "yes" } else { "no" });
        println!("{nodes:>5} {number:>7} {generated:>13} {unique:>13} {depth:>6} {seconds:>8.1}  {complete_word}");
        for broken in &found.broken {
            println!("\ninvariant {} is broken: {}\n{}", broken.invariant, broken.text, broken.story);
        }
        if !found.broken.is_empty() {
            return ExitCode::FAILURE;
        }
        if complete && number > 0 && !found.unreached.is_empty() {
            println!("never seen: {}", found.unreached.join("; "));
            return ExitCode::FAILURE;
        }
        if !complete {
            break;
        }
    }
    ExitCode::SUCCESS
}
