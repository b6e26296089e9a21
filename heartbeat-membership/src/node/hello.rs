//! The handshake, driven: who is called, what is answered, what a proof changes.

use super::Node;
use crate::action::Action;
use crate::event::{Detail, EventId};
use crate::handshake::Proof;
use crate::ids::{Incarnation, NetworkId, NodeId};
use crate::input::ControlMessage;
use crate::message::hello::Statement;
use crate::message::{Answer, Hello, Kind};
use crate::nonce::Nonce;
use crate::peer::Spoken;
use crate::refusal::Refusal;
use crate::time::Now;

/// Which of the two answering messages arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answering {
    Ack,
    Done,
}

impl Node {
    pub(super) fn send_due_hellos(&mut self, now: Now) {
        if self.stopped {
            return;
        }
        if self.peers.note_next_hello().is_none_or(|(due_ns, _)| due_ns > now.mono_ns) {
            return;
        }
        let mut due = Vec::new();
        for id in self.peers.due_hellos(now.mono_ns) {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.handshake.take_hello(now.mono_ns) {
                due.push((id, peer.handshake.challenge(now.mono_ns, &mut self.nonces), peer.networks()));
            }
        }
        for (id, challenge, networks) in due {
            let body = Hello { challenge, statement: self.statement(id, None) }.encode();
            for network in networks {
                self.send(id, network, Kind::Hello, body.clone());
            }
        }
    }

    /// Answered whatever it says, and never believed: it may be a replay.
    pub(super) fn on_hello(&mut self, now: Now, message: &ControlMessage) -> Result<(), Refusal> {
        let hello = Hello::decode(&message.body).map_err(|_| Refusal::Malformed)?;
        check_sender(message, &hello.statement)?;
        self.heed_duplicate(now, message.source, &hello.statement);
        let peer = self.peers.get_mut(&message.source).ok_or(Refusal::UnknownPeer)?;
        let challenge = peer.handshake.challenge(now.mono_ns, &mut self.nonces);
        let answer = self.answer(message, challenge, hello.challenge, hello.statement.incarnation);
        self.send(message.source, message.network, Kind::HelloAck, answer);
        Ok(())
    }

    /// Believed if it answers an outstanding challenge: then it was made after that was drawn.
    pub(super) fn on_answer(&mut self, now: Now, message: &ControlMessage, which: Answering) -> Result<(), Refusal> {
        let answer = Answer::decode(&message.body).map_err(|_| Refusal::Malformed)?;
        check_sender(message, &answer.statement)?;
        let statement = answer.statement;
        let peer = self.peers.get_mut(&message.source).ok_or(Refusal::UnknownPeer)?;
        if !peer.handshake.answers(&answer.answer, now.mono_ns) {
            return Err(Refusal::StaleAnswer);
        }
        if statement.receiver != self.incarnation.0 {
            return Err(Refusal::OtherReceiver);
        }
        peer.spoken = Some(Spoken {
            incarnation: statement.incarnation,
            in_view: statement.in_view,
            to: self.incarnation,
            digest: statement.digest,
            abi: statement.abi,
        });
        if !self.compare_configs(now, message.source, &statement) {
            return Err(Refusal::ConfigDiffers);
        }
        self.follow_config(now, &statement);
        self.heed_duplicate(now, message.source, &statement);
        if self.contends(now, message.source, statement.incarnation) {
            return Err(Refusal::DuplicateId);
        }
        let peer = self.peers.get_mut(&message.source).ok_or(Refusal::UnknownPeer)?;
        let proof = peer.handshake.prove(statement.incarnation);
        match proof {
            Proof::New | Proof::Again => {
                let slack_ns = self.config.timing.slack_ns();
                peer.reset_links(now.mono_ns, slack_ns);
                peer.start_windows(&answer.next);
                if let Some(membership) = &mut self.membership {
                    membership.lease.forget(message.source);
                }
                let next = answer.next.into_iter().filter(|entry| peer.links.contains_key(&entry.network)).collect();
                self.actions.push_back(Action::AcceptIncarnation {
                    peer: message.source,
                    incarnation: statement.incarnation,
                    next,
                });
            }
            Proof::Same => {
                if peer.windows.is_empty() {
                    peer.start_windows(&answer.next);
                }
            }
            Proof::Lower | Proof::Departed | Proof::Barred => {}
        }
        let networks = peer.networks();
        self.take_higher_incarnation(statement.highest);
        if which == Answering::Ack {
            let done = self.answer(message, [0; 16], answer.challenge, statement.incarnation);
            // On every network: one lost datagram would cost the peer a hello period.
            for network in networks {
                self.send(message.source, network, Kind::HelloDone, done.clone());
            }
        }
        match proof {
            Proof::New | Proof::Again | Proof::Same => Ok(()),
            Proof::Lower => Err(Refusal::LowerIncarnation),
            Proof::Departed => Err(Refusal::DepartedIncarnation),
            Proof::Barred => Err(Refusal::RemovedIncarnation),
        }
    }

