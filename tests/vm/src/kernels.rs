//! The same program on other kernels: boots each, lets the guest try everything, and says what came of it.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use heartbeat_tests::interrupt::Interrupt;

use crate::{
    guest,
    image::Image,
    kernel::Kernel,
    machine::{Arrival, Machine, MachineSpec},
    packages,
    report::{Booted, Check, Facts, Report},
    workplace::Workplace,
};

/// For boot, test and power-off of one kernel.
const LIMIT: Duration = Duration::from_secs(180);
/// For the power-off alone.
const SWITCHING_OFF: Duration = Duration::from_secs(20);
/// While waiting, look this often whether somebody wants it to end.
const LOOK_UP: Duration = Duration::from_millis(200);
/// A guest reports some ten lines; more than this wait in its serial port.
const ARRIVALS: usize = 256;
const MEMORY_MIB: u32 = 768;
const CONSOLE_LINES_ON_FAILURE: usize = 40;

/// What came of one kernel.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub kernel: Kernel,
    /// By its own account; `None`: it did not come that far.
    pub booted: Option<Booted>,
    /// What was tried, in order.
    pub checks: Vec<Check>,
    /// `None`: something failed before the end.
    pub facts: Option<Facts>,
    /// Everything that is wrong, in words; nothing if all is well.
    pub wrong: Vec<String>,
    /// From the start of QEMU to its end.
    pub took: Duration,
}

/// Tries one kernel. A failure of the node is in the outcome, not an error.
///
/// # Errors
///
/// When the kernel cannot be had, QEMU does not start, or the run was interrupted.
pub fn try_kernel(
    kernel: Kernel,
    workplace: &Workplace,
    cpus: u8,
    anew: bool,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let unpacked =
        packages::prepare(kernel, workplace, anew).with_context(|| format!("no kernel {}", kernel.name()))?;
    let directory = workplace.of_machine(kernel.name())?;
    let image = directory.join("initramfs");
    Image::new(&unpacked, workplace)?.write(&image)?;
    let spec = MachineSpec {
        kernel: &unpacked,
        image: &image,
        variables: vec![
            (guest::ROLE_VARIABLE, guest::ROLE_SUITE.to_owned()),
            (heartbeat_tests::process::PROGRAM_VARIABLE, guest::HEARTBEAT.to_owned()),
        ],
        interfaces: Vec::new(),
        cpus,
        memory_mib: MEMORY_MIB,
        directory,
    };
    let begin = Instant::now();
    let (sender, arrivals) = sync_channel(ARRIVALS);
    let mut machine = Machine::start(&spec, 1, sender)?;
    let mut outcome =
        Outcome { kernel, booted: None, checks: Vec::new(), facts: None, wrong: Vec::new(), took: Duration::ZERO };
    collect(&mut outcome, &arrivals, begin + LIMIT, interrupt)?;
    if outcome.wrong.is_empty()
        && let Err(error) = machine.switch_off(SWITCHING_OFF)
    {
        outcome.wrong.push(format!("{error:#}"));
    }
    outcome.took = begin.elapsed();
    outcome.wrong.extend(machine.console().complaints().into_iter().map(|line| format!("the kernel says: {line}")));
    if let Some(booted) = &outcome.booted
        && booted.realtime != kernel.is_realtime()
    {
        outcome.wrong.push(format!("another kernel than was asked for: {}", booted.version));
    }
    if !outcome.wrong.is_empty() {
        eprintln!("--- console of {}, {}:", kernel.name(), machine.console().path().display());
        eprintln!("{}", machine.console().tail(CONSOLE_LINES_ON_FAILURE));
    }
    Ok(outcome)
}

/// Takes what comes until the guest has finished, or something is wrong.
fn collect(
    outcome: &mut Outcome,
    arrivals: &Receiver<Arrival>,
    deadline: Instant,
    interrupt: &Interrupt,
) -> Result<()> {
    let name = outcome.kernel.name();
    loop {
        if interrupt.requested() {
            bail!("interrupted");
        }
        let report = match arrivals.recv_timeout(LOOK_UP) {
            Ok(arrival) => arrival.report,
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => continue,
            Err(RecvTimeoutError::Timeout) => {
                outcome.wrong.push(format!("it hangs: nothing more within {} s", LIMIT.as_secs()));
                return Ok(());
            }
            Err(RecvTimeoutError::Disconnected) => None,
        };
        match report {
            Some(Report::Booted(booted)) => {
                eprintln!("{name}: {} {}, {} processors", booted.release, booted.version, booted.cpus);
                outcome.booted = Some(booted);
            }
            Some(Report::Check(check)) => {
                eprintln!("{name}: {} {}: {}", if check.passed { "ok  " } else { "FAIL" }, check.name, check.detail);
                if !check.passed {
                    outcome.wrong.push(format!("{}: {}", check.name, check.detail));
                }
                outcome.checks.push(check);
            }
            Some(Report::Finished(facts)) => {
                outcome.facts = Some(facts);
                return Ok(());
            }
            Some(Report::Failed { error }) => {
                if outcome.wrong.is_empty() {
                    outcome.wrong.push(error);
                }
                return Ok(());
            }
            Some(report @ (Report::Event { .. } | Report::Status { .. })) => {
                outcome.wrong.push(format!("unexpected: {}", report.line()));
            }
            None => {
                outcome.wrong.push("the machine ended before it had finished".to_owned());
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::SyncSender;

    use super::*;

    fn collected(feed: impl FnOnce(&SyncSender<Arrival>), limit: Duration) -> Outcome {
        let (sender, arrivals) = sync_channel(ARRIVALS);
        feed(&sender);
        let kernel = Kernel::Linux6_1;
        let mut outcome =
            Outcome { kernel, booted: None, checks: Vec::new(), facts: None, wrong: Vec::new(), took: Duration::ZERO };
        collect(&mut outcome, &arrivals, Instant::now() + limit, Interrupt::install().unwrap()).unwrap();
        outcome
    }

    fn send(sender: &SyncSender<Arrival>, report: Option<Report>) {
        sender.send(Arrival { machine: 1, at: Instant::now(), report }).unwrap();
    }

    #[test]
    fn a_machine_that_says_nothing_more_hangs() {
        let outcome = collected(|_| {}, Duration::ZERO);
        assert!(outcome.wrong[0].starts_with("it hangs"), "{:?}", outcome.wrong);
    }

    #[test]
    fn a_machine_that_ends_too_early_has_not_passed() {
        let passed = Check { name: "one".to_owned(), passed: true, detail: String::new() };
        let outcome = collected(
            |sender| {
                send(sender, Some(Report::Check(passed)));
                send(sender, None);
            },
            LIMIT,
        );
        assert_eq!((outcome.checks.len(), outcome.wrong.len()), (1, 1));
        assert!(outcome.facts.is_none());
    }

    #[test]
    fn a_failed_check_is_wrong_even_if_the_guest_goes_on() {
        let failed = Check { name: "two".to_owned(), passed: false, detail: "why".to_owned() };
        let outcome = collected(
            |sender| {
                send(sender, Some(Report::Check(failed)));
                send(sender, Some(Report::Finished(Facts::default())));
            },
            LIMIT,
        );
        assert_eq!(outcome.wrong, ["two: why"]);
    }
}
