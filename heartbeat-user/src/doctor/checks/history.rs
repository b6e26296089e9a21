//! What the last hour says: links that were lost, and whether that looks like a node or like a network.

use std::collections::{BTreeMap, BTreeSet};

use super::START_THE_NODE;
use crate::doctor::{Facts, Findings};

/// 1123: a link was lost.
const LINK_LOST: u16 = 1123;
/// Losses of one peer within this belong together: a default of 2 intervals of 1.2 s, and both networks' deadlines.
const TOGETHER_NS: u64 = 3_000_000_000;

/// As Microsoft's article on events 1122 and 1123 tells them apart: where all networks lose a node at once, the node (or
/// congestion) is the cause; where one does, its adapter, cable or switch.
pub(super) fn losses(facts: &Facts, found: &mut Findings) {
    let Some(node) = found.known(&facts.node, START_THE_NODE) else { return };
    let networks: BTreeMap<u16, BTreeSet<&str>> = node.status.links.iter().fold(BTreeMap::new(), |mut all, link| {
        all.entry(link.peer).or_insert_with(BTreeSet::new).insert(&link.network);
        all
    });
    let mut everywhere: BTreeMap<u16, u32> = BTreeMap::new();
    let mut on_one: BTreeMap<&str, u32> = BTreeMap::new();
    for (peer, names) in &networks {
        let lost: Vec<(u64, &str)> = node
            .events
            .iter()
            .filter(|event| event.id == LINK_LOST && event.peer == Some(*peer))
            .filter_map(|event| Some((event.mono_ns, event.network.as_deref()?)))
            .collect();
        for hit in episodes(&lost) {
            if names.len() > 1 && hit.len() == names.len() {
                *everywhere.entry(*peer).or_default() += 1;
            } else {
                hit.iter().for_each(|network| *on_one.entry(network).or_default() += 1);
            }
        }
    }
    for (peer, times) in everywhere {
        found.wrong(
            format!("node {peer} was lost on all its networks at once, {times} times in the last hour"),
            "look at that node (stopped, overloaded, stunned: its 9001 and 9002) or for congestion; no adapter or switch \
             fails on all networks at once",
        );
    }
    for (network, times) in on_one {
        found.wrong(
            format!("heartbeats were lost on network {network} alone, {times} times in the last hour"),
            format!("look at adapters, cables and switch ports of {network}: the nodes themselves answered elsewhere"),
        );
    }
}

/// Losses of one peer, oldest first, as episodes: the networks that each hit.
fn episodes<'events>(lost: &[(u64, &'events str)]) -> Vec<BTreeSet<&'events str>> {
    let mut episodes: Vec<(u64, BTreeSet<&str>)> = Vec::new();
    for (at_ns, network) in lost {
        match episodes.last_mut() {
            Some((began_ns, hit)) if at_ns.saturating_sub(*began_ns) <= TOGETHER_NS && !hit.contains(network) => {
                hit.insert(network);
            }
            Some(_) | None => episodes.push((*at_ns, BTreeSet::from([*network]))),
        }
    }
    episodes.into_iter().map(|(_, hit)| hit).collect()
}
