//! Lines that say what is there before anything happens.

use heartbeat_tests::naming::network_name;

use super::words::{Words, span};
use crate::language::{Arbiter, Only, Setup, Span};

/// First words of these lines.
pub(super) const LINES: [&str; 8] = ["nodes", "networks", "interval", "late", "lost", "tie-breaker", "witness", "only"];

/// More would need addresses that the topology does not have.
const MOST_NODES: u32 = 32;
const MOST_NETWORKS: u8 = 4;

/// Default of the program.
const INTERVAL_NS: u64 = 1_200_000_000;

/// What has been said so far.
#[derive(Default)]
pub(super) struct SetupLines {
    nodes: Option<u32>,
    networks: Option<Vec<String>>,
    interval: Option<(u64, u64)>,
    late_after: Option<u32>,
    lost_after: Option<u32>,
    arbiter: Option<Arbiter>,
    only: Option<Only>,
}

impl SetupLines {
    /// Takes the line if it is one of the setup.
    pub(super) fn take(&mut self, words: &mut Words<'_>) -> Result<bool, String> {
        let Some(first) = LINES.into_iter().find(|line| *line == words.first()) else { return Ok(false) };
        words.keyword(first)?;
        match first {
            "nodes" => once(&mut self.nodes, first, words.number("how many nodes", 1, MOST_NODES)?)?,
            "networks" => once(&mut self.networks, first, networks(words.take("names of networks")?)?)?,
            "interval" => once(&mut self.interval, first, interval(words)?)?,
            "late" => {
                words.keyword("after")?;
                once(&mut self.late_after, first, words.number("intervals", 1, 254)?)?;
            }
            "lost" => {
                words.keyword("after")?;
                once(&mut self.lost_after, first, words.number("intervals", 2, 255)?)?;
            }
            "tie-breaker" => {
                let node = words.number("a node", 1, MOST_NODES)?;
                once(&mut self.arbiter, "tie-breaker or witness", Arbiter::TieBreaker(u16::try_from(node).ok()))?;
            }
            "witness" => {
                words.keyword("file")?;
                once(&mut self.arbiter, "tie-breaker or witness", Arbiter::FileWitness)?;
            }
            _ => {
                once(&mut self.only, first, only(words)?)?;
                return Ok(true);
            }
        }
        words.end()?;
        Ok(true)
    }

    /// The setup, once something happens.
    pub(super) fn finish(&self) -> Result<Setup, String> {
        let missing = |what: &str| format!("before anything happens, the script needs a line `{what} ...`");
        let nodes = self.nodes.and_then(|nodes| u16::try_from(nodes).ok()).ok_or_else(|| missing("nodes"))?;
        let networks = self.networks.clone().ok_or_else(|| missing("networks"))?;
        let (interval_ns, real_interval_ns) = self.interval.unwrap_or((INTERVAL_NS, INTERVAL_NS));
        let (late_after, lost_after) = (self.late_after.unwrap_or(2), self.lost_after.unwrap_or(6));
        if late_after >= lost_after {
            return Err(format!("`late after {late_after}` is not less than `lost after {lost_after}`"));
        }
        let arbiter = self.arbiter.unwrap_or(Arbiter::TieBreaker(None));
        match arbiter {
            Arbiter::TieBreaker(Some(node)) if node > nodes => {
                return Err(format!("`tie-breaker {node}` is not a node; allowed: 1 to {nodes}"));
            }
            Arbiter::TieBreaker(_) | Arbiter::FileWitness => {}
        }
        let only = self.only.clone();
        Ok(Setup { nodes, networks, interval_ns, real_interval_ns, late_after, lost_after, arbiter, only })
    }
}

fn once<T>(place: &mut Option<T>, line: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("a second line about {line}")),
    }
}

fn networks(word: &str) -> Result<Vec<String>, String> {
    let known: Vec<String> = (1..=MOST_NETWORKS).map(network_name).collect();
    let names: Vec<String> = word.split(',').map(str::to_owned).collect();
    if known.starts_with(&names) {
        return Ok(names);
    }
    Err(format!("`{word}` are not networks; allowed: the first of {}, in this order", known.join(",")))
}

/// `interval 1.2s`, or `interval 1.2s real 100ms`.
fn interval(words: &mut Words<'_>) -> Result<(u64, u64), String> {
    let simulated = absolute(words.take("a length of time")?)?;
    let real = if words.take_if("real") { absolute(words.take("a length of time")?)? } else { simulated };
    Ok((simulated, real))
}

fn absolute(word: &str) -> Result<u64, String> {
    match span(word)? {
        Span::Nanoseconds(ns) if (1_000_000..=60_000_000_000).contains(&ns) => Ok(ns),
        Span::Nanoseconds(_) | Span::Intervals(_) => Err(format!("`{word}` is no interval; allowed: 1ms to 60s")),
    }
}

/// `only simulator: REASON`, or `only real: REASON`.
fn only(words: &mut Words<'_>) -> Result<Only, String> {
    let place = words.one_of(&["simulator:", "real:"])?;
    let reason = words.behind_colon().to_owned();
    if reason.is_empty() {
        return Err("why only there has to stand behind the colon".to_owned());
    }
    Ok(if place == "simulator:" { Only::Simulator(reason) } else { Only::Real(reason) })
}
