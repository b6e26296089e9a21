//! `heartbeat doctor`: the known causes of false verdicts, looked for one by one.
//!
//! [`gather`] reads the machine, the configuration and the running node into [`Facts`]; every check judges facts and
//! touches nothing. What could not be found out is a finding of its own: silence always means that all is well.

mod checks;
mod facts;
mod gather;
mod report;

use serde::Serialize;

pub use self::facts::{
    ConfigFacts, Facts, Gathered, IdleState, InterfaceFacts, MachineFacts, NetworkFacts, NodeFacts, Rings, SecretFacts,
    Softnet, WatchdogFacts,
};
pub use self::gather::{Sources, gather};
pub use self::report::{render, render_json};

/// How much a finding matters, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Healthy nodes may be removed, or a removal may be trusted that must not be.
    Wrong,
    /// It could be better.
    Advice,
    /// The check could not be made.
    Unknown,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check, as docs/doctor.md lists it.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was seen, with numbers.
    pub evidence: String,
    /// What to do.
    pub remedy: String,
}

/// The outcome of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was found, worst first.
    pub findings: Vec<Finding>,
    /// Checks that found nothing.
    pub fine: Vec<&'static str>,
}

impl Report {
    /// Whether anything is wrong; advice, and what is not known, is not.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Wrong)
    }
}

/// Makes every check.
#[must_use]
pub fn examine(facts: &Facts) -> Report {
    let mut report = Report { findings: Vec::new(), fine: Vec::new() };
    for check in checks::ALL {
        let mut found = Findings { check: check.name, list: Vec::new() };
        (check.judge)(facts, &mut found);
        if found.list.is_empty() {
            report.fine.push(check.name);
        }
        report.findings.extend(found.list);
    }
    report.findings.sort_by_key(|finding| finding.severity);
    report
}

/// A check: its name, and what it makes of the facts.
struct Check {
    name: &'static str,
    judge: fn(&Facts, &mut Findings),
}

/// Collects what one check finds.
struct Findings {
    check: &'static str,
    list: Vec<Finding>,
}

impl Findings {
    fn wrong(&mut self, evidence: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Wrong, evidence.into(), remedy.into());
    }

    fn advice(&mut self, evidence: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Advice, evidence.into(), remedy.into());
    }

    fn unknown(&mut self, evidence: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Unknown, evidence.into(), remedy.into());
    }

    /// The facts, or a finding that says why there are none.
    fn known<'facts, T>(&mut self, gathered: &'facts Gathered<T>, remedy: &str) -> Option<&'facts T> {
        match gathered {
            Ok(facts) => Some(facts),
            Err(reason) => {
                self.unknown(reason.clone(), remedy);
                None
            }
        }
    }

    fn add(&mut self, severity: Severity, evidence: String, remedy: String) {
        self.list.push(Finding { check: self.check, severity, evidence, remedy });
    }
}

#[cfg(test)]
mod tests;
