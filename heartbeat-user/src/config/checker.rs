//! Collects problems with their places, and checks the kinds of values that many keys share.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use toml::Spanned;

use super::duration::{format_duration_ns, parse_duration_ns};
use super::error::Problem;
use super::file::Value;
use super::places::Places;

/// Problems found so far in one text. A check that fails reports and gives back a stand-in, so that one run finds all.
pub(super) struct Checker<'text> {
    text: &'text str,
    pub(super) problems: Vec<Problem>,
    pub(super) places: Places,
}

/// What makes a name acceptable.
pub(super) struct NameRule {
    /// Longest name, in bytes.
    pub(super) longest: usize,
    /// Whether any printable UTF-8 is fine; otherwise letters, digits, `-`, `_` and `.`.
    pub(super) free_text: bool,
}

impl<'text> Checker<'text> {
    pub(super) fn new(text: &'text str) -> Self {
        Self { text, problems: Vec::new(), places: Places::default() }
    }

    /// Line of a place in the text, from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        line_at(self.text, span.start)
    }

    /// Something is wrong at `span`.
    pub(super) fn report(
        &mut self,
        span: Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let line = Some(self.line(&span));
        self.push(line, key, message, allowed);
    }

    /// A key that has to be there is not, in the table at `span`, if that is there.
    pub(super) fn report_missing(
        &mut self,
        span: Option<Range<usize>>,
        key: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let line = span.map(|span| self.line(&span));
        self.push(line, key, "is missing", allowed);
    }

    fn push(
        &mut self,
        line: Option<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let allowed: String = allowed.into();
        self.problems.push(Problem {
            line,
            key: key.into(),
            message: message.into(),
            allowed: (!allowed.is_empty()).then_some(allowed),
        });
    }

    /// A whole number in a range; nothing if it is absent or wrong (wrong is reported).
    pub(super) fn integer(&mut self, value: &Value<i64>, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = value.as_ref()?;
        let number = *value.get_ref();
        if range.contains(&number) {
            return Some(number);
        }
        self.report(
            value.span(),
            key,
            format!("{number} is out of range"),
            format!("allowed: {} to {}", range.start(), range.end()),
        );
        None
    }

    /// A duration in a range; nothing if it is absent or wrong (wrong is reported).
    pub(super) fn duration(&mut self, value: &Value<String>, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = value.as_ref()?;
        let allowed = format!(
            "allowed: {} to {}, written like \"1.2s\", \"10ms\" or \"500us\"",
            format_duration_ns(*range.start()),
            format_duration_ns(*range.end()),
        );
        match parse_duration_ns(value.get_ref()) {
            Ok(nanoseconds) if range.contains(&nanoseconds) => Some(nanoseconds),
            Ok(_) => {
                self.report(value.span(), key, format!("{} is out of range", value.get_ref()), allowed);
                None
            }
            Err(message) => {
                self.report(value.span(), key, message, allowed);
                None
            }
        }
    }

    /// One of a few words; nothing if it is absent or wrong (wrong is reported).
    pub(super) fn word<T: Copy>(&mut self, value: &Value<String>, key: &str, words: &[(&str, T)]) -> Option<T> {
        let value = value.as_ref()?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| word == value.get_ref()) {
            return Some(*meaning);
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.report(
            value.span(),
            key,
            format!("\"{}\" is not one of its values", value.get_ref()),
            format!("allowed: {}", known.join(", ")),
        );
        None
    }

    /// An absolute path; nothing if it is absent or wrong (wrong is reported).
    pub(super) fn absolute_path(&mut self, value: &Value<String>, key: &str) -> Option<PathBuf> {
        let value = value.as_ref()?;
        let path = PathBuf::from(value.get_ref());
        if path.is_absolute() {
            return Some(path);
        }
        self.report(
            value.span(),
            key,
            format!("\"{}\" is not an absolute path", value.get_ref()),
            "allowed: a path that begins with /",
        );
        None
    }

    /// A name; false if it breaks the rule (reported).
    pub(super) fn name(&mut self, value: &Spanned<String>, key: &str, rule: &NameRule) -> bool {
        let name = value.get_ref();
        let fits = (1..=rule.longest).contains(&name.len());
        let letters = if rule.free_text {
            !name.chars().any(char::is_control)
        } else {
            name.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter))
        };
        if fits && letters {
            return true;
        }
        let what = if rule.free_text { "printable characters" } else { "letters, digits, `-`, `_` and `.`" };
        self.report(
            value.span(),
            key,
            format!("{name:?} is not a valid name"),
            format!("allowed: 1 to {} bytes of {what}", rule.longest),
        );
        false
    }
}

/// Line of a byte offset, from 1.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
