//! Who hears whom, and how evenly.

use ratatui::text::{Line, Span};

use super::{
    hearing::hearing,
    screen::{heading, painted},
    state::State,
};
use crate::{
    fit::shortened,
    history::{History, PastArrival},
    status::{Colour, Link, LinkState, Node, NodeState, Status, heard, milliseconds, short_count},
};

/// Bars of a sparkline; half an interval each.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A silence that lasts is a bar from here on: more than a regular gap with its rounding.
const LASTING: usize = 3;
/// Columns of a name.
const NAME: usize = 10;
/// Columns of a node's name and state.
const BEFORE_NETWORKS: usize = NAME + 12;
/// Columns of a network where there is room: the longest state of an interface, and some of its name.
const WIDEST_NETWORK: usize = 16;
/// Columns of the longest word for who hears whom; with less, the short words stand.
const LONGEST_WORD: usize = "only from here".len();
/// Columns of a line of a link before its sparkline.
const BEFORE_SPARKLINE: usize = 59;

/// Nodes down, networks across, all of these; at most `room` lines. Where not all nodes fit, this one and those with
/// something that is not up come first.
pub(super) fn matrix_lines(state: &State, status: &Status, width: usize, room: usize) -> Vec<Line<'static>> {
    let column = width.saturating_sub(BEFORE_NETWORKS) / status.networks.len().max(1);
    let column = column.saturating_sub(1).clamp(1, WIDEST_NETWORK);
    let mut text = format!("{:NAME$} {:11}", "NODE", "STATE");
    for network in &status.networks {
        text.push_str(&format!(" {:column$}", shortened(&network.name, column)));
    }
    let mut lines = vec![heading(text)];
    let mut nodes: Vec<&Node> = status.nodes.iter().collect();
    if nodes.len() + 1 > room {
        nodes.sort_by_key(|node| (node.id != status.node.id, is_well(status, node)));
    }
    let (shown, left_out) = fitting(nodes.into_iter(), room.saturating_sub(1));
    for node in shown {
        let mut spans = vec![Span::raw(format!("{:NAME$} ", shortened(&node.name, NAME)))];
        spans.push(painted(format!("{:11}", node.state.as_str()), node.state.colour()));
        for network in &status.networks {
            let link = status.links.iter().find(|link| link.peer == node.id && link.network == network.name);
            let interface = status.interfaces.iter().find(|one| one.node == node.id && one.network == network.name);
            let (text, colour) = match (link, interface) {
                (Some(link), _) => {
                    let hearing = hearing(link, state.history(link.peer, &link.network));
                    (hearing.word(column >= LONGEST_WORD), hearing.colour())
                }
                (None, Some(interface)) => (interface.state.as_str(), interface.state.colour()),
                (None, None) => ("-", Colour::Faint),
            };
            spans.push(painted(format!(" {:column$}", shortened(text, column)), colour));
        }
        lines.push(Line::from(spans));
    }
    lines.extend(left_out.map(|count| Line::from(painted(format!("and {count} more nodes"), Colour::Faint))));
    lines
}

fn is_well(status: &Status, node: &Node) -> bool {
    let is_up = |link: &Link| link.peer != node.id || link.state == LinkState::Up;
    node.state == NodeState::Up && status.links.iter().all(is_up)
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
            Span::raw(format!("{:NAME$} ", shortened(status.node_name(link.peer), NAME))),
            Span::raw(format!("{:NAME$} ", shortened(&link.network, NAME))),
            painted(format!("{:6}", link.state.as_str()), link.state.colour()),
            Span::raw(format!(" {:>7}", short_count(link.received))),
            painted(format!(" {:>5}", short_count(link.lost)), lost),
            Span::raw(format!(" {:>7}", link.last_heard_ms.map_or_else(|| "-".to_owned(), heard))),
            Span::raw(format!(" {rtt:>7} ")),
        ];
        if let Some(history) = state.history(link.peer, &link.network) {
            spans.extend(sparkline(history, link.state, width.saturating_sub(BEFORE_SPARKLINE)));
        }
        lines.push(Line::from(spans));
    }
    lines.extend(left_out.map(|count| Line::from(painted(format!("and {count} more links"), Colour::Faint))));
    lines
}

/// A bar for each of the newest gaps, and one for a silence that lasts: a regular one is two high, four intervals and more
/// are eight.
fn sparkline(history: &History, link: LinkState, width: usize) -> Vec<Span<'static>> {
    let half_ns = (history.interval_ns / 2).max(1);
    // Rounded, so that a regular gap does not flicker between two bars.
    let level = |gap_ns: u64| {
        let halves = gap_ns.saturating_add(half_ns / 2) / half_ns;
        usize::try_from(halves).unwrap_or(usize::MAX).clamp(1, BARS.len())
    };
    let passed = |arrival: &PastArrival| {
        Some((level(arrival.gap_ns?), if arrival.cause.is_some() { Colour::Bad } else { Colour::Good }))
    };
    let mut bars: Vec<(usize, Colour)> = history.arrivals.iter().filter_map(passed).collect();
    let lasts = history.arrivals.last().map(|newest| level(history.now_ns.saturating_sub(newest.stamp_ns)));
    bars.extend(lasts.filter(|level| *level >= LASTING).map(|level| {
        let colour = match link {
            LinkState::Up => Colour::Notable,
            LinkState::Late | LinkState::Silent => Colour::Bad,
            LinkState::Init => Colour::Faint,
        };
        (level, colour)
    }));
    let older = bars.len().saturating_sub(width);
    bars.iter().skip(older).map(|(level, colour)| painted(BARS[level - 1].to_string(), *colour)).collect()
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
