//! Whether this node hears a peer, and the peer this node.

use std::time::Duration;

use crate::{
    history::History,
    status::{Colour, Link, LinkState},
};

/// What a peer said about us is news for this many intervals: with multicast every second heartbeat echoes.
const ECHO_INTERVALS: f64 = 4.0;

/// Both directions of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    BothWays,
    OnlyToHere,
    OnlyFromHere,
    NotAtAll,
    /// Nothing was ever heard from the peer.
    NotYet,
}

/// Both directions of `link`; its history tells how long an interval is.
pub(super) fn hearing(link: &Link, history: Option<&History>) -> Hearing {
    let interval_ms = history.map_or(0.0, |history| Duration::from_nanos(history.interval_ns).as_secs_f64() * 1_000.0);
    let hears_us = link.echoed_ms.is_some_and(|age_ms| age_ms <= ECHO_INTERVALS * interval_ms);
    match (link.state, hears_us) {
        (LinkState::Up, true) => Hearing::BothWays,
        (LinkState::Up, false) => Hearing::OnlyToHere,
        (LinkState::Init | LinkState::Late | LinkState::Silent, true) => Hearing::OnlyFromHere,
        (LinkState::Init, false) if link.last_heard_ms.is_none() => Hearing::NotYet,
        (LinkState::Init | LinkState::Late | LinkState::Silent, false) => Hearing::NotAtAll,
    }
}

impl Hearing {
    /// As a column has room for it: the short words have six letters at most.
    pub(super) fn word(self, has_room: bool) -> &'static str {
        let (long, short) = match self {
            Self::BothWays => ("both ways", "both"),
            Self::OnlyToHere => ("only to here", "in"),
            Self::OnlyFromHere => ("only from here", "out"),
            Self::NotAtAll => ("not at all", "none"),
            Self::NotYet => ("not yet", "new"),
        };
        if has_room { long } else { short }
    }

    pub(super) fn colour(self) -> Colour {
        match self {
            Self::BothWays => Colour::Good,
            Self::OnlyToHere | Self::OnlyFromHere | Self::NotYet => Colour::Notable,
            Self::NotAtAll => Colour::Bad,
        }
    }
}
