//! The screen as lines: what fits into a width and a height.

use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use super::{
    links::{link_lines, matrix_lines},
    state::{Return, State},
};
use crate::{
    event::{Event, Severity, printable},
    fit::wrapped,
    status::{Colour, Status, milliseconds, short_count},
};

/// Events that stay on the screen, however many links there are.
const FEWEST_EVENTS: usize = 4;

/// Columns of an event before its text.
const BEFORE_EVENT: usize = 18;

/// The whole screen: at most `height` lines, none wider than `width`; a `~` stands where something is cut.
#[must_use]
pub fn screen(state: &State, width: u16, height: u16) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(width), usize::from(height));
    let mut lines = title_lines(state, width);
    if let Some(answer) = state.answer() {
        lines.extend(own_lines(&answer.status, width));
        let rest = height.saturating_sub(lines.len());
        let matrix = matrix_lines(state, &answer.status, width, (rest / 3).max(2));
        let room = rest.saturating_sub(matrix.len() + FEWEST_EVENTS + 1);
        lines.extend(matrix);
        lines.extend(link_lines(state, &answer.status, width, room));
        let room = height.saturating_sub(lines.len() + 1);
        lines.push(heading("EVENTS"));
        lines.extend(newest_events(&answer.events, width, room));
    }
    lines.truncate(height);
    lines.into_iter().map(|line| clipped(line, width)).collect()
}

/// The first line of a section.
pub(super) fn heading(text: impl Into<String>) -> Line<'static> {
    Line::styled(text.into(), Style::new().add_modifier(Modifier::BOLD))
}

/// A text in one of the colours of the tables.
pub(super) fn painted(text: impl Into<String>, colour: Colour) -> Span<'static> {
    let style = match colour {
        Colour::Plain => Style::new(),
        Colour::Good => Style::new().fg(Color::Green),
        Colour::Notable => Style::new().fg(Color::Yellow),
        Colour::Bad => Style::new().fg(Color::Red),
        Colour::Faint => Style::new().add_modifier(Modifier::DIM),
    };
    Span::styled(text.into(), style)
}

/// Whose screen it is; and if it is not of now, why.
fn title_lines(state: &State, width: usize) -> Vec<Line<'static>> {
    let who = state.answer().map_or_else(String::new, |answer| {
        format!("  cluster {}, node {} ({})", answer.status.cluster, answer.status.node.name, answer.status.node.id)
    });
    let hint = match (state.problem(), state.returned()) {
        (Some(_), _) => painted("  q quits", Colour::Faint),
        (None, Some(Return::Same)) => painted("  was gone, is back as it was", Colour::Notable),
        (None, Some(Return::Anew)) => painted("  restarted, a new incarnation", Colour::Notable),
        (None, None) if state.answer().is_none() => painted("  waiting for the first answer", Colour::Faint),
        (None, None) => painted("  q quits", Colour::Faint),
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut lines = vec![Line::from(vec![Span::styled(format!("heartbeat top{who}"), bold), hint])];
    if let Some(problem) = state.problem() {
        let old = if state.answer().is_some() { ", what is below is old" } else { "" };
        let text = format!("NO ANSWER{old}: {}", printable(problem));
        lines.extend(wrapped(&text, width).into_iter().map(|line| Line::from(painted(line, Colour::Bad))));
    }
    lines
}

