//! Lines that say what must be so.

use heartbeat_membership::EventId;

use super::words::{Words, span};
use crate::language::{Expectation, Expected, Pattern, Setup, Span};

/// Words that can follow `expect`, beside a number.
const WORDS: [&str; 14] = [
    "once",
    "twice",
    "no",
    "nothing",
    "members",
    "out",
    "quorate",
    "nobody",
    "network",
    "interface",
    "quarantined",
    "same",
    "new",
    "refused",
];

/// The rest of a line that begins with `expect`.
pub(super) fn expectation(words: &mut Words<'_>, setup: &Setup) -> Result<Expectation, String> {
    let begins_with_number = words.peek().is_some_and(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    if begins_with_number {
        return logged(words, setup, None);
    }
    let first = words.one_of(&WORDS).map_err(|problem| format!("{problem}, or the number of an event"))?;
    let everybody: Vec<u16> = (1..=setup.nodes).collect();
    let what = match first {
        "once" => return logged(words, setup, Some(1)),
        "twice" => return logged(words, setup, Some(2)),
        "no" => {
            let ids = ids(words)?;
            let mut qualifiers = Qualifiers::take(words, setup, &["on", "about", "via"])?;
            let on = qualifiers.on.take().unwrap_or(everybody);
            Expected::Never(qualifiers.pattern(ids, on))
        }
        "nothing" => {
            let ids = if words.take_if("but") { ids(words)? } else { Vec::new() };
            Expected::NothingBut { ids, on: Qualifiers::take(words, setup, &["on"])?.on.unwrap_or(everybody) }
        }
        "members" => {
            let members = words.nodes(setup)?;
            return Qualifiers::state(words, setup, |on| Expected::Members { members, on });
        }
        "out" => Expected::Out(words.nodes(setup)?),
        "quorate" => Expected::Quorate(words.nodes(setup)?),
        "nobody" => {
            words.keyword("quorate")?;
            Expected::Quorate(Vec::new())
        }
        "network" => {
            let network = network(words, setup)?;
            let state = words.one_of(&["up", "partitioned", "down", "unavailable"])?.to_owned();
            return Qualifiers::state(words, setup, |on| Expected::Network { network, state, on });
        }
        "interface" => {
            let network = network(words, setup)?;
            words.keyword("of")?;
            let node = words.node(setup)?;
            let state = words.one_of(&["up", "unreachable", "failed", "unavailable"])?.to_owned();
            return Qualifiers::state(words, setup, |on| Expected::Interface { node, network, state, on });
        }
        "quarantined" => {
            let node = words.node(setup)?;
            return Qualifiers::state(words, setup, |on| Expected::Quarantined { node, on });
        }
        "refused" => {
            words.keyword("heartbeats")?;
            words.keyword("of")?;
            let from = words.node(setup)?;
            words.keyword("on")?;
            Expected::Refused { from, on: words.node(setup)? }
        }
        _ => {
            words.keyword("incarnation")?;
            words.keyword("of")?;
            Expected::Incarnation { new: first == "new", of: words.nodes(setup)? }
        }
    };
    let within = Qualifiers::take(words, setup, &["within"])?.within;
    Ok(Expectation { what, within })
}

/// `[once|twice] 1135 on 1,2 ...`, where `1006,1177` means one of them; or `1123 then 1122 on 1 ...`.
fn logged(words: &mut Words<'_>, setup: &Setup, times: Option<usize>) -> Result<Expectation, String> {
    let first = ids(words)?;
    if times.is_none() && first.len() == 1 && words.take_if("then") {
        let second = id(words.take("the number of an event")?)?;
        let mut qualifiers = Qualifiers::take(words, setup, &["on", "about", "via", "within"])?;
        let (on, within) = (qualifiers.take_on()?, qualifiers.within);
        let first = qualifiers.pattern(first, on);
        return Ok(Expectation { what: Expected::Ordered { first, second }, within });
    }
    let mut qualifiers = Qualifiers::take(words, setup, &["on", "about", "via", "at", "within"])?;
    let (on, within, after_heartbeat) = (qualifiers.take_on()?, qualifiers.within, qualifiers.at);
    let pattern = qualifiers.pattern(first, on);
    Ok(Expectation { what: Expected::Logged { pattern, times, after_heartbeat }, within })
}

fn ids(words: &mut Words<'_>) -> Result<Vec<u16>, String> {
    words.take("numbers of events, such as 1122,1123")?.split(',').map(id).collect()
}

fn id(word: &str) -> Result<u16, String> {
    let number = word.parse::<u16>().ok().filter(|number| EventId::try_from(*number).is_ok());
    number.ok_or_else(|| {
        let mut known: Vec<u16> = EventId::ALL.into_iter().map(EventId::number).collect();
        known.sort_unstable();
        let known: Vec<String> = known.iter().map(u16::to_string).collect();
        format!("`{word}` is no event of membership; allowed: {}", known.join(", "))
    })
}

fn network(words: &mut Words<'_>, setup: &Setup) -> Result<String, String> {
    let number = words.network(setup)?;
    Ok(setup.networks[usize::from(number) - 1].clone())
}

/// What may follow, in any order.
#[derive(Default)]
struct Qualifiers {
    on: Option<Vec<u16>>,
    about: Vec<u16>,
    network: Option<String>,
    at: Option<(Span, Span)>,
    within: Option<Span>,
}

impl Qualifiers {
    fn take(words: &mut Words<'_>, setup: &Setup, allowed: &[&'static str]) -> Result<Self, String> {
        let mut taken = Self::default();
        let mut left = allowed.to_vec();
        while words.peek().is_some() && !left.is_empty() {
            let word = words.one_of(&left)?;
            left.retain(|other| *other != word);
            match word {
                "on" => taken.on = Some(words.nodes(setup)?),
                "about" => taken.about = words.nodes(setup)?,
                "via" => taken.network = Some(network(words, setup)?),
                "at" => taken.at = Some(after_heartbeat(words)?),
                _ => taken.within = Some(words.span()?),
            }
        }
        Ok(taken)
    }

    /// `on NODES [within D]`, of a state.
    fn state(
        words: &mut Words<'_>,
        setup: &Setup,
        expected: impl FnOnce(Vec<u16>) -> Expected,
    ) -> Result<Expectation, String> {
        let mut taken = Self::take(words, setup, &["on", "within"])?;
        Ok(Expectation { what: expected(taken.take_on()?), within: taken.within })
    }

    fn take_on(&mut self) -> Result<Vec<u16>, String> {
        self.on.take().ok_or_else(|| "`on NODES` is missing: by whom?".to_owned())
    }

    fn pattern(self, ids: Vec<u16>, on: Vec<u16>) -> Pattern {
        Pattern { ids, on, about: self.about, network: self.network }
    }
}

/// `at 2i..3i after the last heartbeat`.
fn after_heartbeat(words: &mut Words<'_>) -> Result<(Span, Span), String> {
    let word = words.take("from when to when, such as 2i..3i")?;
    let (from, to) =
        word.split_once("..").ok_or_else(|| format!("`{word}` is not from when to when: such as 2i..3i"))?;
    for keyword in ["after", "the", "last", "heartbeat"] {
        words.keyword(keyword)?;
    }
    Ok((span(from)?, span(to)?))
}