    pub(super) fn on_other_incarnation(&mut self, now: Now, id: NodeId, incarnation: Incarnation) {
        let Some(peer) = self.peers.get_mut(&id) else {
            self.refuse(Refusal::UnknownPeer);
            return;
        };
        // A lower one is called as well: only a fresh answer tells it that it must take a higher one. Should this be a
        // replay, the living incarnation answers and the calling ends.
        if peer.handshake.is_barred(incarnation.0) {
            self.poison(now, id, incarnation);
            return;
        }
        if incarnation.0 != peer.handshake.highest() || peer.handshake.next_hello_ns().is_some() {
            peer.handshake.call_who_is_heard(now.mono_ns);
        }
    }

    pub(super) fn on_incarnation_taken(&mut self, now: Now, incarnation: Incarnation) {
        if incarnation <= self.incarnation || self.taking.is_some_and(|at_least| incarnation < at_least) {
            self.refuse(Refusal::IncarnationTooLow);
            return;
        }
        self.incarnation = incarnation;
        self.taking = None;
        if let Some(membership) = &mut self.membership {
            membership.begin_life(now);
        }
        // Rows are counted anew.
        self.component_known = None;
        let slack_ns = self.config.timing.slack_ns();
        for (id, peer) in self.peers.iter_mut() {
            peer.windows.clear();
            // The kernel must not echo for this life what an earlier one has heard.
            if peer.handshake.begin_life(now.mono_ns) {
                peer.reset_links(now.mono_ns, slack_ns);
                self.actions.push_back(Action::ClearIncarnation { peer: *id });
            }
        }
    }

    fn take_higher_incarnation(&mut self, known: u64) {
        let at_least = Incarnation(known.saturating_add(1));
        if known <= self.incarnation.0 {
            return;
        }
        self.take_incarnation(at_least);
    }

    pub(super) fn take_incarnation(&mut self, at_least: Incarnation) {
        if self.taking.is_none_or(|asked| asked < at_least) {
            self.taking = Some(at_least);
            self.actions.push_back(Action::TakeIncarnation { at_least });
        }
    }

    fn answer(&self, message: &ControlMessage, challenge: Nonce, answer: Nonce, receiver: Incarnation) -> Vec<u8> {
        let statement = self.statement(message.source, Some(receiver));
        let shared =
            |network: NetworkId| self.peers.get(&message.source).is_some_and(|peer| peer.links.contains_key(&network));
        let next = message.next.iter().copied().filter(|entry| shared(entry.network)).collect();
        Answer { challenge, answer, statement, next }.encode()
    }

    fn statement(&self, id: NodeId, receiver: Option<Incarnation>) -> Statement {
        let handshake = self.peers.get(&id).map(|peer| &peer.handshake);
        let accepted = handshake.and_then(crate::handshake::Handshake::accepted);
        Statement {
            incarnation: self.incarnation,
            receiver: receiver.or(accepted).map_or(0, |incarnation| incarnation.0),
            highest: handshake.map_or(0, crate::handshake::Handshake::highest),
            abi: self.config.abi,
            in_view: self.view_number() != 0,
            duplicate: self.is_duplicate(id),
            digest: self.config.digest,
            staged: self.staged_digest(),
        }
    }

    /// Whether a peer's configuration goes together with this one; tells where it does not.
    fn compare_configs(&mut self, now: Now, id: NodeId, theirs: &Statement) -> bool {
        if theirs.abi != self.config.abi {
            let detail = Detail::AbiDiffers { ours: self.config.abi, theirs: theirs.abi };
            let text = format!("Node {} runs another version of the kernel records.", self.peer_name(id));
            self.event_seldom(now, EventId::AbiDiffers, id, text, detail);
        }
        if self.goes_together(theirs) {
            return true;
        }
        let detail = Detail::ConfigDiffers {
            ours: self.config.digest,
            our_staged: self.staged_digest(),
            theirs: theirs.digest,
            their_staged: theirs.staged,
        };
        let (name, ours, theirs) = (self.peer_name(id), self.config.digest, theirs.digest);
        let text = format!("Node {name} is refused: its configuration is {theirs}, that of this node is {ours}.");
        self.event_seldom(now, EventId::ConfigDiffers, id, text, detail);
        false
    }
}

fn check_sender(message: &ControlMessage, statement: &Statement) -> Result<(), Refusal> {
    if message.incarnation == statement.incarnation.0 { Ok(()) } else { Err(Refusal::IncarnationMismatch) }
}
