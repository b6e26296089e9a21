//! Orders of operators: what is refused at once, what the reactor is asked to do, and what they are told afterwards.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use heartbeat_membership::{NodeId, Refusal, Snapshot};
use tokio::{
    sync::{Notify, oneshot},
    time::{error::Elapsed, timeout},
};

use super::{announce::announce, source::NodeSource};
use crate::{
    api::{Caller, Done, Failure, NodeName, Operation},
    clock,
    config::Node,
    event::{Draft, Filter, Followed, Follower, kind},
    reactor::queue::{Command, Order},
};

/// How long an order may take. The reactor makes a pass at least every half second; a view of one node is installed as soon
/// as its form epoch is on disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// Orders on their way to the reactor, and the wish to leave.
#[derive(Debug, Default)]
pub(super) struct Orders {
    waiting: Mutex<Waiting>,
    leave: Notify,
    leaving: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    last_ticket: u64,
    /// Who waits, by ticket: at most as many as the socket serves clients.
    answers: BTreeMap<u64, oneshot::Sender<Option<Refusal>>>,
}

impl Orders {
    /// The reactor has carried out an order, or refused it.
    pub(super) fn carried(&self, ticket: u64, refusal: Option<Refusal>) {
        if let Some(answer) = self.waiting().answers.remove(&ticket) {
            // Whoever asked may have lost patience.
            let _heard = answer.send(refusal);
        }
    }

    /// The node is about to leave: from here on it waits for nothing that may not come.
    pub(super) fn begin_to_leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether the node is about to leave.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Waits until an operator wants the node to leave.
    pub(super) async fn leave_wanted(&self) {
        self.leave.notified().await;
    }

    fn issue(&self) -> (u64, oneshot::Receiver<Option<Refusal>>) {
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.last_ticket += 1;
        let ticket = waiting.last_ticket;
        waiting.answers.insert(ticket, answer);
        (ticket, receiver)
    }

