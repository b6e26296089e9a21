//! What goes wrong and when: drawn from a seed, before anything runs.

use std::fmt;

use heartbeat_sim::random::Random;
use heartbeat_tests::naming::{network_name, node_name};

/// Faults begin within this time of a round; then everything is mended.
pub const ROUND_MS: u64 = 15_000;
/// The shortest and longest time between the beginnings of two faults of a round.
const PAUSE_MS: (u64, u64) = (100, 2_500);
/// Shorter than the lease's margin as well as longer than every timeout at the intervals that soaks run with.
const LENGTH_MS: (u64, u64) = (20, 4_000);
/// Networks of a soak's cluster.
pub const NETWORKS: u8 = 2;

/// A fault, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From the beginning of the round.
    pub from_ms: u64,
    /// When it is undone.
    pub to_ms: u64,
    /// What is wrong meanwhile.
    pub what: What,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing passes on these ways.
    Cut {
        /// The network, or all of them.
        network: Option<u8>,
        /// From whom to whom.
        ways: Vec<(u16, u16)>,
    },
    /// So many of a hundred frames that a node sends are lost.
    Loss {
        /// Whose.
        node: u16,
        /// Where.
        network: u8,
        /// How many.
        percent: u8,
    },
    /// A process stands still.
    Stopped(u16),
    /// A node does not run.
    Down {
        /// The node.
        node: u16,
        /// How it ended.
        end: End,
        /// It starts without what it had on disk.
        forgets: bool,
    },
    /// A node's file is changed, and read again; then changed back, and read again.
    Reloaded {
        /// The node.
        node: u16,
        /// Whether the file makes sense.
        good: bool,
    },
    /// Spoofed and replayed datagrams arrive at a node.
    Flood {
        /// The node.
        node: u16,
        /// By which network.
        network: u8,
    },
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its process is killed; what it has in the kernel stays.
    Killed,
    /// Its machine dies: nothing stays but its disk.
    Crashed,
    /// It leaves in order.
    Left,
}

impl What {
    /// Whose process or file it is about: of these a node has one at a time.
    fn process(&self) -> Option<u16> {
        match self {
            Self::Stopped(node) | Self::Down { node, .. } | Self::Reloaded { node, .. } => Some(*node),
            Self::Cut { .. } | Self::Loss { .. } | Self::Flood { .. } => None,
        }
    }
}

/// The rounds of a soak without end.
#[derive(Debug)]
pub struct Plan {
    random: Random,
    nodes: u16,
}

impl Plan {
    /// The plan of a seed for that many nodes.
    #[must_use]
    pub fn new(seed: u64, nodes: u16) -> Self {
        Self { random: Random::new(seed), nodes }
    }

    fn node(&mut self) -> u16 {
        u16::try_from(self.random.between(1, self.nodes.into())).unwrap_or(1)
    }

    fn network(&mut self) -> u8 {
        u8::try_from(self.random.between(1, NETWORKS.into())).unwrap_or(1)
    }

    fn draw(&mut self) -> What {
        match self.random.below(16) {
            0..=2 => What::Cut { network: self.cut_network(), ways: self.ways() },
            3 => What::Cut { network: self.cut_network(), ways: self.sides() },
            4 => What::Cut { network: self.cut_network(), ways: self.one_way() },
            5 | 6 => What::Loss {
                node: self.node(),
                network: self.network(),
                percent: u8::try_from(self.random.between(2, 60)).unwrap_or(2),
            },
            7 | 8 => What::Stopped(self.node()),
            9..=12 => What::Down {
                node: self.node(),
                end: match self.random.below(5) {
                    0 | 1 => End::Killed,
                    2 | 3 => End::Crashed,
                    _ => End::Left,
                },
                forgets: self.random.below(3) == 0,
            },
            13 => What::Reloaded { node: self.node(), good: self.random.below(2) == 0 },
            _ => What::Flood { node: self.node(), network: self.network() },
        }
    }

    fn cut_network(&mut self) -> Option<u8> {
        (self.random.below(2) == 0).then(|| self.network())
    }

    /// One node is cut off.
    fn ways(&mut self) -> Vec<(u16, u16)> {
        let node = self.node();
        self.between(&[node])
    }

    /// Two sides.
    fn sides(&mut self) -> Vec<(u16, u16)> {
        let side: Vec<u16> = (1..=self.nodes).filter(|_| self.random.below(2) == 0).collect();
        self.between(&side)
    }

    /// One direction between two nodes, or all that one sends.
    fn one_way(&mut self) -> Vec<(u16, u16)> {
        let from = self.node();
        let others = (1..=self.nodes).filter(|node| *node != from).collect::<Vec<_>>();
        if self.random.below(2) == 0 {
            let to = others[self.random.index(others.len())];
            vec![(from, to)]
        } else {
            others.into_iter().map(|to| (from, to)).collect()
        }
    }

