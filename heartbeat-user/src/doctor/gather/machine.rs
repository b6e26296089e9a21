//! The machine: /proc, /sys, and the firewall's rules.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::doctor::facts::{Gathered, IdleState, MachineFacts, Softnet, WatchdogFacts};
use crate::realtime::constraints::constraints;

/// Counts that are read twice.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    processors: Gathered<Processors>,
    softnet: Gathered<(u64, u64)>,
}

/// The first line of /proc/stat.
#[derive(Debug, Clone, Copy)]
struct Processors {
    stolen: u64,
    all: u64,
}

impl Counters {
    pub(super) fn read(root: &Path) -> Self {
        Self {
            processors: text(root, "proc/stat").and_then(|text| processors(&text)),
            softnet: text(root, "proc/net/softnet_stat").and_then(|text| softnet(&text)),
        }
    }
}

pub(super) fn facts(root: &Path, before: &Counters, priority: u8) -> MachineFacts {
    let now = Counters::read(root);
    MachineFacts {
        kernel: text(root, "proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        virtual_machine: text(root, "proc/cpuinfo").and_then(|text| is_virtual(root, &text)),
        clock_source: text(root, "sys/devices/system/clocksource/clocksource0/current_clocksource")
            .map(|text| text.trim().to_owned()),
        steal: before.processors.clone().and_then(|before| Ok(steal(before, now.processors.clone()?))),
        softnet: before.softnet.clone().and_then(|(dropped, squeezed)| {
            let (dropped_in_all, squeezed_in_all) = now.softnet.clone()?;
            Ok(Softnet {
                dropped_now: dropped_in_all.saturating_sub(dropped),
                dropped: dropped_in_all,
                squeezed_now: squeezed_in_all.saturating_sub(squeezed),
            })
        }),
        idle_states: Ok(idle_states(root)),
        constraints: constraints(root, priority),
        watchdogs: Ok(watchdogs(root)),
        firewall: firewall(),
    }
}

fn text(root: &Path, below: &str) -> Gathered<String> {
    let path = root.join(below);
    fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

/// user, nice, system, idle, iowait, irq, softirq, steal; guest times are contained in the first two (proc(5)).
fn processors(text: &str) -> Gathered<Processors> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "));
    let numbers: Vec<u64> =
        line.unwrap_or_default().split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
    let stolen = numbers.get(7).copied().ok_or("/proc/stat has no time that was stolen")?;
    Ok(Processors { stolen, all: numbers.iter().sum() })
}

fn steal(before: Processors, now: Processors) -> (f64, f64) {
    let share = |stolen: u64, all: u64| if all == 0 { 0.0 } else { stolen as f64 / all as f64 };
    (share(now.stolen, now.all), share(now.stolen.saturating_sub(before.stolen), now.all.saturating_sub(before.all)))
}

/// Hexadecimal columns, a line for each processor: processed, dropped, squeezed (net/core/net-procfs.c).
fn softnet(text: &str) -> Gathered<(u64, u64)> {
    let mut sums = (0, 0);
    for line in text.lines() {
        let mut columns = line.split_whitespace().skip(1).map(|word| u64::from_str_radix(word, 16));
        let (Some(Ok(dropped)), Some(Ok(squeezed))) = (columns.next(), columns.next()) else {
            return Err(format!("/proc/net/softnet_stat has a line that cannot be understood: {line}"));
        };
        sums = (sums.0 + dropped, sums.1 + squeezed);
    }
    Ok(sums)
}

/// x86 has a flag for it; elsewhere a hypervisor names itself in the device tree, if there is one.
fn is_virtual(root: &Path, processors: &str) -> Gathered<bool> {
    let mut flags = processors.lines().filter(|line| line.starts_with("flags")).peekable();
    if flags.peek().is_some() {
        return Ok(flags.any(|line| line.split_whitespace().any(|flag| flag == "hypervisor")));
    }
    if root.join("proc/device-tree/hypervisor").exists() {
        return Ok(true);
    }
    Err("this kind of processor does not tell whether a hypervisor is below".to_owned())
}

/// States of the first processor that are not switched off.
fn idle_states(root: &Path) -> Vec<IdleState> {
    let directory = root.join("sys/devices/system/cpu/cpu0/cpuidle");
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let read = |path: &Path, name: &str| fs::read_to_string(path.join(name)).ok().map(|text| text.trim().to_owned());
    let mut states: Vec<IdleState> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| read(path, "disable").as_deref() != Some("1"))
        .filter_map(|path| {
            Some(IdleState { name: read(&path, "name")?, latency_us: read(&path, "latency")?.parse().ok()? })
        })
        .collect();
    states.sort_by_key(|state| state.latency_us);
    states
}

