//! Kernel, clocks and processors.

use crate::doctor::{Facts, Findings};
use crate::metronome::choice::version;

/// The oldest kernel that the program is tested on (docs/kernels.md).
const OLDEST: (u32, u32) = (6, 1);
/// From here on the metronome is chosen by itself (docs/metronome.md).
const METRONOME: (u32, u32) = (6, 12);
/// Share of stolen time from which on a sender at 10 ms is visibly late: 1 ms in every 100.
const MUCH_STEAL: f64 = 0.01;
/// Leaving an idle state for longer than this is a visible part of an interval of a few ms.
const SLOW_IDLE_US: u64 = 200;

/// Clock sources that cost a system call or a device access for each stamp.
const SLOW_CLOCKS: &[&str] = &["hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"];

pub(super) fn kernel(facts: &Facts, found: &mut Findings) {
    let Some(release) = found.known(&facts.machine.kernel, "look at `uname -r`") else { return };
    let running = version(release);
    if running < OLDEST {
        found.wrong(
            format!("the kernel is {release}; nothing before {}.{} is tested", OLDEST.0, OLDEST.1),
            "run a kernel of docs/kernels.md",
        );
    } else if running < METRONOME {
        found.advice(
            format!("the kernel is {release}: heartbeats are sent by a thread, and stop with the controller"),
            format!("from {}.{} on the kernel sends them by itself (docs/metronome.md)", METRONOME.0, METRONOME.1),
        );
    }
}

pub(super) fn clock(facts: &Facts, found: &mut Findings) {
    let Some(source) = found.known(&facts.machine.clock_source, "look at /sys/devices/system/clocksource") else {
        return;
    };
    if SLOW_CLOCKS.contains(&source.as_str()) {
        found.wrong(
            format!("the clock source is {source}: reading it is slow, and the kernel fell back to it for a reason"),
            "look for `clocksource` in the kernel's log; tsc, kvm-clock or arch_sys_counter are what is wanted",
        );
    }
}

pub(super) fn steal(facts: &Facts, found: &mut Findings) {
    let Some((before, now)) = found.known(&facts.machine.steal, "look at `vmstat 1`, column st").copied() else {
        return;
    };
    let percent = |share: f64| share * 100.0;
    let remedy = "ask for dedicated processors, or a quieter host; detection times must be longer than its pauses";
    if now >= MUCH_STEAL {
        found.wrong(format!("the hypervisor takes {:.1} % of the processors' time right now", percent(now)), remedy);
    } else if before >= MUCH_STEAL {
        found.advice(
            format!("the hypervisor took {:.1} % of the processors' time since the start", percent(before)),
            remedy,
        );
    }
}

pub(super) fn softirq(facts: &Facts, found: &mut Findings) {
    let Some(softnet) = found.known(&facts.machine.softnet, "look at /proc/net/softnet_stat").copied() else { return };
    if softnet.dropped_now > 0 {
        found.wrong(
            format!("{} packets were dropped just now because a backlog was full", softnet.dropped_now),
            "raise net.core.netdev_max_backlog, and spread the device's interrupts over more processors",
        );
    } else if softnet.dropped > 0 {
        found.advice(
            format!("{} packets were dropped since the start because a backlog was full", softnet.dropped),
            "raise net.core.netdev_max_backlog",
        );
    }
    if softnet.squeezed_now > 0 {
        found.advice(
            format!(
                "softirqs used up their budget {} times in the last second with packets left",
                softnet.squeezed_now
            ),
            "raise net.core.netdev_budget and netdev_budget_usecs, or spread the interrupts",
        );
    }
}

pub(super) fn idle_states(facts: &Facts, found: &mut Findings) {
    let Some(states) = found.known(&facts.machine.idle_states, "look at /sys/devices/system/cpu/cpu0/cpuidle") else {
        return;
    };
    if let Some(deepest) =
        states.iter().filter(|state| state.latency_us > SLOW_IDLE_US).max_by_key(|state| state.latency_us)
    {
        found.advice(
            format!("processors may sleep so deep that waking takes {} us ({})", deepest.latency_us, deepest.name),
            "for intervals of a few ms, limit it: `tuned-adm profile latency-performance`, or /dev/cpu_dma_latency",
        );
    }
}