    fn forget(&self, ticket: u64) {
        self.waiting().answers.remove(&ticket);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A panic elsewhere leaves the map whole: it is changed by single operations.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeSource {
    /// Carries out an order, and says what state things are in now.
    pub(super) async fn carry_out(&self, operation: Operation, caller: Caller) -> Result<Done, Failure> {
        let text = match &operation {
            Operation::Leave => self.leave(caller),
            Operation::FormForced => self.form_forced(caller).await?,
            Operation::ConfirmFenced(name) => self.confirm_fenced(name, caller).await?,
            Operation::ClearQuarantine(name) => self.clear_quarantine(name, caller).await?,
        };
        Ok(Done { done: operation.name().to_owned(), text, view: self.view_now() })
    }

    fn leave(&self, caller: Caller) -> String {
        let own = self.own_node();
        self.tell_order(caller, "leave", None, format!("Ordered by {caller}: this node leaves the cluster"));
        self.orders().leave.notify_one();
        let view = self.view_now();
        if view.number == 0 {
            return format!("{} is in no view. It ends.", own.name);
        }
        let others: Vec<String> = view
            .members
            .iter()
            .filter(|member| **member != own.id)
            .filter_map(|member| self.node_name(*member))
            .collect();
        let others = if others.is_empty() { "nobody".to_owned() } else { others.join(", ") };
        format!(
            "{} stops acting, gives up its lease and leaves view {}, in which {others} stays. It ends.",
            own.name, view.number
        )
    }

    async fn form_forced(&self, caller: Caller) -> Result<String, Failure> {
        let view = self.view_now();
        if view.number != 0 {
            return Err(Failure::new(
                format!("{} is in view {} already", self.own_node().name, view.number),
                "a node forms only while it is in none: `heartbeat status`",
            ));
        }
        let (_, follower) = self.log().follow(Filter { id: Some(kind::VIEW_INSTALLED.id), ..Filter::default() }, 0);
        self.tell_order(
            caller,
            "form",
            None,
            format!(
                "Ordered by {caller}, on whose word all other nodes are off: a cluster is formed without a majority"
            ),
        );
        match self.order(Order::FormForced).await? {
            None => {}
            Some(refusal) => {
                return Err(refused(
                    refusal,
                    "it is not in a state to form: it is in a view, or has agreed to one",
                    "look at `heartbeat status`; what it has agreed to comes about, or is given up within a minute",
                ));
            }
        }
        if timeout(PATIENCE, first(follower)).await.is_err() {
            return Err(Failure::new(
                "the view was agreed to, but is not installed yet",
                "look at `heartbeat status` and `heartbeat events`: the new form epoch has to be written to state_dir first",
            ));
        }
        let view = self.view_now();
        Ok(format!(
            "On the word of {caller} that all other nodes are off, {} formed view {} alone. Nodes that are started now join \
             it; a cluster that was formed earlier stops where it meets this one.",
            self.own_node().name,
            view.number
        ))
    }

    async fn confirm_fenced(&self, name: &NodeName, caller: Caller) -> Result<String, Failure> {
        let node = self.resolve(name)?;
        if node.id == self.own_node().id {
            return Err(Failure::new(
                format!("{} cannot say of itself that it is off", node.name),
                "say it on a node that goes on",
            ));
        }
        let (id, name) = (node.id, node.name.clone());
        self.tell_order(
            caller,
            "confirm_fenced",
            Some(id),
            format!("Ordered by {caller}, on whose word node {name} is off: it may be taken over from"),
        );
        match self.order(Order::ConfirmFenced(id)).await? {
            None => {
                Ok(format!("On the word of {caller} that {name} is off, what it did may be taken over now (9008)."))
            }
            Some(refusal) => Err(refused(
                refusal,
                &format!("no removal of {name} waits to become safe here"),
                &format!(
                    "confirm on a node that reported its removal (1135) and not yet that it is safe (9008): `heartbeat why \
                     {name}`"
                ),
            )),
        }
    }

    async fn clear_quarantine(&self, name: &NodeName, caller: Caller) -> Result<String, Failure> {
        let node = self.resolve(name)?;
        let (id, name) = (node.id, node.name.clone());
        let stood = self.snapshot().is_some_and(|snapshot| is_quarantined(&snapshot, id));
        self.tell_order(
            caller,
            "clear_quarantine",
            Some(id),
            format!("Ordered by {caller}: node {name} is let in again, and its removals are forgotten"),
        );
        if let Some(refusal) = self.order(Order::ClearQuarantine(id)).await? {
            return Err(refused(refusal, "this node takes no part in membership now", "try again: `heartbeat status`"));
        }
        let was =
            if stood { "is no longer kept out here" } else { "was not kept out here; its removals are forgotten" };
        // Each node counts for itself, and the leader is who lets others in.
        let leader = self.view_now().members.first().copied();
        let elsewhere = leader
            .filter(|leader| *leader != self.own_node().id)
            .and_then(|leader| self.node_name(leader))
            .map(|leader| format!(" {leader} leads the view and lets nodes in: clear it there as well."))
            .unwrap_or_default();
        Ok(format!("{name} {was}.{elsewhere}"))
    }

    /// Asks the reactor, and waits for what the core said.
    async fn order(&self, order: Order) -> Result<Option<Refusal>, Failure> {
        let busy = || Failure::new("the node has not taken the order", "try again; `heartbeat status` says how it is");
        let mailbox = self.mailbox().ok_or_else(busy)?;
        let (ticket, answer) = self.orders().issue();
        if !mailbox.command(Command::Ordered { ticket, order }) {
            self.orders().forget(ticket);
            return Err(busy());
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(refusal)) => Ok(refusal),
            Ok(Err(_)) | Err(Elapsed { .. }) => {
                self.orders().forget(ticket);
                Err(Failure::new(
                    format!("the node has not carried out the order within {} s", PATIENCE.as_secs()),
                    "it may still do so: look at `heartbeat events`",
                ))
            }
        }
    }

    pub(super) fn resolve(&self, name: &NodeName) -> Result<Node, Failure> {
        let configured = self.configured();
        let wanted = |node: &&Node| match name {
            NodeName::Id(id) => node.id == *id,
            NodeName::Name(name) => node.name == *name,
        };
        configured.iter().find(wanted).cloned().ok_or_else(|| {
            let known: Vec<String> = configured.iter().map(|node| format!("{} ({})", node.name, node.id)).collect();
            Failure::new(
                format!("there is no node {name} in the configuration"),
                format!("known: {}", known.join(", ")),
            )
        })
    }

    fn tell_order(&self, caller: Caller, order: &str, peer: Option<u16>, text: String) {
        let mut draft = Draft::new(&kind::OPERATOR_ORDER, clock::monotonic_ns(), text);
        draft.peer = peer;
        draft.view = self.view_now().number;
        draft.detail = serde_json::json!({ "order": order, "uid": caller.uid });
        announce(self.log(), draft);
    }
}

/// Whether a node is kept out here for having been removed again and again.
pub(super) fn is_quarantined(snapshot: &Snapshot, node: u16) -> bool {
    snapshot.membership.as_ref().is_some_and(|membership| membership.quarantined.contains_key(&NodeId(node)))
}

async fn first(mut follower: Follower) {
    while !matches!(follower.next().await, Some(Followed::Event(_)) | None) {}
}

fn refused(refusal: Refusal, otherwise: &str, remedy: &str) -> Failure {
    if refusal == Refusal::Stopped {
        Failure::new("the node is leaving", "nothing more can be ordered of it")
    } else if refusal == Refusal::NoMembership {
        Failure::new("the node has stopped, and is about to begin anew", "try again in a moment: `heartbeat status`")
    } else {
        Failure::new(otherwise, remedy)
    }
}
