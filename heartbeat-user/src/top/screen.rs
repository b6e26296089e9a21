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
    status::{Colour, Status, milliseconds, short_count},
};

/// Events that stay on the screen, however many links there are.
const FEWEST_EVENTS: usize = 4;

/// The whole screen, at most `height` lines; what is wider than `width` is cut by the terminal.
#[must_use]
pub fn screen(state: &State, width: u16, height: u16) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(width), usize::from(height));
    let mut lines = vec![title(state)];
    if let Some(answer) = state.answer() {
        lines.extend(own_lines(&answer.status));
        let rest = height.saturating_sub(lines.len());
        let matrix = matrix_lines(state, &answer.status, (rest / 3).max(2));
        let room = rest.saturating_sub(matrix.len() + FEWEST_EVENTS + 1);
        lines.extend(matrix);
        lines.extend(link_lines(state, &answer.status, width, room));
        let room = height.saturating_sub(lines.len() + 1);
        lines.push(heading("EVENTS"));
        let newest = answer.events.len().saturating_sub(room);
        lines.extend(answer.events.iter().skip(newest).map(event_line));
    }
    lines.truncate(height);
    lines
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

fn title(state: &State) -> Line<'static> {
    let who = state.answer().map_or_else(String::new, |answer| {
        format!("  cluster {}, node {} ({})", answer.status.cluster, answer.status.node.name, answer.status.node.id)
    });
    let mut spans = vec![Span::styled(format!("heartbeat top{who}"), Style::new().add_modifier(Modifier::BOLD))];
    spans.push(match (state.problem(), state.returned()) {
        (Some(problem), _) => painted(format!("  NO ANSWER, below is old: {}", printable(problem)), Colour::Bad),
        (None, Some(Return::Same)) => painted("  was gone, is back as it was", Colour::Notable),
        (None, Some(Return::Anew)) => painted("  restarted, a new incarnation", Colour::Notable),
        (None, None) if state.answer().is_none() => painted("  waiting for the first answer", Colour::Faint),
        (None, None) => painted("  q quits", Colour::Faint),
    });
    Line::from(spans)
}

/// The node itself: its view, the regroup, how it sends, how it receives.
fn own_lines(status: &Status) -> Vec<Line<'static>> {
    let members: Vec<&str> = status.view.members.iter().map(|member| status.node_name(*member)).collect();
    let quorate = match (status.view.quorate, status.view.suspended) {
        (true, _) => painted("quorate", Colour::Good),
        (false, true) => painted("suspended", Colour::Bad),
        (false, false) => painted("not quorate", Colour::Bad),
    };
    let lease_ms = status.view.lease_left_ms;
    let view = Line::from(vec![
        Span::raw(format!("view       {} ", status.view.number)),
        quorate,
        Span::raw(format!(", lease {}.{} s, {}", lease_ms / 1_000, lease_ms / 100 % 10, members.join(" "))),
    ]);
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
    let receiving = Line::from(vec![
        Span::raw("dataplane  "),
        painted(dataplane.mode.as_str(), dataplane.mode.colour()),
        Span::raw(", "),
        painted(dataplane.judge.as_str(), dataplane.judge.colour()),
        Span::raw(format!(
            "; accepted {}, ",
            short_count(status.counters.get("accepted").copied().unwrap_or_default())
        )),
        painted(format!("refused {}", short_count(refused)), if refused > 0 { Colour::Notable } else { Colour::Plain }),
    ]);
    vec![view, Line::from(regroup), sending, receiving]
}

fn event_line(event: &Event) -> Line<'static> {
    let colour = match event.severity {
        Severity::Info => Colour::Plain,
        Severity::Warning => Colour::Notable,
        Severity::Error | Severity::Critical => Colour::Bad,
    };
    Line::from(vec![
        painted(event.time.short_text(), Colour::Faint),
        painted(format!(" {:>4} ", event.id), colour),
        Span::raw(printable(&event.text)),
    ])
}
