//! What a machine may take away from real-time threads, and how to give it back.

use std::{fmt, fs, path::Path};

/// Priority of the kernel's threaded interrupt handlers (kernel/irq/manage.c): a thread below it waits for them, and a
/// busy network card is enough to keep it waiting.
pub const INTERRUPT_THREADS: u8 = 50;

/// Something that limits real-time threads, or threads beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// All real-time threads of a CPU together get this share; whoever uses it up stops the others as well.
    Throttled {
        /// `kernel.sched_rt_runtime_us`.
        runtime_us: u64,
        /// `kernel.sched_rt_period_us`.
        period_us: u64,
    },
    /// The control group may run no real-time threads at all.
    NoRealtime {
        /// Path of the group.
        group: String,
    },
    /// Threads of normal priority (control socket, event log, hooks, metrics) are stopped when their group has used up
    /// its quota.
    Quota {
        /// Path of the group that has it.
        group: String,
        /// Microseconds of CPU time.
        quota_us: u64,
        /// In each of these, microseconds.
        period_us: u64,
    },
    /// The priority is not above that of interrupt threads.
    BelowInterruptThreads {
        /// `[local] rt_priority`.
        priority: u8,
    },
    /// The kernel may end the process when memory runs out.
    Expendable {
        /// `oom_score_adj` of the process.
        score: i32,
    },
}

/// Of `oom_score_adj`: what the program gives itself where it may. Not -1000, which would hide a leak of this program
/// until the machine stands still.
pub const OUT_OF_MEMORY_SCORE: i32 = -900;

impl Constraint {
    /// Whether heartbeats or verdicts may be late because of it; the rest is advice. The kernel's default of 95 percent
    /// hurts only beside a real-time thread that spins, and is as good as everywhere.
    #[must_use]
    pub fn is_harmful(&self) -> bool {
        match self {
            Self::Throttled { runtime_us, period_us } => runtime_us * 100 < period_us * 95,
            Self::NoRealtime { .. } | Self::BelowInterruptThreads { .. } => true,
            Self::Quota { .. } | Self::Expendable { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => {
                "`sysctl kernel.sched_rt_runtime_us=-1` lifts the limit; find the real-time thread that uses the share up first"
            }
            Self::NoRealtime { .. } => {
                "start the node in the root group, or give its group runtime (cpu.rt_runtime_us); with cgroup v2 the kernel \
                 must be built without CONFIG_RT_GROUP_SCHED"
            }
            Self::Quota { .. } => "run the node without CPUQuota= (cpu.max), or with a quota that it cannot use up",
            Self::BelowInterruptThreads { .. } => "set [local] rt_priority to 51 or more",
            Self::Expendable { .. } => "give the node CAP_SYS_RESOURCE, or OOMScoreAdjust=-900 in its unit",
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled { runtime_us, period_us } => write!(
                formatter,
                "all real-time threads of a CPU together get {} ms of every {} ms: one that spins stops the others too",
                runtime_us / 1_000,
                period_us / 1_000
            ),
            Self::NoRealtime { group } => write!(formatter, "the control group {group} has no real-time runtime"),
            Self::Quota { group, quota_us, period_us } => write!(
                formatter,
                "the control group {group} may use {} ms of CPU time in every {} ms: control socket, event log and hooks \
                 stop beyond it",
                quota_us / 1_000,
                period_us / 1_000
            ),
            Self::BelowInterruptThreads { priority } => write!(
                formatter,
                "real-time priority {priority} is not above that of threaded interrupt handlers ({INTERRUPT_THREADS}): a \
                 busy device delays heartbeats"
            ),
            Self::Expendable { score } => {
                write!(formatter, "the kernel may end this process when memory runs out (oom_score_adj {score})")
            }
        }
    }
}

/// What limits this process on a machine whose /proc and /sys are below `root`. What cannot be read limits nothing that
/// could be told of.
#[must_use]
pub fn constraints(root: &Path, priority: u8) -> Vec<Constraint> {
    let mut found = Vec::new();
    if priority <= INTERRUPT_THREADS {
        found.push(Constraint::BelowInterruptThreads { priority });
    }
    found.extend(throttling(root));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        if controllers.is_empty() {
            found.extend(quota(root, path));
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            found.extend(no_realtime(root, path));
        }
    }
    found
}

/// The same for the node's own process, with what only that can tell of itself.
#[must_use]
pub fn own(root: &Path, priority: u8) -> Vec<Constraint> {
    let mut found = constraints(root, priority);
    let score = fs::read_to_string(root.join("proc/self/oom_score_adj")).ok().and_then(|text| text.trim().parse().ok());
    found.extend(score.filter(|score| *score > OUT_OF_MEMORY_SCORE).map(|score| Constraint::Expendable { score }));
    found
}

