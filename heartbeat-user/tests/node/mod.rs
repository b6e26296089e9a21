//! A node that answers the same to everyone: the program is what is tested.

use std::path::PathBuf;
use std::sync::Arc;

use heartbeat_common::records::Arrival;
use heartbeat_user::api::{Caller, Counters, Done, Failure, Listener, NodeName, Operation, Source, serve};
use heartbeat_user::event::{EventLog, Filter};
use heartbeat_user::history::{History, Past};
use heartbeat_user::status::{Link, Status};
use heartbeat_user::why::{About, Names, Why, explain};

const STATUS: &str = include_str!("../data/status.json");

/// Answers that never change.
pub(crate) struct Fixed {
    status: Status,
    /// What it has told so far.
    pub(crate) events: EventLog,
}

impl Source for Fixed {
    fn status(&self) -> Status {
        self.status.clone()
    }

    fn links(&self) -> Vec<Link> {
        self.status.links.clone()
    }

    fn history(&self, peer: &NodeName, network: Option<&str>, limit: usize) -> Result<Vec<History>, Failure> {
        let is_bravo = matches!(peer, NodeName::Name(name) if name == "bravo") || *peer == NodeName::Id(2);
        if !is_bravo || network.is_some_and(|network| network != "private") {
            return Err(Failure::new("there is no such link", "known: bravo on private"));
        }
        let mut history = Past { interval_ns: 100_000_000, longest_regular_ns: 112_500_000, ..Past::default() };
        history.arrivals = (1..=3)
            .map(|sequence| Arrival { stamp_ns: sequence * 100_000_000, sent_ns: sequence * 100_000_000, sequence })
            .collect();
        Ok(vec![history.told(2, "private", 400_000_000, limit)])
    }

    fn metrics(&self) -> String {
        "heartbeat_quorate 1\n".to_owned()
    }

    fn events(&self) -> &EventLog {
        &self.events
    }

    fn why(&self, about: Option<&About>) -> Result<Why, Failure> {
        let nodes = [(1, "alpha".to_owned()), (2, "bravo".to_owned())].into();
        let networks = [(1, "private".to_owned())].into();
        let events = self.events.query(&Filter::default(), usize::MAX);
        explain(&events, about, Names { local: 1, nodes: &nodes, networks: &networks })
    }

    async fn operate(&self, operation: Operation, caller: Caller) -> Result<Done, Failure> {
        let text = format!("{operation:?} by {:?}", caller.uid);
        if operation == Operation::ConfirmFenced(NodeName::Id(9)) {
            return Err(Failure::new("there is no node 9", "known: alpha (1)"));
        }
        Ok(Done { done: operation.name().to_owned(), text, view: self.status.view.clone() })
    }
}

/// A socket with a fixed status behind it.
pub(crate) struct Node {
    directory: tempfile::TempDir,
    /// What it answers from.
    pub(crate) source: Arc<Fixed>,
    _runtime: tokio::runtime::Runtime,
}

impl Node {
    /// Listens.
    pub(crate) fn start(quorate: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut status: Status = serde_json::from_str(STATUS).unwrap();
        status.view.quorate = quorate;
        let events = EventLog::open(1, directory.path()).unwrap();
        let source = Arc::new(Fixed { status, events });
        let listener = Listener::bind(directory.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(serve(listener, Arc::clone(&source), Arc::new(Counters::default())));
        Self { directory, source, _runtime: runtime }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("heartbeat.sock")
    }
}
