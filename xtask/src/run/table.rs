//! What the nodes say of their links, as a table for people.

use heartbeat_tests::{events::Event, naming::node_name};
use serde_json::Value;

/// However many links there are, so many events stay visible.
const EVENTS_AT_LEAST: usize = 3;

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

/// What stands around the table.
#[derive(Debug, Default)]
pub(super) struct Around<'a> {
    /// Something to know about the whole cluster; stands above.
    pub(super) headline: &'a str,
    /// The newest events, oldest first.
    pub(super) events: Vec<Event>,
    /// How to look inside: a title, then commands, the most useful one first.
    pub(super) hints: &'a [String],
}

/// The table with what is around it, cut to the size: all hints but the first command give way first, then older events, then
/// links that are up.
pub(super) fn render(rows: &[Row], around: &Around<'_>, size: Size) -> String {
    // The headline and the hints are there to be read whole and copied: the terminal wraps them where other lines are cut.
    let wrapped = |line: &String| line.len().div_ceil(size.columns).max(1);
    let part = |length: usize| if length == 0 { 0 } else { length + 1 };
    let headline = around.headline.to_owned();
    let above = if headline.is_empty() { 0 } else { part(wrapped(&headline)) };
    // The header, and the line that the cursor stands on.
    let room = size.rows.saturating_sub(above + 2);
    let length = |hints: &[String]| part(hints.iter().map(wrapped).sum());
    let few = around.hints.get(..2).unwrap_or(around.hints);
    let fits = |hints: &[String], events: usize| rows.len() + part(events) + length(hints) <= room;
    let hints = if fits(around.hints, around.events.len()) {
        around.hints
    } else if fits(few, EVENTS_AT_LEAST) {
        few
    } else {
        &[]
    };
    let events_room = room.saturating_sub(rows.len() + length(hints) + 1).max(EVENTS_AT_LEAST);
    let events = &around.events[around.events.len().saturating_sub(events_room)..];
    let rows_room = room.saturating_sub(part(events.len()) + length(hints)).max(2);

    let mut lines = vec![HEADER.to_owned()];
    lines.extend(link_lines(rows, rows_room));
    if !events.is_empty() {
        lines.push(String::new());
        lines.extend(events.iter().map(event_line));
    }
    let mut lines: Vec<String> = lines.iter().map(|line| cut(line, size.columns)).collect();
    if !headline.is_empty() {
        lines.splice(..0, [headline, String::new()]);
    }
    if !hints.is_empty() {
        lines.push(String::new());
        lines.extend(hints.iter().cloned());
    }
    lines.push(String::new());
    lines.join("\n")
}

/// With a `~` in place of the last character, where the line is longer.
fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    line.chars().take(columns.saturating_sub(1)).chain(['~']).collect()
}

fn link_lines(rows: &[Row], room: usize) -> Vec<String> {
    if rows.len() <= room {
        return rows.iter().map(Row::line).collect();
    }
    let (up, not_up): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_up());
    let shown = room - 1;
    let mut lines: Vec<String> = not_up.iter().chain(&up).take(shown).map(|row| row.line()).collect();
    lines.push(format!("... and {} more, {} of them not up", rows.len() - shown, not_up.len().saturating_sub(shown)));
    lines
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
        let table = render(&links("up"), &Around::default(), Size { columns: 80, rows: 24 });
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
        let table = render(&rows, &Around::default(), Size { columns: 80, rows: 10 });
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].contains(" late "), "{table}");
        assert_eq!(lines.last(), Some(&"... and 24 more, 0 of them not up"));
        assert!(lines.len() <= 10, "{table}");
    }

    #[test]
    fn hints_and_older_events_give_way_to_links() {
        let rows: Vec<Row> = (0..12).flat_map(|_| links("up")).collect();
        let line = json!({"id": 1122, "node": 1, "mono_ns": 1, "text": "news ".repeat(30)});
        let events: Vec<Event> = (0..8).map(|_| Event::from_value(line.clone()).unwrap()).collect();
        let hints = ["hint: look", "hint: first", "hint: second", "hint: third"].map(str::to_owned);
        let headline = "every link is up ".repeat(6);
        let around = Around { headline: headline.trim_end(), events, hints: &hints };
        let shown = |rows_of_screen: usize| {
            let table = render(&rows, &around, Size { columns: 80, rows: rows_of_screen });
            let lines = table.lines().map(|line| line.len().div_ceil(80).max(1)).sum::<usize>();
            assert!(lines < rows_of_screen, "the cursor stands below: {table}");
            assert!(table.starts_with(headline.trim_end()), "{table}");
            assert!(table.lines().filter(|line| line.contains("news")).all(|line| line.ends_with('~')), "{table}");
            let count = |word| table.lines().filter(|line| line.contains(word)).count();
            ["bravo", "news", "hint"].map(count)
        };
        assert_eq!(shown(40), [12, 8, 4]);
        assert_eq!(shown(24), [12, 3, 2]);
        assert_eq!(shown(16), [6, 3, 0]);
    }

    #[test]
    fn a_node_that_does_not_answer_says_so() {
        let row = Row::without_answer(3, &anyhow::anyhow!("nobody listens"));
        let table = render(&[row], &Around::default(), Size::unlimited());
        assert!(table.contains("charlie  no answer: nobody listens"), "{table}");
    }
}
