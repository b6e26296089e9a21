//! The kernels that nodes are tried on, as Debian 12 packages them.

use clap::ValueEnum;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kernel {
    /// Debian 12's own.
    #[value(name = "6.1")]
    Linux6_1,
    /// Debian 13's, from Debian 12's updates.
    #[value(name = "6.12")]
    Linux6_12,
    /// 6.1 with PREEMPT_RT.
    #[value(name = "6.1-rt")]
    Linux6_1Rt,
    /// 6.12 with PREEMPT_RT.
    #[value(name = "6.12-rt")]
    Linux6_12Rt,
}

impl Kernel {
    /// All, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Linux6_1, Self::Linux6_12, Self::Linux6_1Rt, Self::Linux6_12Rt];

    /// What it is called on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Linux6_1 => "6.1",
            Self::Linux6_12 => "6.12",
            Self::Linux6_1Rt => "6.1-rt",
            Self::Linux6_12Rt => "6.12-rt",
        }
    }

    /// The package that depends on the newest build. The cloud kernels are the small ones; there is none with PREEMPT_RT.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Linux6_1 => "linux-image-cloud-amd64",
            Self::Linux6_12 => "linux-image-6.12-cloud-amd64",
            Self::Linux6_1Rt => "linux-image-rt-amd64",
            Self::Linux6_12Rt => "linux-image-6.12-rt-amd64",
        }
    }

    /// Whether timers of programs are refused there, so that the reactor has to judge.
    #[must_use]
    pub fn is_realtime(self) -> bool {
        match self {
            Self::Linux6_1 | Self::Linux6_12 => false,
            Self::Linux6_1Rt | Self::Linux6_12Rt => true,
        }
    }
}
