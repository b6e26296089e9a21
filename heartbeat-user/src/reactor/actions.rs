//! The core's actions, carried out in the order in which it gives them.

use std::sync::atomic::Ordering;

use heartbeat_common::{
    ids,
    records::{NodeRecord, SequenceRecord},
};
use heartbeat_membership::{Action, Incarnation, Input, MembershipAction, NetworkId, NodeId};

use super::{ACTIONS_PER_PASS, Loop, queue::Report};
use crate::{
    clock,
    control::Envelope,
    dataplane::peers::{self, Start},
};

impl Loop {
    pub(super) fn act(&mut self) {
        for _action in 0..ACTIONS_PER_PASS {
            if self.awaited_epoch.is_some() {
                return;
            }
            let Some(action) = self.core.poll_action() else { return };
            self.recorder.action(&action);
            self.changed |= shows(&action);
            match action {
                Action::Send { peer, network, kind, body } => self.send(peer, network, kind.byte(), &body),
                Action::AcceptIncarnation { peer, incarnation, next } => {
                    let starts: Vec<Start> = next
                        .iter()
                        .map(|next| Start { network: next.network.0, unicast: next.unicast, multicast: next.multicast })
                        .collect();
                    // Before the kernel may say anything about it.
                    self.accepted.insert(peer.0, incarnation.0);
                    let now_ns = clock::monotonic_ns();
                    peers::accept(&self.dataplane.memory, peer.0, incarnation.0, &starts, now_ns);
                }
                Action::ClearIncarnation { peer } => {
                    peers::clear(&self.dataplane.memory, peer.0);
                    self.accepted.remove(&peer.0);
                }
                Action::TakeIncarnation { at_least } => {
                    // From here on nothing is sent until there is a new one: the old one must not be seen again.
                    self.set_incarnation(0);
                    self.mailbox.demand_incarnation(at_least.0);
                }
                Action::Membership(action) => self.act_membership(action),
                Action::Event(event) => self.report(Report::Event(event)),
                Action::Stop => {
                    self.stopping = true;
                    return;
                }
            }
        }
    }

    /// A new incarnation has been persisted: numbers start again, then it is shown to the senders, then to the core.
    pub(super) fn take_incarnation(&mut self, incarnation: u64) {
        let sequences = &self.dataplane.memory.sequences;
        for index in 0..u32::try_from(sequences.len()).unwrap_or(0) {
            for offset in
                [std::mem::offset_of!(SequenceRecord, heartbeats), std::mem::offset_of!(SequenceRecord, control)]
            {
                if let Some(counter) = sequences.word(index, offset) {
                    counter.store(0, Ordering::SeqCst);
                }
            }
        }
        self.set_incarnation(incarnation);
        self.feed(Input::IncarnationTaken { incarnation: Incarnation(incarnation) });
    }

    fn set_incarnation(&mut self, incarnation: u64) {
        self.dataplane.tables.node.incarnation = incarnation;
        if let Some(word) = self.dataplane.memory.node.word(0, std::mem::offset_of!(NodeRecord, incarnation)) {
            word.store(incarnation, Ordering::SeqCst);
        }
    }

    fn send(&mut self, peer: NodeId, network: NetworkId, kind: u8, body: &[u8]) {
        let socket = self.sockets.iter().find(|socket| socket.network == network.0);
        let (Some(socket), Some(address)) = (socket, self.routes.get(&(peer.0, network.0))) else {
            // The core names only peers and networks of the configuration; both are there for each of them.
            self.statistics.count_send_failure();
            return;
        };
        let node = &self.dataplane.tables.node;
        let sequence = self
            .dataplane
            .memory
            .sequences
            .word(ids::link_index(peer.0, network.0), std::mem::offset_of!(SequenceRecord, control))
            .map_or(0, |counter| counter.fetch_add(1, Ordering::SeqCst) + 1);
        let envelope = Envelope {
            kind,
            destination: peer.0,
            network: network.0,
            incarnation: node.incarnation,
            sequence,
            sent_ns: clock::monotonic_ns(),
            view: node.view,
        };
        match self.signer.seal(&envelope, body, &mut self.message) {
            Ok(()) => {
                if socket.send(&self.message, *address).is_err() {
                    self.statistics.count_send_failure();
                }
            }
            Err(error) => self.report(Report::MessageTooLong { kind: error.kind, length: error.length }),
        }
    }
}

/// Whether a snapshot looks different behind this action. A lease that is renewed does not, see there.
fn shows(action: &Action) -> bool {
    match action {
        Action::Send { .. } | Action::Membership(MembershipAction::Lease { .. }) => false,
        Action::AcceptIncarnation { .. }
        | Action::ClearIncarnation { .. }
        | Action::TakeIncarnation { .. }
        | Action::Membership(_)
        | Action::Event(_)
        | Action::Stop => true,
    }
}
