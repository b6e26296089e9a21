//! Heartbeats and control messages on their way.

use std::sync::Arc;

use heartbeat_membership::{ControlMessage, Incarnation, Input, Kind, NetworkId, NextSequences, NodeId};

use super::{Happening, World};
use crate::kernel::Heartbeat;

/// Kinds from here on are numbered and belong to a proven incarnation; those below are the handshake.
const FIRST_NUMBERED: u8 = 20;

/// Datagrams that an eavesdropper keeps.
const CAPTURED: usize = 512;

/// Bytes of header and tag of a control message.
const ENVELOPE: u64 = 104;

/// What a datagram carries.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// A control message.
    Control(Letter),
}

/// A control message on its way, without what only the receiver knows.
#[derive(Debug, Clone)]
pub struct Letter {
    network: NetworkId,
    source: NodeId,
    incarnation: Incarnation,
    sequence: u64,
    /// Its kind.
    pub kind: u8,
    /// Its body: a thousand nodes are sent the same, each on every network.
    pub body: Arc<[u8]>,
}

impl World {
    pub(super) fn beat(&mut self, index: usize, life: u64) {
        let (true_ns, interval_ns) = (self.true_ns, self.config.timing.interval_ns);
        let machine = &mut self.machines[index];
        if machine.life != life {
            return;
        }
        let now = machine.now(true_ns);
        let next_ns = machine.clock.to_true(now.mono_ns + interval_ns) - true_ns;
        self.after(next_ns, Happening::Beat(index, life));
        let machine = &self.machines[index];
        let (Some(incarnation), source) = (machine.incarnation(), machine.id) else { return };
        if machine.mute || machine.killed {
            return;
        }
        let networks: Vec<_> = self.config.networks.iter().map(|network| network.id).collect();
        let peers: Vec<_> = self.machines.iter().map(|peer| peer.id).filter(|id| *id != source).collect();
        for peer in peers {
            for network in &networks {
                let machine = &mut self.machines[index];
                let sequence = machine.take_sequence(peer, *network, false);
                let echo_ns = machine.kernel.echo_for(peer, *network);
                let sent_ns = now.mono_ns;
                let beat = machine.beat;
                let heartbeat = Heartbeat { source, network: *network, incarnation, sequence, sent_ns, echo_ns, beat };
                self.transmit(source, peer, *network, Frame::Heartbeat(heartbeat));
            }
        }
        self.feed(index, Input::Timer);
    }

    /// Sends what a core wants to have sent.
    pub(super) fn post(&mut self, index: usize, to: NodeId, network: NetworkId, kind: Kind, body: &[u8]) {
        let machine = &mut self.machines[index];
        let Some(incarnation) = machine.incarnation() else { return };
        let sequence = machine.take_sequence(to, network, true);
        let source = machine.id;
        let body = match &machine.posted {
            Some(posted) if **posted == *body => posted.clone(),
            Some(_) | None => machine.posted.insert(body.into()).clone(),
        };
        self.sent.0 += 1;
        self.sent.1 += body.len() as u64 + ENVELOPE;
        let letter = Letter { network, source, incarnation, sequence, kind: kind.byte(), body };
        self.transmit(source, to, network, Frame::Control(letter));
    }

    /// Sends a datagram: it may be lost, delayed, duplicated, and is perhaps captured.
    pub(super) fn transmit(&mut self, from: NodeId, to: NodeId, network: NetworkId, frame: Frame) {
        let Some(index) = self.index_of(to) else { return };
        let control = matches!(frame, Frame::Control(_));
        if let (Frame::Control(letter), true) = (&frame, self.tap == Some(index)) {
            let message = letter.open(Vec::new());
            self.tapped.push(message);
        }
        if control && self.control_cuts.contains(&(from, to)) {
            return;
        }
        if self.cuts.contains(&(network, from, to)) || self.random.chance(self.loss) {
            return;
        }
        // Only what arrives as well: to hold back a datagram and deliver it first later is delay, not replay.
        if self.random.chance(20) {
            let captured = (index, frame.clone());
            if self.captured.len() < CAPTURED {
                self.captured.push(captured);
            } else {
                let slot = self.random.index(CAPTURED);
                self.captured[slot] = captured;
            }
        }
        if self.random.chance(self.duplication) {
            let delay_ns = 50_000 + self.random.below(self.delay_ns);
            self.after(delay_ns, Happening::Arrive(index, frame.clone()));
        }
        let delay_ns = 50_000 + self.random.below(self.delay_ns);
        self.after(delay_ns, Happening::Arrive(index, frame));
    }

    /// Where the machine with this id is: machines stand in the order of their ids, mostly without gaps.
    fn index_of(&self, id: NodeId) -> Option<usize> {
        let guess = usize::from(id.0).checked_sub(1)?;
        if self.machines.get(guess).is_some_and(|machine| machine.id == id) {
            return Some(guess);
        }
        self.machines.iter().position(|machine| machine.id == id)
    }

    /// When a heartbeat was sent, in true time.
    fn sent_true_ns(&self, heartbeat: &Heartbeat) -> u64 {
        let sender = self.machines.iter().find(|machine| machine.id == heartbeat.source);
        sender.map_or(0, |sender| sender.clock.to_true(heartbeat.sent_ns))
    }

    pub(super) fn arrive(&mut self, index: usize, frame: Frame) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        let Some(own) = machine.incarnation() else { return };
        match frame {
            Frame::Heartbeat(heartbeat) => {
                let now = machine.now(true_ns);
                let to = (machine.id, own);
                let (told, accepted) = machine.kernel.receive(&heartbeat, now.mono_ns);
                let unaware = machine.unaware.filter(|_| accepted);
                if let Some((length_ns, since_ns)) = unaware
                    && self.sent_true_ns(&heartbeat) > since_ns
                {
                    // What a driver that runs sees: send times and stamps are apart by less than they were.
                    self.machines[index].fresh = true;
                    self.notice_stun(index, length_ns);
                }
                if accepted {
                    self.checker.accepted((heartbeat.source, heartbeat.incarnation), to, heartbeat.sent_ns, true_ns);
                }
                for input in told {
                    self.feed(index, input);
                }
            }
            Frame::Control(letter) => {
                // Only a handshake tells its peer where the windows begin.
                let next = if letter.kind < FIRST_NUMBERED {
                    let networks: Vec<_> = self.config.networks.iter().map(|network| network.id).collect();
                    machine.next_sequences(letter.source, &networks)
                } else {
                    Vec::new()
                };
                self.feed(index, Input::Control(letter.open(next)));
            }
        }
    }
}

impl Letter {
    /// What the receiver is given; `next` is what its own kernel knows.
    fn open(&self, next: Vec<NextSequences>) -> ControlMessage {
        let Self { network, source, incarnation, sequence, kind, body } = self;
        ControlMessage {
            network: *network,
            source: *source,
            incarnation: incarnation.0,
            sequence: *sequence,
            kind: *kind,
            body: body.to_vec(),
            next,
        }
    }
}
