//! What the screen shows, built from answers alone: no terminal, no clock, no socket.

use std::collections::BTreeMap;

use crate::{event::Event, history::History, status::Status};

/// What a node told in one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: Status,
    /// The remembered arrivals of every peer, an entry for each network.
    pub histories: Vec<History>,
    /// The newest events, oldest first.
    pub events: Vec<Event>,
}

/// Everything that is drawn.
#[derive(Debug, Clone, Default)]
pub struct State {
    answer: Option<Answer>,
    histories: BTreeMap<(u16, String), History>,
    problem: Option<String>,
    returned: Option<Return>,
}

/// How a node came back after it had not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// With the incarnation of before.
    Same,
    /// As a new incarnation: it has joined anew.
    Anew,
}

impl State {
    /// Takes in one round: what the node told, or why it did not. What it told last stays on the screen.
    pub fn update(&mut self, round: Result<Answer, String>) {
        match round {
            Ok(answer) => {
                if let (Some(_), Some(before)) = (self.problem.take(), &self.answer) {
                    let same = before.status.node.incarnation == answer.status.node.incarnation;
                    self.returned = Some(if same { Return::Same } else { Return::Anew });
                }
                let keyed = answer.histories.iter().map(|one| ((one.peer, one.network.clone()), one.clone()));
                self.histories = keyed.collect();
                self.answer = Some(answer);
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// What was told last; nothing before the first answer.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        self.answer.as_ref()
    }

    /// Why the node does not answer now.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// How it came back the last time, if it was ever gone.
    #[must_use]
    pub fn returned(&self) -> Option<Return> {
        self.returned
    }

    /// The remembered arrivals of one link.
    #[must_use]
    pub fn history(&self, peer: u16, network: &str) -> Option<&History> {
        self.histories.get(&(peer, network.to_owned()))
    }
}
