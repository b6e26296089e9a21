//! `cost`: nanoseconds per datagram on one warm CPU, each kind of datagram and each step of the hot path.

mod cases;
mod table;

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramFd;
use heartbeat_user::dataplane::{KernelCounts, kernel::Kernel};
use serde::Serialize;

use self::cases::{Case, Expected, Subject};
use crate::{
    cpu::{self, Priority, SUBJECT_CPU, THIS_THREAD},
    programs::{self, Programs, Run},
    report::{self, Machine},
    scene,
};

/// What one datagram costs, by BPF_PROG_TEST_RUN.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Passes over all cases, one after the other
    #[arg(long, default_value_t = 40)]
    passes: usize,
    /// Repetitions of one case within a pass
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    repeat: u32,
}

/// Where test runs without a context come in: the loopback interface of the namespace.
const TEST_RUN_IFINDEX: u32 = 1;
/// An interface that does not exist, for the second network of the node.
const OTHER_IFINDEX: u32 = 1 << 30;
/// Below the data plane's own threads: nothing else that is FIFO waits for a benchmark.
const PRIORITY: Priority = Priority::Fifo(1);

/// What was measured of one case.
#[derive(Serialize)]
struct Measured {
    name: &'static str,
    /// Nanoseconds of each pass, as the kernel reports them.
    passes: Vec<u64>,
    minimum: u64,
    median: u64,
    maximum: u64,
    /// Minimum above that of the baseline.
    net_minimum: i64,
    /// Median above that of the baseline.
    net_median: i64,
    target: Option<i64>,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    repeat: u32,
    cases: Vec<Measured>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let interfaces = [TEST_RUN_IFINDEX, OTHER_IFINDEX];
    let mut bench = Programs::open(&cases::PEERS, &interfaces)?;
    let (mut kernel, memory) = scene::load(&cases::PEERS, &interfaces, 1)?;
    // Another incarnation is told once per interval; one that is longer than the benchmark keeps the ring out of it.
    kernel.set_judging(&scene::timing(60_000_000_000, 0), &[])?;
    cases::forget_incarnation(&memory);
    let subject: ProgramFd = kernel.receiver()?.fd()?.try_clone()?;
    bench.set_subject(&subject)?;
    let counts = kernel.take_counts()?;
    cpu::pin(THIS_THREAD, SUBJECT_CPU)?;

    let mut cases = cases::all();
    let mut passes: Vec<Vec<u64>> = vec![Vec::with_capacity(arguments.passes); cases.len()];
    let mut bystanders = Bystanders { kernel: &mut kernel, bench: &mut bench, counts: &counts };
    // One pass to warm up caches and to book the first of what will be duplicates.
    for pass in 0..=arguments.passes {
        for (case, times) in cases.iter_mut().zip(&mut passes) {
            let time = bystanders.measure(case, arguments.repeat).with_context(|| format!("case `{}`", case.name))?;
            if pass > 0 {
                times.push(time);
            }
        }
    }
    let report = Report { machine: report::machine()?, repeat: arguments.repeat, cases: evaluate(&cases, passes)? };
    table::print(&report, &cases);
    report::save("cost", &report)
}

struct Bystanders<'a> {
    kernel: &'a mut Kernel,
    bench: &'a mut Programs,
    counts: &'a KernelCounts,
}

impl Bystanders<'_> {
    /// Runs a case once, and checks that the program did what the case is about.
    fn measure(&mut self, case: &mut Case, repeat: u32) -> Result<u64> {
        let (mut rejects_before, before) = self.counts.read()?;
        cpu::schedule(THIS_THREAD, PRIORITY)?;
        let result = self.execute(case, repeat);
        cpu::schedule(THIS_THREAD, Priority::Other)?;
        let run = result?;
        case.advance(repeat);
        let (mut rejects_after, after) = self.counts.read()?;
        let counted = match case.expected {
            Expected::Verdict(verdict) => {
                ensure!(run.verdict == verdict, "verdict {} instead of {verdict}", run.verdict);
                return Ok(run.nanoseconds);
            }
            Expected::AnyVerdict => return Ok(run.nanoseconds),
            Expected::Accepted => after.accepted - before.accepted,
            Expected::Refused(reason) => {
                let index = reason as usize;
                rejects_after.counters()[index] - rejects_before.counters()[index]
            }
        };
        // The first pass books the heartbeat that the others repeat.
        ensure!(counted + 1 >= u64::from(repeat), "only {counted} of {repeat} runs ended as they should");
        Ok(run.nanoseconds)
    }

    fn execute(&mut self, case: &Case, repeat: u32) -> Result<Run> {
        let program = match case.subject {
            Subject::DataPlane => self.kernel.receiver()?,
            Subject::Bench(name) => self.bench.program(name)?,
        };
        programs::run(program, &case.frame, repeat)
    }
}

fn evaluate(cases: &[Case], passes: Vec<Vec<u64>>) -> Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = Vec::with_capacity(cases.len());
    for (case, times) in cases.iter().zip(passes) {
        let mut sorted = times.clone();
        sorted.sort_unstable();
        let (Some(minimum), Some(maximum)) = (sorted.first().copied(), sorted.last().copied()) else {
            anyhow::bail!("no passes were asked for");
        };
        let median = sorted[sorted.len() / 2];
        let baseline = measured.iter().find(|one| Some(one.name) == case.baseline);
        let above = |value: u64, base: u64| value.cast_signed() - base.cast_signed();
        measured.push(Measured {
            name: case.name,
            passes: times,
            minimum,
            median,
            maximum,
            net_minimum: above(minimum, baseline.map_or(0, |baseline| baseline.minimum)),
            net_median: above(median, baseline.map_or(0, |baseline| baseline.median)),
            target: case.target,
        });
    }
    Ok(measured)
}
