//! The words of one line, taken one after the other.

use crate::language::{Setup, Span};

/// A line, and how far it has been read.
pub(super) struct Words<'a> {
    line: &'a str,
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { line, words: line.split_whitespace().collect(), next: 0 }
    }

    /// The first word of the line.
    pub(super) fn first(&self) -> &'a str {
        self.words.first().copied().unwrap_or_default()
    }

    /// What stands behind the first colon.
    pub(super) fn behind_colon(&self) -> &'a str {
        self.line.split_once(':').map_or("", |(_, rest)| rest.trim())
    }

    /// The next word, without taking it.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    /// Takes the next word; `what` says what it should have been.
    pub(super) fn take(&mut self, what: &str) -> Result<&'a str, String> {
        let word = self.peek().ok_or_else(|| format!("the line ends where {what} is missing"))?;
        self.next += 1;
        Ok(word)
    }

    /// Takes the next word if it is this one.
    pub(super) fn take_if(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        self.next += usize::from(is);
        is
    }

    /// Takes a word that must be this one.
    pub(super) fn keyword(&mut self, word: &'static str) -> Result<(), String> {
        self.one_of(&[word]).map(drop)
    }

    /// Takes a word that must be one of these.
    pub(super) fn one_of(&mut self, allowed: &[&'static str]) -> Result<&'static str, String> {
        let list = allowed.join(", ");
        let word = self.take(&format!("one of: {list}"))?;
        let known = allowed.iter().find(|candidate| **candidate == word);
        known.copied().ok_or_else(|| format!("`{word}` is not understood here; allowed: {list}"))
    }

    /// Takes a whole number in a range.
    pub(super) fn number(&mut self, what: &str, least: u32, most: u32) -> Result<u32, String> {
        let word = self.take(what)?;
        let number = word.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("`{word}` is not {what}; allowed: {least} to {most}"))
    }

    /// Takes a node.
    pub(super) fn node(&mut self, setup: &Setup) -> Result<u16, String> {
        let word = self.take("a node")?;
        node(word, setup)
    }

    /// Takes nodes, such as `1,2`, or `all`.
    pub(super) fn nodes(&mut self, setup: &Setup) -> Result<Vec<u16>, String> {
        let word = self.take("nodes, such as 1,2, or all")?;
        nodes(word, setup)
    }

    /// Takes a network.
    pub(super) fn network(&mut self, setup: &Setup) -> Result<u8, String> {
        let word = self.take("a network")?;
        let place = setup.networks.iter().position(|network| network == word);
        let number = place.and_then(|place| u8::try_from(place + 1).ok());
        number.ok_or_else(|| format!("there is no network `{word}`; allowed: {}", setup.networks.join(", ")))
    }

    /// Takes a length of time, such as `500ms`, `2s` or `2.5i` (intervals).
    pub(super) fn span(&mut self) -> Result<Span, String> {
        let word = self.take("a length of time, such as 500ms, 2s or 6i")?;
        span(word)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(format!("the line should end before `{word}`")),
        }
    }
}

/// A node that the script has.
pub(super) fn node(word: &str, setup: &Setup) -> Result<u16, String> {
    let node = word.parse().ok().filter(|node| (1..=setup.nodes).contains(node));
    node.ok_or_else(|| format!("`{word}` is not a node; allowed: 1 to {}", setup.nodes))
}

/// Nodes with commas in between, or `all`.
pub(super) fn nodes(word: &str, setup: &Setup) -> Result<Vec<u16>, String> {
    if word == "all" {
        return Ok((1..=setup.nodes).collect());
    }
    let mut nodes: Vec<u16> = word.split(',').map(|part| node(part, setup)).collect::<Result<_, _>>()?;
    nodes.sort_unstable();
    if nodes.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("`{word}` names a node twice"));
    }
    Ok(nodes)
}

/// A length of time in one word.
pub(super) fn span(word: &str) -> Result<Span, String> {
    let refused =
        || format!("`{word}` is not a length of time; allowed: a number and ms, s or i (intervals), as in 2.5i");
    let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let thousandths = thousandths(digits).ok_or_else(refused)?;
    match &word[digits.len()..] {
        "ms" => Ok(Span::Nanoseconds(thousandths * 1_000)),
        "s" => Ok(Span::Nanoseconds(thousandths * 1_000_000)),
        "i" => Ok(Span::Intervals(thousandths)),
        _ => Err(refused()),
    }
}

/// A decimal number below a million, in thousandths.
fn thousandths(digits: &str) -> Option<u64> {
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, "0"));
    if rest.is_empty() || rest.len() > 3 || !rest.bytes().chain(whole.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u64 = format!("{rest:0<3}").parse().ok()?;
    whole.parse::<u64>().ok().filter(|whole| *whole < 1_000_000).map(|whole| whole * 1_000 + fraction)
}
