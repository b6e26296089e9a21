//! Which sender `[local] sender` means on this machine.

use std::fs;

use crate::config::{Config, Sender as Wanted};

/// With `auto` the metronome sends from this kernel on: 6.12 was measured, and before 6.5 a busy real-time task keeps
/// softirqs, and with them the metronome, waiting (docs/metronome.md).
const AUTO_FROM: (u32, u32) = (6, 12);
/// Programs at devices whose links can be pinned (tcx).
const POSSIBLE_FROM: (u32, u32) = (6, 6);
/// With `auto`, the shortest interval at which the metronome was measured to be better than the thread.
const AUTO_INTERVAL_NS: u64 = 10_000_000;

/// What of this machine decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Version.
    pub version: (u32, u32),
    /// PREEMPT_RT: softirqs run in threads, which other threads can keep waiting.
    pub realtime: bool,
}

impl Kernel {
    /// The running one. What cannot be found out counts as the worse case.
    #[must_use]
    pub fn running() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let realtime = fs::read_to_string("/sys/kernel/realtime").is_ok_and(|text| text.trim() == "1");
        Self { version: version(&release), realtime }
    }
}

/// Major and minor number of a release such as `6.12.5-amd64`; zeros where it has none.
pub(crate) fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next())
}

/// Why the metronome is not to be tried; `None` if it is.
#[must_use]
pub fn objection(config: &Config, kernel: &Kernel) -> Option<String> {
    let (major, minor) = kernel.version;
    let need = match config.local.sender {
        Wanted::Realtime => return Some("sender = \"realtime\"".to_owned()),
        Wanted::Metronome => POSSIBLE_FROM,
        Wanted::Auto => AUTO_FROM,
    };
    if kernel.version < need {
        return Some(format!("the kernel is {major}.{minor}, needed is {}.{} or newer", need.0, need.1));
    }
    if config.local.sender != Wanted::Auto {
        return None;
    }
    if kernel.realtime {
        return Some("on a PREEMPT_RT kernel threads can keep the metronome waiting".to_owned());
    }
    if config.timing.interval_ns < AUTO_INTERVAL_NS {
        return Some("at an interval below 10 ms the metronome was not shown to be better".to_owned());
    }
    let routed = config.networks.iter().find(|network| !network.single_hop);
    routed.map(|network| format!("the network {} is not single-hop, and the metronome does not route", network.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_distributions_make_of_them() {
        for (release, expected) in
            [("6.12.117-cloud-amd64\n", (6, 12)), ("6.1.0-56-rt", (6, 1)), ("7.0-rc1", (7, 0)), ("", (0, 0))]
        {
            assert_eq!(version(release), expected, "{release}");
        }
    }
}
