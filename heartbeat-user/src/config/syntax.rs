//! Reads TOML into [`File`], and says where a text is not TOML, or not this configuration.

use super::checker::line_at;
use super::error::Problem;
use super::file::File;

/// The file as written, or the first thing that is wrong with its shape: syntax, an unknown key, a wrong type.
pub(super) fn read(text: &str) -> Result<File, Problem> {
    toml::from_str::<File>(text).map_err(|error| {
        let offset = error.span().map(|span| span.start);
        let (message, allowed) = reworded(error.message());
        Problem {
            line: offset.map(|offset| line_at(text, offset)),
            key: offset.map(|offset| key_at(text, offset)).unwrap_or_default(),
            message,
            allowed,
        }
    })
}

/// serde speaks of fields; the file has keys. What is expected goes where every problem names what is allowed.
fn reworded(message: &str) -> (String, Option<String>) {
    let message = message.trim().replace('\n', "; ").replace("unknown field", "unknown key");
    match message.split_once(", expected ") {
        Some((wrong, expected)) => {
            let expected = expected.strip_prefix("one of ").unwrap_or(expected);
            (wrong.to_owned(), Some(format!("allowed: {expected}")))
        }
        None => (message, None),
    }
}

/// The key on the line of `offset` with the table above it, as `[table] key`.
fn key_at(text: &str, offset: usize) -> String {
    let start = text.get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim();
    if line.starts_with('[') {
        return line.to_owned();
    }
    let key = line.split_once('=').map(|(key, _)| key.trim()).unwrap_or_default();
    let table = text
        .get(..start)
        .and_then(|before| {
            before.lines().rev().map(str::trim).find(|line| line.starts_with('[') && line.ends_with(']'))
        })
        .unwrap_or_default();
    format!("{table} {key}").trim().to_owned()
}