    fn between(&self, side: &[u16]) -> Vec<(u16, u16)> {
        let others: Vec<u16> = (1..=self.nodes).filter(|node| !side.contains(node)).collect();
        side.iter().flat_map(|one| others.iter().flat_map(|other| [(*one, *other), (*other, *one)])).collect()
    }
}

impl Iterator for Plan {
    type Item = Vec<Fault>;

    /// The faults of the next round, in the order in which they begin.
    fn next(&mut self) -> Option<Vec<Fault>> {
        let mut faults: Vec<Fault> = Vec::new();
        let mut from_ms = 0;
        loop {
            from_ms += self.random.between(PAUSE_MS.0, PAUSE_MS.1);
            if from_ms >= ROUND_MS {
                return Some(faults);
            }
            // Short ones are as likely as long ones.
            let scale = self.random.between(1, 4);
            let length_ms = self.random.between(LENGTH_MS.0, LENGTH_MS.1 * scale / 4);
            let to_ms = (from_ms + length_ms).min(ROUND_MS);
            let what = self.draw();
            let process = what.process();
            let is_taken =
                |other: &Fault| process.is_some() && other.what.process() == process && other.to_ms >= from_ms;
            if !faults.iter().any(is_taken) {
                faults.push(Fault { from_ms, to_ms, what });
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>6} to {:>6} ms: {}", self.from_ms, self.to_ms, self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { network, ways } => {
                let ways: Vec<String> = ways.iter().map(|(from, to)| format!("{from}>{to}")).collect();
                let network = network.map_or_else(|| "all networks".to_owned(), network_name);
                write!(formatter, "cut {} on {network}", ways.join(","))
            }
            Self::Loss { node, network, percent } => {
                write!(
                    formatter,
                    "{percent} % of what {} sends on {} is lost",
                    node_name(*node),
                    network_name(*network)
                )
            }
            Self::Stopped(node) => write!(formatter, "{} is stopped", node_name(*node)),
            Self::Down { node, end, forgets } => {
                let end = match end {
                    End::Killed => "is killed",
                    End::Crashed => "crashes",
                    End::Left => "leaves",
                };
                let state = if *forgets { " and comes back without its state" } else { "" };
                write!(formatter, "{} {end}{state}", node_name(*node))
            }
            Self::Reloaded { node, good } => {
                let kind = if *good { "good" } else { "bad" };
                write!(formatter, "{} reads a {kind} file", node_name(*node))
            }
            Self::Flood { node, network } => {
                write!(formatter, "{} is flooded on {}", node_name(*node), network_name(*network))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rounds(seed: u64) -> Vec<Vec<Fault>> {
        Plan::new(seed, 5).take(200).collect()
    }

    #[test]
    fn a_seed_is_a_plan() {
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
    }

    #[test]
    fn faults_are_in_their_round_in_order_and_a_process_has_one_at_a_time() {
        for faults in rounds(3) {
            assert!(faults.iter().all(|fault| fault.from_ms < fault.to_ms && fault.to_ms <= ROUND_MS), "{faults:?}");
            assert!(faults.windows(2).all(|pair| pair[0].from_ms <= pair[1].from_ms), "{faults:?}");
            for (place, fault) in faults.iter().enumerate() {
                let Some(process) = fault.what.process() else { continue };
                let beside = |other: &&Fault| other.what.process() == Some(process) && other.to_ms >= fault.from_ms;
                assert!(!faults[..place].iter().any(|other| beside(&other)), "{fault} in {faults:?}");
            }
        }
    }

    #[test]
    fn every_kind_comes_and_every_node_and_network_has_its_turn() {
        let faults: Vec<Fault> = rounds(1).into_iter().flatten().collect();
        let kinds: BTreeSet<String> = faults
            .iter()
            .map(|fault| match &fault.what {
                What::Cut { network, ways } => format!("cut {network:?} {}", ways.len() == 1),
                What::Loss { network, .. } => format!("loss {network}"),
                What::Stopped(node) => format!("stopped {node}"),
                What::Down { end, forgets, .. } => format!("{end:?} {forgets}"),
                What::Reloaded { good, .. } => format!("reload {good}"),
                What::Flood { node, network } => format!("flood {node} {network}"),
            })
            .collect();
        // Three places to cut and two ways, two networks that lose, five nodes, three ends with and without memory, two
        // files, and floods of five nodes on two networks.
        assert_eq!(kinds.len(), 6 + 2 + 5 + 6 + 2 + 10, "{kinds:?}");
    }
}
