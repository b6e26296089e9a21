//! Text tables for a terminal: aligned, no wider than 80 columns where names allow, coloured only where wanted.

use std::fmt::Write as _;

use crate::fit::shortened;

/// Widest line of a table.
pub(super) const WIDTH: usize = 80;
/// A cell is not cut below this, even if the line gets longer: a name of one letter helps nobody.
const NARROWEST: usize = 8;

/// What a cell looks like on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// As any text.
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Notable,
    /// Broken.
    Bad,
    /// Of no interest now.
    Faint,
}

/// Rows under a heading.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone)]
struct Column {
    heading: &'static str,
    right: bool,
}

#[derive(Debug, Clone)]
struct Cell {
    text: String,
    colour: Colour,
}

impl Table {
    /// A table with these headings; a column whose heading begins with `>` is aligned to the right.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        let columns = headings.iter().map(|heading| match heading.strip_prefix('>') {
            Some(heading) => Column { heading, right: true },
            None => Column { heading, right: false },
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, further ones are left out.
    pub fn row<I: IntoIterator<Item = (String, Colour)>>(&mut self, cells: I) {
        let mut row: Vec<Cell> =
            cells.into_iter().take(self.columns.len()).map(|(text, colour)| Cell { text, colour }).collect();
        row.resize(self.columns.len(), Cell { text: String::new(), colour: Colour::Plain });
        self.rows.push(row);
    }

    /// The table as lines, each ended by a newline; with ANSI colours if `coloured`.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let widths = self.widths();
        let mut text = String::new();
        let headings = self.columns.iter().map(|column| (column.heading.to_owned(), Colour::Faint)).collect::<Vec<_>>();
        self.line(&mut text, &widths, headings.iter().map(|(text, colour)| (text.as_str(), *colour)), coloured);
        for row in &self.rows {
            self.line(&mut text, &widths, row.iter().map(|cell| (cell.text.as_str(), cell.colour)), coloured);
        }
        text
    }

    /// Widths of the columns: those of their widest cells, the widest column of names cut until the line fits.
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.text.chars().count());
                cells.max().unwrap_or(0).max(column.heading.len())
            })
            .collect();
        loop {
            let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            // Half of a number is wrong; half of a name is still known.
            let names = widths.iter().copied().enumerate().filter(|(index, _)| !self.columns[*index].right);
            let Some((index, widest)) = names.max_by_key(|(_, width)| *width) else { break };
            if total <= WIDTH || widest <= NARROWEST {
                break;
            }
            widths[index] = widest.saturating_sub(total - WIDTH).max(NARROWEST);
        }
        widths
    }

    fn line<'cells>(
        &self,
        text: &mut String,
        widths: &[usize],
        cells: impl Iterator<Item = (&'cells str, Colour)>,
        coloured: bool,
    ) {
        let mut line = String::new();
        for (index, ((cell, colour), width)) in cells.zip(widths).enumerate() {
            if index > 0 {
                line.push_str("  ");
            }
            let cell = shortened(cell, *width);
            let padding = " ".repeat(width - cell.chars().count());
            let right = self.columns.get(index).is_some_and(|column| column.right);
            let (before, after) = if right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            // Writing to a String cannot fail.
            let _ = write!(line, "{before}{}{after}", painted(&cell, if coloured { colour } else { Colour::Plain }));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// `text` in a colour, with ANSI escapes; plain text as it is.
pub(crate) fn painted(text: &str, colour: Colour) -> String {
    let code = match colour {
        Colour::Plain => return text.to_owned(),
        Colour::Good => "32",
        Colour::Notable => "33",
        Colour::Bad => "31",
        Colour::Faint => "2",
    };
    if text.is_empty() { String::new() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}
