//! On what it was measured, and where the numbers go.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Folder of the results, under the working directory; not in the repository.
const FOLDER: &str = "bench-results";

/// The machine at the end of the measurement.
#[derive(Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    cpus: usize,
    /// Of the last minute, 5 and 15 minutes; the benchmark itself included.
    load_average: String,
    unix_seconds: u64,
}

/// Looks at the machine.
pub(crate) fn machine() -> Result<Machine> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let processor = read("/proc/cpuinfo")?
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()))
        .unwrap_or_else(|| "unknown".to_owned());
    let load_average = read("/proc/loadavg")?.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    Ok(Machine {
        kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        processor,
        cpus: crate::cpu::online()?,
        load_average,
        unix_seconds: heartbeat_user::clock::realtime_ns() / 1_000_000_000,
    })
}

/// One line for people.
pub(crate) fn print_machine(machine: &Machine) {
    let Machine { kernel, processor, cpus, load_average, unix_seconds } = machine;
    println!("\n{processor}, {cpus} CPUs, kernel {kernel}, load average {load_average}, at {unix_seconds} (Unix time)");
}

/// Writes `bench-results/NAME.json`.
pub(crate) fn save(name: &str, report: &impl Serialize) -> Result<()> {
    fs::create_dir_all(FOLDER).with_context(|| format!("cannot make {FOLDER}"))?;
    let path = Path::new(FOLDER).join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(report).context("the report is not JSON")?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("\nall passes: {}", path.display());
    Ok(())
}
