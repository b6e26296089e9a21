//! The rungs.

use clap::ValueEnum;
use serde::Serialize;

/// What a cluster has to bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    /// L0: nothing else
    Idle,
    /// L1: stress-ng with CPU, memory, disk and context switches
    Stress,
    /// L2: a SCHED_FIFO 50 hog on all CPUs at once, in bursts of 50 to 500 ms
    Bursts,
    /// L3: a SCHED_FIFO 99 hog on one CPU, 1.5 s at a time
    Hog,
    /// L4: 200,000 datagrams a second at port 3343 with a tag that is wrong
    Garbage,
    /// L4+: the same, as many as the machine makes
    Flood,
    /// L5: a controller stopped by SIGSTOP, for 1 s and 3 s in turn, ten times
    Stopped,
    /// L6: a controller killed and started again, ten times
    Killed,
    /// L7: all CPUs held in the kernel at once, for 2.4 intervals of every 22.4
    Held,
    /// L8: all CPUs held in the kernel at once, for 20 ms of every 40 ms
    Stutter,
}

impl Rung {
    /// All of them, from the bottom.
    pub const ALL: [Self; 10] = [
        Self::Idle,
        Self::Stress,
        Self::Bursts,
        Self::Hog,
        Self::Garbage,
        Self::Flood,
        Self::Stopped,
        Self::Killed,
        Self::Held,
        Self::Stutter,
    ];

    /// Its short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "L0 idle",
            Self::Stress => "L1 stress",
            Self::Bursts => "L2 bursts",
            Self::Hog => "L3 hog",
            Self::Garbage => "L4 garbage",
            Self::Flood => "L4+ flood",
            Self::Stopped => "L5 stopped",
            Self::Killed => "L6 killed",
            Self::Held => "L7 held",
            Self::Stutter => "L8 stutter",
        }
    }

    /// What happens on it.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Idle => "nothing else runs",
            Self::Stress => "stress-ng --cpu 8 --vm 2 --vm-bytes 1G --hdd 2 --switch 2",
            Self::Bursts => "SCHED_FIFO 50 on all CPUs at once, bursts of 50 to 500 ms",
            Self::Hog => "SCHED_FIFO 99 on CPU 0, 1.5 s of every 2.5 s",
            Self::Garbage => "200,000 datagrams a second with a wrong tag",
            Self::Flood => "datagrams with a wrong tag, as many as one CPU makes",
            Self::Stopped => "the highest node's controller gets SIGSTOP for 1 s and 3 s in turn, ten times",
            Self::Killed => "the highest node's controller is killed and started again, ten times",
            Self::Held => "all CPUs held in the kernel, softirqs off, for 2.4 intervals of every 22.4",
            Self::Stutter => "all CPUs held in the kernel, softirqs off, for 20 ms of every 40 ms",
        }
    }

    /// Whether everybody's heartbeats reach the others, so that any accusation is false. In a flood frames are lost before
    /// the data plane sees them, and a machine that stutters for ever has no credit left.
    #[must_use]
    pub fn is_judged(self) -> bool {
        !matches!(self, Self::Flood | Self::Stutter)
    }
}
