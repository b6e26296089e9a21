//! What a script says, once it is parsed.

/// A whole script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What is there before anything happens.
    pub setup: Setup,
    /// What happens, and what is expected, in order.
    pub steps: Vec<Step>,
}

/// A cluster that has formed, every node in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// How many nodes; their ids count from 1.
    pub nodes: u16,
    /// Names of the networks; the first is internal, the others are mixed.
    pub networks: Vec<String>,
    /// Heartbeat period in the simulator, nanoseconds.
    pub interval_ns: u64,
    /// Heartbeat period of real processes, nanoseconds.
    pub real_interval_ns: u64,
    /// Intervals until a link is late.
    pub late_after: u32,
    /// Intervals until a node is silent.
    pub lost_after: u32,
    /// What decides an exact half.
    pub arbiter: Arbiter,
    /// Where it can be played, if not everywhere.
    pub only: Option<Only>,
}

/// What decides an exact half of the votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arbiter {
    /// This node, or the lowest id.
    TieBreaker(Option<u16>),
    /// A witness in a file that all nodes reach.
    FileWitness,
}

/// The only place where a script can be played, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Only {
    /// The simulator.
    Simulator(String),
    /// Real processes.
    Real(String),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number in the file, from 1.
    pub line: usize,
    /// As it is written.
    pub text: String,
    /// What it means.
    pub what: What,
}

/// What a line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Something is done to the cluster.
    Deed(Deed),
    /// Expectations look at what is logged from here on.
    Mark,
    /// Time passes.
    Tick(Span),
    /// Something must be so.
    Expect(Expectation),
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Nanoseconds.
    Nanoseconds(u64),
    /// Thousandths of the heartbeat interval.
    Intervals(u64),
}

impl Span {
    /// Its length where heartbeats have this interval.
    #[must_use]
    pub fn ns(self, interval_ns: u64) -> u64 {
        match self {
            Self::Nanoseconds(ns) => ns,
            Self::Intervals(thousandths) => thousandths.saturating_mul(interval_ns) / 1000,
        }
    }
}

/// From whom to whom.
pub type Way = (u16, u16);

/// Something that is done to the cluster. Networks count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing passes on these ways any more.
    Cut {
        /// The ways.
        ways: Vec<Way>,
        /// The networks.
        networks: Vec<u8>,
    },
    /// Everything passes on these ways again.
    Heal {
        /// The ways.
        ways: Vec<Way>,
        /// The networks.
        networks: Vec<u8>,
    },
    /// The process of a node stands still, its sender as well; the kernel goes on.
    Stop(u16),
    /// It goes on.
    Continue(u16),
    /// The controller of a node stands still; kernel and sender go on.
    Hang(u16),
    /// The whole machine of a node stands still for a while, its clocks as well.
    Stun {
        /// The node.
        node: u16,
        /// How long.
        length: Span,
    },
    /// Whether hosts outside of the cluster answer a node.
    Outside {
        /// The node.
        node: u16,
        /// On which network.
        network: u8,
        /// Whether they do.
        answer: bool,
    },
    /// The process of a node is killed; what it has in the kernel stays.
    Kill(u16),
    /// The machine of a node dies.
    Crash(u16),
    /// A node starts that does not run.
    Start(u16),
    /// A node leaves in order.
    Leave(u16),
    /// An old heartbeat arrives once more.
    Replay {
        /// From whom to whom it was.
        way: Way,
        /// On which network.
        network: u8,
    },
    /// The operator says that a node is off.
    Fenced {
        /// The node.
        node: u16,
        /// To whom.
        on: u16,
    },
    /// The operator lets a quarantined node in again.
    ClearQuarantine {
        /// The node.
        node: u16,
        /// On whom.
        on: u16,
    },
    /// The operator has a node form a view without a majority.
    Force(u16),
}

/// Something that must be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// What.
    pub what: Expected,
    /// Until when; at once if absent.
    pub within: Option<Span>,
}

/// What must be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An event was logged since the mark, by each of some nodes, about each of some nodes.
    Logged {
        /// Which event.
        pattern: Pattern,
        /// Exactly so often by each node about each node; at least once if absent.
        times: Option<usize>,
        /// So long after the last heartbeat of the node that it is about.
        after_heartbeat: Option<(Span, Span)>,
    },
    /// No such event was logged since the mark, although heartbeats went on.
    Never(Pattern),
    /// The first of one event came before the first of another.
    Ordered {
        /// The earlier one.
        first: Pattern,
        /// Number of the later one, with the same nodes and network.
        second: u16,
    },
    /// No other events were logged since the mark, although heartbeats went on.
    NothingBut {
        /// Those that may be.
        ids: Vec<u16>,
        /// By whom.
        on: Vec<u16>,
    },
    /// Each of these nodes is in a view of exactly these members.
    Members {
        /// The members.
        members: Vec<u16>,
        /// The nodes.
        on: Vec<u16>,
    },
    /// None of these nodes is in a view.
    Out(Vec<u16>),
    /// Exactly these nodes may act; each in a view, with a valid lease.
    Quorate(Vec<u16>),
    /// A network is in a state, as these nodes show it.
    Network {
        /// Its name.
        network: String,
        /// Its state.
        state: String,
        /// The nodes.
        on: Vec<u16>,
    },
    /// An interface is in a state, as these nodes show it.
    Interface {
        /// Whose it is.
        node: u16,
        /// The network that it is on.
        network: String,
        /// Its state.
        state: String,
        /// The nodes.
        on: Vec<u16>,
    },
    /// These nodes keep a node out.
    Quarantined {
        /// Who is kept out.
        node: u16,
        /// By whom.
        on: Vec<u16>,
    },
    /// Since the mark these nodes have taken a new incarnation, or have not.
    Incarnation {
        /// Whether they have.
        new: bool,
        /// The nodes.
        of: Vec<u16>,
    },
    /// Since the mark a node has refused heartbeats, and has counted none from another one.
    Refused {
        /// Who refused.
        on: u16,
        /// Whose heartbeats.
        from: u16,
    },
}

/// Some events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Numbers: one of them.
    pub ids: Vec<u16>,
    /// Who logs.
    pub on: Vec<u16>,
    /// Whom they are about; anybody or nobody if empty.
    pub about: Vec<u16>,
    /// The network that they are about; any or none if absent.
    pub network: Option<String>,
}