fn throttling(root: &Path) -> Option<Constraint> {
    let read = |name: &str| fs::read_to_string(root.join("proc/sys/kernel").join(name)).ok();
    // A negative runtime is no limit, and does not parse.
    let runtime_us: u64 = read("sched_rt_runtime_us")?.trim().parse().ok()?;
    let period_us: u64 = read("sched_rt_period_us")?.trim().parse().ok()?;
    (runtime_us < period_us).then_some(Constraint::Throttled { runtime_us, period_us })
}

/// cgroup v2: the tightest quota of the group and those above it is the nearest one that is set.
fn quota(root: &Path, path: &str) -> Option<Constraint> {
    let mount = root.join("sys/fs/cgroup");
    Path::new(path).ancestors().find_map(|group| {
        let below = group.strip_prefix("/").unwrap_or(group);
        let text = fs::read_to_string(mount.join(below).join("cpu.max")).ok()?;
        let (quota_us, period_us) = text.trim().split_once(' ')?;
        let (quota_us, period_us) = (quota_us.parse().ok()?, period_us.parse().ok()?);
        Some(Constraint::Quota { group: group.display().to_string(), quota_us, period_us })
    })
}

/// cgroup v1 with CONFIG_RT_GROUP_SCHED: a group starts with no runtime, and SCHED_FIFO is refused in it.
fn no_realtime(root: &Path, path: &str) -> Option<Constraint> {
    let below = path.trim_start_matches('/');
    let file = root.join("sys/fs/cgroup/cpu").join(below).join("cpu.rt_runtime_us");
    let runtime_us: i64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (runtime_us == 0).then(|| Constraint::NoRealtime { group: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        root
    }

    const UNLIMITED: (&str, &str) = ("proc/sys/kernel/sched_rt_runtime_us", "-1\n");
    const PERIOD: (&str, &str) = ("proc/sys/kernel/sched_rt_period_us", "1000000\n");

    #[test]
    fn an_unlimited_machine_has_none() {
        let root =
            machine(&[UNLIMITED, PERIOD, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", "max 100000\n")]);
        assert_eq!(constraints(root.path(), 60), []);
        assert_eq!(constraints(machine(&[]).path(), 51), []);
    }

    #[test]
    fn the_default_share_is_advice_and_half_of_the_time_is_harm() {
        for (runtime_us, harmful) in [(950_000, false), (500_000, true)] {
            let runtime = format!("{runtime_us}\n");
            let root = machine(&[("proc/sys/kernel/sched_rt_runtime_us", runtime.as_str()), PERIOD]);
            let found = constraints(root.path(), 60);
            assert_eq!(found, [Constraint::Throttled { runtime_us, period_us: 1_000_000 }]);
            assert_eq!(found[0].is_harmful(), harmful);
        }
    }

    #[test]
    fn a_priority_not_above_interrupt_threads_is_harm() {
        for (priority, count) in [(1, 1), (50, 1), (51, 0)] {
            let found = constraints(machine(&[]).path(), priority);
            assert_eq!(found.len(), count, "{priority}");
            assert!(found.iter().all(Constraint::is_harmful));
        }
    }

    #[test]
    fn the_quota_of_a_group_above_counts() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/system.slice/heartbeat-xdp.service\n"),
            ("sys/fs/cgroup/system.slice/heartbeat-xdp.service/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/system.slice/cpu.max", "20000 100000\n"),
        ]);
        let found = constraints(root.path(), 60);
        let group = "/system.slice".to_owned();
        assert_eq!(found, [Constraint::Quota { group, quota_us: 20_000, period_us: 100_000 }]);
        assert!(!found[0].is_harmful() && found[0].to_string().contains("20 ms of CPU time in every 100 ms"));
    }

    #[test]
    fn a_process_that_may_be_ended_is_told_of_itself() {
        for (score, count) in [("0\n", 1), ("-899\n", 1), ("-900\n", 0), ("-1000\n", 0)] {
            let root = machine(&[("proc/self/oom_score_adj", score)]);
            assert_eq!(own(root.path(), 60).len(), count, "{score}");
            assert_eq!(constraints(root.path(), 60), []);
        }
    }

    #[test]
    fn a_group_of_version_1_without_runtime_refuses_real_time() {
        for (runtime, count) in [("0\n", 1), ("950000\n", 0)] {
            let root = machine(&[
                ("proc/self/cgroup", "5:devices:/\n4:cpu,cpuacct:/nodes\n0::/\n"),
                ("sys/fs/cgroup/cpu/nodes/cpu.rt_runtime_us", runtime),
            ]);
            let found = constraints(root.path(), 60);
            assert_eq!(found.len(), count, "{found:?}");
            assert!(found.iter().all(Constraint::is_harmful));
        }
    }
}