/// The node itself: its view, the regroup, how it sends, how it receives.
fn own_lines(status: &Status, width: usize) -> Vec<Line<'static>> {
    let members: Vec<&str> = status.view.members.iter().map(|member| status.node_name(*member)).collect();
    let quorate = match (status.view.quorate, status.view.suspended) {
        (true, _) => painted("quorate", Colour::Good),
        (false, true) => painted("suspended", Colour::Bad),
        (false, false) => painted("not quorate", Colour::Bad),
    };
    let lease_ms = status.view.lease_left_ms;
    let mut view = Line::from(vec![
        Span::raw(format!("view       {} ", status.view.number)),
        quorate,
        Span::raw(format!(", lease {}.{} s, ", lease_ms / 1_000, lease_ms / 100 % 10)),
    ]);
    let room = width.saturating_sub(view.width());
    view.push_span(listed(&members, room));
    let stage = status.regroup.stage;
    let mut regroup = vec![
        Span::raw("regroup    "),
        painted(stage.as_str(), stage.colour()),
        Span::raw(format!(", sequence {}", status.regroup.sequence)),
    ];
    for removal in &status.removals {
        let text = format!("; {} safe in {} s", status.node_name(removal.node), removal.safe_in_ms.div_ceil(1_000));
        regroup.push(painted(text, Colour::Notable));
    }
    let sender = &status.sender;
    let granted = if sender.rt_granted {
        painted(format!("RT {}", sender.rt_priority), Colour::Good)
    } else {
        painted("RT refused", Colour::Bad)
    };
    let measured = |name: &str| milliseconds(status.counters.get(name).copied().unwrap_or_default());
    let sending = Line::from(vec![
        Span::raw("sender     "),
        painted(sender.engine.as_str(), sender.engine.colour()),
        Span::raw(", "),
        granted,
        Span::raw(format!(
            ", gap {}; reactor pass {}, late {}",
            milliseconds(sender.longest_gap_ns),
            measured("reactor_longest_pass_ns"),
            measured("reactor_longest_lateness_ns"),
        )),
    ]);
    let dataplane = &status.dataplane;
    let refused: u64 = status.rejects.values().sum();
    let most = status.rejects.iter().max_by_key(|(_, count)| **count).filter(|(_, count)| **count > 0);
    let most = most.map_or_else(String::new, |(reason, count)| format!(" ({reason} {})", short_count(*count)));
    let receiving = Line::from(vec![
        Span::raw("dataplane  "),
        painted(dataplane.mode.as_str(), dataplane.mode.colour()),
        Span::raw(", "),
        painted(dataplane.judge.as_str(), dataplane.judge.colour()),
        Span::raw(format!(
            "; accepted {}, ",
            short_count(status.counters.get("accepted").copied().unwrap_or_default())
        )),
        painted(
            format!("refused {}{most}", short_count(refused)),
            if refused > 0 { Colour::Notable } else { Colour::Plain },
        ),
    ]);
    vec![view, Line::from(regroup), sending, receiving]
}

/// Names, as many as fit, and how many more there are.
fn listed(names: &[&str], room: usize) -> String {
    let all = names.join(" ");
    if all.chars().count() <= room {
        return all;
    }
    let with_rest = |shown: usize| {
        let (shown, left_out) = names.split_at(shown);
        format!("{} and {} more", shown.join(" "), left_out.len())
    };
    let fits = (1..names.len()).rev().map(with_rest).find(|text| text.chars().count() <= room);
    fits.unwrap_or_else(|| format!("{} nodes", names.len()))
}

/// The newest events that fit, each with its whole text.
fn newest_events(events: &[Event], width: usize, room: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for event in events.iter().rev() {
        let of_event = event_lines(event, width);
        if lines.len() + of_event.len() > room {
            break;
        }
        lines.extend(of_event.into_iter().rev());
    }
    lines.reverse();
    lines
}

fn event_lines(event: &Event, width: usize) -> Vec<Line<'static>> {
    let colour = match event.severity {
        Severity::Info => Colour::Plain,
        Severity::Warning => Colour::Notable,
        Severity::Error | Severity::Critical => Colour::Bad,
    };
    let mut texts = wrapped(&printable(&event.text), width.saturating_sub(BEFORE_EVENT)).into_iter();
    let mut lines = vec![Line::from(vec![
        painted(event.time.short_text(), Colour::Faint),
        painted(format!(" {:>4} ", event.id), colour),
        Span::raw(texts.next().unwrap_or_default()),
    ])];
    lines.extend(texts.map(|text| Line::from(format!("{:BEFORE_EVENT$}{text}", ""))));
    lines
}

/// The line, cut where it is wider.
fn clipped(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let mut room = width.saturating_sub(1);
    let mut spans = Vec::new();
    for span in line.spans {
        let kept: String = span.content.chars().take(room).collect();
        room -= kept.chars().count();
        spans.push(Span::styled(kept, span.style));
    }
    spans.push(Span::raw("~"));
    Line { spans, ..Line::default() }.style(line.style)
}
