//! One thing that must be there, and what to do when it is not.

use std::fmt;

use super::step::Step;

/// Something that building or testing needs, as found on this machine.
#[derive(Debug)]
pub(super) struct Requirement {
    pub(super) name: &'static str,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// There. `toolchain` is set by the one requirement that chooses it.
    Ready { detail: String, toolchain: Option<String> },
    /// Not there, or there and not working.
    Missing { why: String, steps: Vec<Step> },
}

impl Requirement {
    pub(super) fn ready(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ready { detail: detail.into(), toolchain: None } }
    }

    pub(super) fn missing(name: &'static str, why: impl Into<String>, steps: Vec<Step>) -> Self {
        Self { name, state: State::Missing { why: why.into(), steps } }
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing { .. })
    }

    /// What would make it ready; nothing where it is.
    pub(super) fn steps(&self) -> Vec<Step> {
        match &self.state {
            State::Ready { .. } => Vec::new(),
            State::Missing { steps, .. } => steps.clone(),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Ready { detail, .. } => write!(formatter, "ok       {:<14} {detail}", self.name),
            State::Missing { why, steps } => {
                write!(formatter, "missing  {:<14} {why}", self.name)?;
                for step in steps {
                    write!(formatter, "\n           needs: {step}")?;
                }
                Ok(())
            }
        }
    }
}
