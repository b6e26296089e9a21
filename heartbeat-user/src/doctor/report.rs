//! The report for people: worst first, evidence and remedy under each name, no line longer than a terminal.

use super::{Finding, Report, Severity};
use crate::fit::wrapped;
use crate::status::{Colour, painted};

/// As wide as a terminal at least is.
const WIDTH: usize = 80;
const INDENT: &str = "    ";

/// The report as text.
#[must_use]
pub fn render(report: &Report, coloured: bool) -> String {
    let mut text = String::new();
    for (checks, finding) in blocks(report) {
        let (word, colour) = match finding.severity {
            Severity::Wrong => ("WRONG", Colour::Bad),
            Severity::Advice => ("advice", Colour::Notable),
            Severity::Unknown => ("unknown", Colour::Faint),
        };
        let word = format!("{word:<8}");
        text.push_str(&painted(&word, if coloured { colour } else { Colour::Plain }));
        let mut names = String::new();
        wrap(&mut names, "    ", &checks.join(", "));
        text.push_str(names.trim_start());
        wrap(&mut text, "", &finding.evidence);
        wrap(&mut text, "-> ", &finding.remedy);
    }
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    if !report.fine.is_empty() {
        text.push_str("fine    \n");
        wrap(&mut text, "", &report.fine.join(", "));
    }
    text.push_str(&format!(
        "\n{} wrong, {} advice, {} unknown, {} checks found nothing\n",
        count(Severity::Wrong),
        count(Severity::Advice),
        count(Severity::Unknown),
        report.fine.len()
    ));
    text
}

/// Findings in their order, each with the checks that share it: what could not be read keeps several checks from looking,
/// and is said once.
fn blocks(report: &Report) -> Vec<(Vec<&str>, &Finding)> {
    let mut blocks: Vec<(Vec<&str>, &Finding)> = Vec::new();
    for finding in &report.findings {
        let same = |(_, it): &&mut (Vec<&str>, &Finding)| {
            finding.severity == Severity::Unknown && it.severity == Severity::Unknown && it.evidence == finding.evidence
        };
        match blocks.iter_mut().find(same) {
            Some((checks, _)) => checks.push(finding.check),
            None => blocks.push((vec![finding.check], finding)),
        }
    }
    blocks
}

/// The report as one JSON object on a line.
///
/// # Errors
///
/// None in practice: the report is text and numbers.
pub fn render_json(report: &Report) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(report)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("wrong".to_owned(), report.is_wrong().into());
    }
    Ok(format!("{value}\n"))
}

/// `words` in lines that fit, the first behind `mark`. A word that does not fit gets a line of its own.
fn wrap(text: &mut String, mark: &str, words: &str) {
    let mut margin = format!("{INDENT}{mark}");
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in wrapped(&words, WIDTH.saturating_sub(margin.chars().count())) {
        text.push_str(format!("{margin}{line}").trim_end());
        text.push('\n');
        margin = " ".repeat(margin.chars().count());
    }
}
