//! Lines that do something to the cluster.

use super::words::{Words, node, nodes};
use crate::language::{Deed, Setup, Way};

/// The rest of a line that begins with `first`.
pub(super) fn deed(first: &str, words: &mut Words<'_>, setup: &Setup) -> Result<Deed, String> {
    match first {
        "cut" => {
            let ways = ways(words.take("what to cut: 1-2, 1>2, 3 or all")?, setup)?;
            Ok(Deed::Cut { ways, networks: networks(words, setup)? })
        }
        "partition" => {
            let ways = partition(words.take("the sides, such as 1,2|3,4")?, setup)?;
            Ok(Deed::Cut { ways, networks: networks(words, setup)? })
        }
        "heal" => {
            let ways = match words.peek() {
                None | Some("on") => everything(setup),
                Some(word) => {
                    words.take("what to heal")?;
                    ways(word, setup)?
                }
            };
            Ok(Deed::Heal { ways, networks: networks(words, setup)? })
        }
        "stop" => words.node(setup).map(Deed::Stop),
        "continue" => words.node(setup).map(Deed::Continue),
        "hang" => words.node(setup).map(Deed::Hang),
        "stun" => {
            let node = words.node(setup)?;
            words.keyword("for")?;
            Ok(Deed::Stun { node, length: words.span()? })
        }
        "outside" => {
            words.keyword("of")?;
            let node = words.node(setup)?;
            words.keyword("on")?;
            let network = words.network(setup)?;
            Ok(Deed::Outside { node, network, answer: words.one_of(&["answers", "silent"])? == "answers" })
        }
        "kill" => words.node(setup).map(Deed::Kill),
        "crash" => words.node(setup).map(Deed::Crash),
        "start" => words.node(setup).map(Deed::Start),
        "leave" => words.node(setup).map(Deed::Leave),
        "replay" => {
            let word = words.take("whose heartbeat to whom, such as 2>1")?;
            let way = one_way(word, setup)?.ok_or_else(|| format!("`{word}` is no direction; allowed: such as 2>1"))?;
            words.keyword("on")?;
            Ok(Deed::Replay { way, network: words.network(setup)? })
        }
        "fenced" => {
            let node = words.node(setup)?;
            words.keyword("on")?;
            Ok(Deed::Fenced { node, on: words.node(setup)? })
        }
        "clear" => {
            words.keyword("quarantine")?;
            let node = words.node(setup)?;
            words.keyword("on")?;
            Ok(Deed::ClearQuarantine { node, on: words.node(setup)? })
        }
        "force" => {
            words.keyword("form")?;
            words.keyword("on")?;
            words.node(setup).map(Deed::Force)
        }
        other => Err(format!("`{other}` is nothing that can be done")),
    }
}

/// `on NETWORK`, or all of them.
fn networks(words: &mut Words<'_>, setup: &Setup) -> Result<Vec<u8>, String> {
    if words.take_if("on") {
        return Ok(vec![words.network(setup)?]);
    }
    Ok((1..=setup.networks.len()).filter_map(|network| u8::try_from(network).ok()).collect())
}

/// `1-2` both ways, `1>2` one way, `3` from and to all others, `all` everything.
fn ways(word: &str, setup: &Setup) -> Result<Vec<Way>, String> {
    if word == "all" {
        return Ok(everything(setup));
    }
    if let Some(way) = one_way(word, setup)? {
        return Ok(vec![way]);
    }
    let (from, to) = match word.split_once('-') {
        Some((from, to)) => (node(from, setup)?, vec![node(to, setup)?]),
        None => {
            let from = node(word, setup)?;
            (from, (1..=setup.nodes).filter(|other| *other != from).collect())
        }
    };
    if to.contains(&from) {
        return Err(format!("`{word}`: from a node to itself there is nothing to cut"));
    }
    Ok(to.into_iter().flat_map(|to| [(from, to), (to, from)]).collect())
}

fn one_way(word: &str, setup: &Setup) -> Result<Option<Way>, String> {
    let Some((from, to)) = word.split_once('>') else { return Ok(None) };
    let (from, to) = (node(from, setup)?, node(to, setup)?);
    if from == to { Err(format!("`{word}`: a node sends nothing to itself")) } else { Ok(Some((from, to))) }
}

fn everything(setup: &Setup) -> Vec<Way> {
    let all = 1..=setup.nodes;
    all.clone().flat_map(|a| all.clone().filter(move |b| a != *b).map(move |b| (a, b))).collect()
}

/// Sides with `|` in between; every node is on one of them.
fn partition(word: &str, setup: &Setup) -> Result<Vec<Way>, String> {
    let sides: Vec<Vec<u16>> = word.split('|').map(|side| nodes(side, setup)).collect::<Result<_, _>>()?;
    let mut named: Vec<u16> = sides.concat();
    named.sort_unstable();
    if named != (1..=setup.nodes).collect::<Vec<_>>() {
        return Err(format!("`{word}`: each node has to be on one side, and on one only"));
    }
    let apart = |a: u16, b: u16| !sides.iter().any(|side| side.contains(&a) && side.contains(&b));
    Ok(everything(setup).into_iter().filter(|(a, b)| apart(*a, *b)).collect())
}
