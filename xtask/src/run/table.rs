//! What the nodes say of their links, as a table for people.

use std::fmt::Write as _;

use heartbeat_tests::{events::Event, naming::node_name};
use serde_json::Value;

/// Events below the table, where the screen has room for them.
const NEWEST_EVENTS: usize = 8;

/// Narrow terminals cut lines rather than wrapping them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    columns: usize,
    rows: usize,
}

impl Size {
    /// Of the terminal behind standard output; of the classic one where it does not say.
    pub(super) fn of_terminal() -> Self {
        let size = terminal_size::terminal_size();
        let (columns, rows) = size.map_or((80, 24), |(width, height)| (width.0, height.0));
        Self { columns: columns.into(), rows: rows.into() }
    }

    /// Nothing is cut.
    pub(super) fn unlimited() -> Self {
        Self { columns: usize::MAX, rows: usize::MAX }
    }
}

/// One link, or a node that did not answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    node: u16,
    cells: Cells,
}

#[derive(Clone, Debug, PartialEq)]
enum Cells {
    Link { peer: String, network: String, state: String, numbers: [String; 5] },
    NoAnswer(String),
}

/// Widths of the columns: node, peer, network, state, then the numbers.
const HEADER: &str = "node     peer     network  state   received   lost  heard ms  jitter us  rtt us";

impl Row {
    /// One row per link that a node reports.
    pub(super) fn from_links(node: u16, links: &Value) -> Vec<Self> {
        let list = links.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().map(|link| Self { node, cells: Cells::of_link(link) }).collect()
    }

    pub(super) fn without_answer(node: u16, error: &anyhow::Error) -> Self {
        Self { node, cells: Cells::NoAnswer(format!("{error:#}")) }
    }

    fn is_up(&self) -> bool {
        match &self.cells {
            Cells::Link { state, .. } => state == "up",
            Cells::NoAnswer(_) => false,
        }
    }

    fn line(&self) -> String {
        let node = node_name(self.node);
        match &self.cells {
            Cells::Link { peer, network, state, numbers: [received, lost, heard, jitter, rtt] } => format!(
                "{node:<8} {peer:<8} {network:<8} {state:<6} {received:>9} {lost:>6} {heard:>9} {jitter:>10} {rtt:>7}"
            ),
            Cells::NoAnswer(why) => format!("{node:<8} no answer: {why}"),
        }
    }
}

impl Cells {
    fn of_link(link: &Value) -> Self {
        let text = |field: &str| link.get(field).and_then(Value::as_str).unwrap_or("?").to_owned();
        let peer = link.get("peer").and_then(Value::as_u64).and_then(|peer| u16::try_from(peer).ok());
        let numbers = ["received", "lost", "last_heard_ms", "jitter_us", "rtt_us"].map(|field| number(link.get(field)));
        Self::Link {
            peer: peer.map_or_else(|| "?".to_owned(), node_name),
            network: text("network"),
            state: text("state"),
            numbers,
        }
    }
}

/// Whole numbers whole, others with one digit; `-` where the node has none yet.
fn number(value: Option<&Value>) -> String {
    match value {
        Some(Value::Number(number)) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or_default()),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) | None => {
            "-".to_owned()
        }
    }
}

/// An event for people: when, who, what.
pub(super) fn event_line(event: &Event) -> String {
    // The time of day is enough here: "2026-11-23T02:00:00.123456789Z".
    let time = event.time().get(11..23).unwrap_or_default();
    let node = u16::try_from(event.node()).unwrap_or_default();
    format!("{time} {:<8} {:>5} {}", node_name(node), event.id(), event.text())
}

/// The table with the newest events and the hints below, cut to the size: what is up gives way first.
pub(super) fn render(rows: &[Row], events: &[Event], hints: &[String], size: Size) -> String {
    let newest = &events[events.len().saturating_sub(NEWEST_EVENTS)..];
    // Two lines around the table, one before the events and one before the hints.
    let around = 4 + newest.len() + hints.len();
    let room = size.rows.saturating_sub(around).max(1);
    let mut lines = vec![HEADER.to_owned()];
    if rows.len() <= room {
        lines.extend(rows.iter().map(Row::line));
    } else {
        let not_up: Vec<&Row> = rows.iter().filter(|row| !row.is_up()).collect();
        let shown = not_up.iter().copied().chain(rows.iter().filter(|row| row.is_up())).take(room - 1);
        lines.extend(shown.map(Row::line));
        let hidden = rows.len() - (room - 1);
        let hidden_not_up = not_up.len().saturating_sub(room - 1);
        lines.push(format!("... and {hidden} more, {hidden_not_up} of them not up"));
    }
    if !newest.is_empty() {
        lines.push(String::new());
        lines.extend(newest.iter().map(event_line));
    }
    if !hints.is_empty() {
        lines.push(String::new());
        lines.extend(hints.iter().cloned());
    }
    lines.iter().fold(String::new(), |mut text, line| {
        let cut: String = line.chars().take(size.columns).collect();
        let _ = writeln!(text, "{cut}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn links(state: &str) -> Vec<Row> {
        let link = json!({
            "peer": 2, "network": "private", "state": state, "received": 100, "lost": 0, "duplicates": 0,
            "reordered": 0, "last_heard_ms": 0.44, "rtt_us": 81, "jitter_us": null,
        });
        Row::from_links(1, &json!([link]))
    }

    #[test]
    fn columns_stand_below_their_header_and_fit_a_classic_terminal() {
        let table = render(&links("up"), &[], &[], Size { columns: 80, rows: 24 });
        let expected = "\
node     peer     network  state   received   lost  heard ms  jitter us  rtt us
alpha    bravo    private  up           100      0       0.4          -      81
";
        assert_eq!(table, expected);
        assert!(table.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn what_is_not_up_is_shown_first_where_not_all_fits() {
        let mut rows: Vec<Row> = (0..30).flat_map(|_| links("up")).collect();
        rows.extend(links("late"));
        let table = render(&rows, &[], &[], Size { columns: 80, rows: 10 });
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].contains(" late "), "{table}");
        assert_eq!(lines.last(), Some(&"... and 26 more, 0 of them not up"));
        assert!(lines.len() <= 10, "{table}");
    }

    #[test]
    fn a_node_that_does_not_answer_says_so() {
        let row = Row::without_answer(3, &anyhow::anyhow!("nobody listens"));
        let table = render(&[row], &[], &[], Size::unlimited());
        assert!(table.contains("charlie  no answer: nobody listens"), "{table}");
    }
}
