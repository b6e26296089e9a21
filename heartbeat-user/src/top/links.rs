//! Who hears whom, and how evenly.

use ratatui::text::{Line, Span};

use super::{
    screen::{heading, painted},
    state::State,
};
use crate::{
    history::{History, PastArrival},
    status::{Colour, Link, LinkState, Status, heard, milliseconds, short_count},
};

/// Bars of a sparkline; half an interval each.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// What a peer said about us is news for this many intervals: with multicast every second heartbeat echoes.
const ECHO_INTERVALS: f64 = 4.0;
/// Columns of a name.
const NAME: usize = 10;
/// Columns of a line of a link before its sparkline.
const BEFORE_SPARKLINE: usize = 59;

/// Nodes down, networks across; at most `room` lines.
pub(super) fn matrix_lines(state: &State, status: &Status, room: usize) -> Vec<Line<'static>> {
    let mut text = format!("{:NAME$} {:11}", "NODE", "STATE");
    for network in &status.networks {
        text.push_str(&format!(" {:16}", cut(&network.name, 16)));
    }
    let mut lines = vec![heading(text)];
    let (shown, left_out) = fitting(status.nodes.iter(), room.saturating_sub(1));
    for node in shown {
        let mut spans = vec![Span::raw(format!("{:NAME$} ", cut(&node.name, NAME)))];
        spans.push(painted(format!("{:11}", node.state.as_str()), node.state.colour()));
        for network in &status.networks {
            let link = status.links.iter().find(|link| link.peer == node.id && link.network == network.name);
            let interface = status.interfaces.iter().find(|one| one.node == node.id && one.network == network.name);
            let (text, colour) = match (link, interface) {
                (Some(link), _) => hearing(state, link),
                (None, Some(interface)) => (interface.state.as_str(), interface.state.colour()),
                (None, None) => ("-", Colour::Faint),
            };
            spans.push(painted(format!(" {text:16}"), colour));
        }
        lines.push(Line::from(spans));
    }
    lines.extend(left_out.map(|count| Line::from(painted(format!("and {count} more nodes"), Colour::Faint))));
    lines
}

/// Whether this node hears the peer, and the peer this node.
fn hearing(state: &State, link: &Link) -> (&'static str, Colour) {
    let interval_ms = state
        .history(link.peer, &link.network)
        .map_or(0.0, |history| std::time::Duration::from_nanos(history.interval_ns).as_secs_f64() * 1_000.0);
    let hears_us = link.echoed_ms.is_some_and(|age_ms| age_ms <= ECHO_INTERVALS * interval_ms);
    match (link.state, hears_us) {
        (LinkState::Up, true) => ("both ways", Colour::Good),
        (LinkState::Up, false) => ("only to here", Colour::Notable),
        (LinkState::Init | LinkState::Late | LinkState::Silent, true) => ("only from here", Colour::Notable),
        (LinkState::Init, false) => ("not yet", Colour::Notable),
        (LinkState::Late | LinkState::Silent, false) => ("not at all", Colour::Bad),
    }
}

/// A line for each link with the gaps between its last arrivals; those that are not up first, if not all fit.
pub(super) fn link_lines(state: &State, status: &Status, width: usize, room: usize) -> Vec<Line<'static>> {
    let mut links: Vec<&Link> = status.links.iter().collect();
    if links.len() + 1 > room {
        links.sort_by_key(|link| link.state == LinkState::Up);
    }
    let mut lines = vec![heading(format!(
        "{:NAME$} {:NAME$} {:6} {:>7} {:>5} {:>7} {:>7} INTERVALS",
        "PEER", "NETWORK", "LINK", "RECV", "LOST", "HEARD", "RTT"
    ))];
    let (shown, left_out) = fitting(links.into_iter(), room.saturating_sub(1));
    for link in shown {
        let lost = if link.lost > 0 { Colour::Notable } else { Colour::Plain };
        let rtt = link.rtt_us.map_or_else(|| "-".to_owned(), |rtt_us| milliseconds(rtt_us.saturating_mul(1_000)));
        let mut spans = vec![
            Span::raw(format!("{:NAME$} ", cut(status.node_name(link.peer), NAME))),
            Span::raw(format!("{:NAME$} ", cut(&link.network, NAME))),
            painted(format!("{:6}", link.state.as_str()), link.state.colour()),
            Span::raw(format!(" {:>7}", short_count(link.received))),
            painted(format!(" {:>5}", short_count(link.lost)), lost),
            Span::raw(format!(" {:>7}", link.last_heard_ms.map_or_else(|| "-".to_owned(), heard))),
            Span::raw(format!(" {rtt:>7} ")),
        ];
        if let Some(history) = state.history(link.peer, &link.network) {
            spans.extend(sparkline(history, width.saturating_sub(BEFORE_SPARKLINE)));
        }
        lines.push(Line::from(spans));
    }
    lines.extend(left_out.map(|count| Line::from(painted(format!("and {count} more links"), Colour::Faint))));
    lines
}

/// A bar for each of the newest gaps: a regular one is two high, four intervals and more are eight.
fn sparkline(history: &History, width: usize) -> Vec<Span<'static>> {
    let gaps: Vec<(&PastArrival, u64)> =
        history.arrivals.iter().filter_map(|arrival| Some((arrival, arrival.gap_ns?))).collect();
    let newest = gaps.len().saturating_sub(width);
    let half_ns = (history.interval_ns / 2).max(1);
    let bar = |(arrival, gap_ns): &(&PastArrival, u64)| {
        // Rounded, so that a regular gap does not flicker between two bars.
        let halves = gap_ns.saturating_add(half_ns / 2) / half_ns;
        let level = usize::try_from(halves).unwrap_or(usize::MAX).clamp(1, BARS.len());
        let colour = if arrival.cause.is_some() { Colour::Bad } else { Colour::Good };
        painted(BARS[level - 1].to_string(), colour)
    };
    gaps.iter().skip(newest).map(bar).collect()
}

/// As many as fit into `room` lines; if not all do, the last line is for how many are left out.
fn fitting<T>(all: impl ExactSizeIterator<Item = T>, room: usize) -> (Vec<T>, Option<usize>) {
    let count = all.len();
    if count <= room {
        return (all.collect(), None);
    }
    let shown = room.saturating_sub(1);
    (all.take(shown).collect(), Some(count - shown))
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['~']).collect()
}
