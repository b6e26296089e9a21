//! The heartbeats of one network.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use heartbeat_common::{
    auth::tag_bytes,
    ids,
    records::{NodeRecord, SequenceRecord},
    wire::{FLAG_MULTICAST, HEARTBEAT_LENGTH, HEARTBEAT_TAGGED_LENGTH, HOLD_UNKNOWN, Heartbeat, KIND_HEARTBEAT},
};

use crate::{
    clock,
    control::{Envelope, Signer},
    dataplane::memory::Memory,
    socket::{
        NetworkSocket,
        batch::{Batch, Sent},
    },
};

const WIRE_LENGTH: u16 = HEARTBEAT_LENGTH as u16;

/// A heartbeat to a group cannot echo what each receiver sent, and without echoes there is no lease: on a network with a
/// group each peer gets one of its own every so many rounds. A lease lasts three intervals longer than `lost_after`, so
/// that one in two leaves room for several that are lost.
const ROUNDS_PER_ECHO: u64 = 2;

/// One network's heartbeats: to each peer, or to the group and now and then to each peer.
pub struct Lane {
    socket: Arc<NetworkSocket>,
    group: Option<Part>,
    peers: Part,
    round: u64,
}

/// Heartbeats that leave in one system call.
struct Part {
    /// Destination nodes in the order of the batch; [`ids::EVERY_NODE`] is the group.
    destinations: Vec<u16>,
    batch: Batch,
}

impl Lane {
    /// To these peers on the network of `socket`, and to its group, where it has one.
    #[must_use]
    pub fn new(socket: Arc<NetworkSocket>, peers: &[(u16, SocketAddr)]) -> Self {
        let group = socket.group_address().map(|group| Part::new(&[(ids::EVERY_NODE, group)]));
        Self { socket, group, peers: Part::new(peers), round: 0 }
    }

    /// Sends what is due in this interval. Nothing is sent before there is an incarnation.
    pub fn send(&mut self, signer: &Signer, memory: &Memory) -> Sent {
        let Some(node) = memory.node.read(0).filter(|node| node.incarnation != 0) else { return Sent::default() };
        let with_echoes = self.group.is_none() || self.round.is_multiple_of(ROUNDS_PER_ECHO);
        self.round += 1;
        let mut sent = Sent::default();
        for part in self.group.iter_mut().chain(with_echoes.then_some(&mut self.peers)) {
            sent.add(&part.send(&self.socket, signer, memory, &node));
        }
        sent
    }
}

impl Lane {
    /// Sends what a metronome does not, by link; what `is_served` says yes to is left to it.
    pub fn send_rest(&mut self, signer: &Signer, memory: &Memory, is_served: impl Fn(u32) -> bool) -> Sent {
        let Some(node) = memory.node.read(0).filter(|node| node.incarnation != 0) else { return Sent::default() };
        let mut sent = Sent::default();
        for part in self.group.iter_mut().chain([&mut self.peers]) {
            sent.add(&part.send_rest(&self.socket, signer, memory, &node, &is_served));
        }
        sent
    }
}

impl Part {
    fn new(targets: &[(u16, SocketAddr)]) -> Self {
        let (destinations, addresses): (Vec<u16>, Vec<SocketAddr>) = targets.iter().copied().unzip();
        Self { destinations, batch: Batch::new(&addresses) }
    }

    fn send(&mut self, socket: &NetworkSocket, signer: &Signer, memory: &Memory, node: &NodeRecord) -> Sent {
        for (destination, message) in self.destinations.iter().zip(self.batch.messages()) {
            *message = compose(signer, memory, node, *destination, socket.network);
        }
        self.batch.send(socket.unicast())
    }
}

impl Part {
    fn send_rest(
        &mut self,
        socket: &NetworkSocket,
        signer: &Signer,
        memory: &Memory,
        node: &NodeRecord,
        is_served: &impl Fn(u32) -> bool,
    ) -> Sent {
        let mut sent = Sent::default();
        for (position, destination) in self.destinations.iter().enumerate() {
            if is_served(ids::link_index(*destination, socket.network)) {
                continue;
            }
            if let Some(message) = self.batch.messages().get_mut(position) {
                *message = compose(signer, memory, node, *destination, socket.network);
            }
            sent.add(&self.batch.send_one(socket.unicast(), position));
        }
        sent
    }
}

fn compose(signer: &Signer, memory: &Memory, node: &NodeRecord, destination: u16, network: u8) -> Heartbeat {
    let index = ids::link_index(destination, network);
    let sequence = memory
        .sequences
        .word(index, std::mem::offset_of!(SequenceRecord, heartbeats))
        .map_or(0, |counter| counter.fetch_add(1, Ordering::Relaxed) + 1);
    let multicast = destination == ids::EVERY_NODE;
    let now_ns = clock::monotonic_ns();
    let (echo_sent_ns, echo_hold_us) = if multicast { (0, HOLD_UNKNOWN) } else { echo(memory, index, now_ns) };
    let age_ns = now_ns.saturating_sub(node.controller_pass_ns);
    let envelope = Envelope {
        kind: KIND_HEARTBEAT,
        destination,
        network,
        incarnation: node.incarnation,
        sequence,
        sent_ns: now_ns,
        view: node.view,
    };
    let mut heartbeat = Heartbeat {
        header: signer.header(&envelope, if multicast { FLAG_MULTICAST } else { 0 }, WIRE_LENGTH),
        echo_sent_ns: echo_sent_ns.to_be_bytes(),
        echo_hold_us: echo_hold_us.to_be_bytes(),
        controller_age_ms: u32::try_from(age_ns / 1_000_000).unwrap_or(u32::MAX).to_be_bytes(),
        controller_beat: node.controller_beat.to_be_bytes(),
        tag: [0; 16],
    };
    let tagged: &[u8; HEARTBEAT_TAGGED_LENGTH] =
        heartbeat.as_bytes().first_chunk().unwrap_or_else(|| unreachable!("a heartbeat is longer than what is tagged"));
    heartbeat.tag = tag_bytes(signer.heartbeat_key, tagged).to_bytes();
    heartbeat
}

/// What the destination needs to know that we hear it: its newest `sent_ns`, and how long ago it arrived. Both come from
/// one consistent read; a record of an incarnation that is no longer accepted gives nothing.
fn echo(memory: &Memory, index: u32, now_ns: u64) -> (u64, u32) {
    const NONE: (u64, u32) = (0, HOLD_UNKNOWN);
    let (Some(peer), Some(link)) = (memory.peers.read(index), memory.links.read_locked(index)) else { return NONE };
    if peer.incarnation == 0 || link.epoch != peer.epoch || link.stamp_ns == 0 {
        return NONE;
    }
    let hold_us = now_ns.saturating_sub(link.stamp_ns) / 1_000;
    // The largest value means "unknown"; a hold that long saturates just below it.
    (link.sent_ns, u32::try_from(hold_us).unwrap_or(HOLD_UNKNOWN).min(HOLD_UNKNOWN - 1))
}

#[cfg(test)]
mod tests;