fn watchdogs(root: &Path) -> Vec<WatchdogFacts> {
    let Ok(entries) = fs::read_dir(root.join("sys/class/watchdog")) else { return Vec::new() };
    let mut devices: Vec<WatchdogFacts> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_str()?.to_owned();
            let state = fs::read_to_string(entry.path().join("state")).unwrap_or_default();
            Some(WatchdogFacts { name, armed: state.trim() == "active" })
        })
        .collect();
    devices.sort_by(|one, other| one.name.cmp(&other.name));
    devices
}

fn firewall() -> Gathered<String> {
    let output = Command::new("nft").args(["list", "ruleset"]).output();
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(format!(
            "`nft list ruleset` failed: {}",
            String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no reason given")
        )),
        Err(error) => Err(format!("the firewall's rules cannot be listed (nft): {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_time_of_the_first_line() {
        let before = processors("cpu  10 0 10 70 0 0 0 10 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n").expect("times");
        let now = processors("cpu  20 0 10 140 0 0 0 30 0 0\n").expect("times");
        let (whole, lately) = steal(before, now);
        assert!((whole - 0.15).abs() < 1e-9 && (lately - 0.2).abs() < 1e-9, "{whole} {lately}");
        assert!(processors("nothing").is_err());
    }

    #[test]
    fn softnet_sums_over_processors() {
        assert_eq!(softnet("0000ffff 00000010 00000002 0\n00000001 00000001 00000003 0\n"), Ok((17, 5)));
        assert!(softnet("ffff").is_err());
    }

    #[test]
    fn a_hypervisor_shows_in_the_flags_or_in_the_device_tree() {
        let root = tempfile::tempdir().expect("a folder");
        let is_virtual = |processors| is_virtual(root.path(), processors);
        assert_eq!(is_virtual("processor : 0\nflags\t\t: fpu hypervisor lahf_lm\n"), Ok(true));
        assert_eq!(is_virtual("flags\t\t: fpu lahf_lm\nmodel name : hypervisor\n"), Ok(false));
        assert!(is_virtual("processor : 0\nFeatures : fp asimd\n").is_err());
        fs::create_dir_all(root.path().join("proc/device-tree/hypervisor")).expect("a folder");
        assert_eq!(is_virtual("processor : 0\nFeatures : fp asimd\n"), Ok(true));
    }

    #[test]
    fn states_and_devices_are_read_from_their_folders() {
        let root = tempfile::tempdir().expect("a folder");
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        assert_eq!((idle_states(root.path()), watchdogs(root.path())), (Vec::new(), Vec::new()));
        for (state, name, latency, disabled) in [(0, "POLL", "0", "0"), (1, "C1", "2", "0"), (2, "C6", "300", "1")] {
            let directory = format!("sys/devices/system/cpu/cpu0/cpuidle/state{state}");
            put(&format!("{directory}/name"), &format!("{name}\n"));
            put(&format!("{directory}/latency"), latency);
            put(&format!("{directory}/disable"), disabled);
        }
        put("sys/class/watchdog/watchdog0/state", "active\n");
        let names: Vec<String> = idle_states(root.path()).into_iter().map(|state| state.name).collect();
        assert_eq!(names, ["POLL", "C1"]);
        assert_eq!(watchdogs(root.path()), [WatchdogFacts { name: "watchdog0".to_owned(), armed: true }]);
    }
}
