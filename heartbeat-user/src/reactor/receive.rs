//! Datagrams of the control sockets.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use heartbeat_common::{ids, records::SequenceRecord, reject::Reject, verify::Message};
use heartbeat_membership::{ControlMessage, Input, NetworkId, NextSequences, NodeId};

use super::{Loop, Setup};
use crate::{
    clock, control,
    dataplane::{
        Mode,
        memory::Memory,
        receive::{self, Booked, Received},
    },
    reload::shared::Routes,
    socket::{
        NetworkSocket,
        receive::{BUFFER_LENGTH, Incoming, monotonic_stamp, receive},
    },
};

/// Datagrams taken from one socket in one pass. A flood that passes the kernel's checks and token buckets may keep the
/// socket full; the reactor still reaches its timers.
const DATAGRAMS_PER_PASS: usize = 256;

/// What receiving needs.
pub(super) struct Receiver {
    inlets: Vec<Inlet>,
    buffer: Box<[u8; BUFFER_LENGTH]>,
    control_keys: BTreeMap<u8, [u8; 32]>,
    networks_of: BTreeMap<u16, Vec<u8>>,
}

/// One socket.
struct Inlet {
    socket: Arc<NetworkSocket>,
    multicast: bool,
    /// When it was last seen empty: what arrives later cannot be older.
    empty_ns: u64,
}

impl Receiver {
    pub(super) fn new(setup: &Setup) -> Self {
        let now_ns = clock::monotonic_ns();
        let inlets = setup
            .sockets
            .iter()
            .flat_map(|socket| {
                let inlet = |multicast| Inlet { socket: Arc::clone(socket), multicast, empty_ns: now_ns };
                let group = socket.group().is_some().then(|| inlet(true));
                std::iter::once(inlet(false)).chain(group)
            })
            .collect();
        let networks_of = networks_of(&setup.routes);
        Self { inlets, buffer: Box::new([0; BUFFER_LENGTH]), control_keys: setup.control_keys.clone(), networks_of }
    }

    /// Peers are reached in other ways from now on.
    pub(super) fn follow_routes(&mut self, routes: &Routes) {
        self.networks_of = networks_of(routes);
    }

    /// Accepts control messages with these keys from now on; gives the ones before.
    pub(super) fn swap_control_keys(&mut self, keys: &mut BTreeMap<u8, [u8; 32]>) {
        std::mem::swap(&mut self.control_keys, keys);
    }
}

/// The networks of each peer.
fn networks_of(routes: &Routes) -> BTreeMap<u16, Vec<u8>> {
    let mut networks: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    for (node, network) in routes.keys() {
        networks.entry(*node).or_default().push(*network);
    }
    networks
}

impl Loop {
    /// Takes what has arrived, socket by socket.
    pub(super) fn take_datagrams(&mut self) {
        for index in 0..self.receiver.inlets.len() {
            for _datagram in 0..DATAGRAMS_PER_PASS {
                let Receiver { inlets, buffer, .. } = &mut self.receiver;
                let inlet = &mut inlets[index];
                let descriptor = if inlet.multicast { inlet.socket.group() } else { Some(inlet.socket.unicast()) };
                let Some(descriptor) = descriptor else { break };
                let looked_ns = clock::monotonic_ns();
                match receive(descriptor, buffer) {
                    Ok(Some(incoming)) => self.take_datagram(index, &incoming),
                    Ok(None) => {
                        inlet.empty_ns = looked_ns;
                        break;
                    }
                    // An error that was queued for the socket (an ICMP answer to something sent) is taken by reading it.
                    Err(_) => self.statistics.count_socket_error(),
                }
            }
        }
    }

    fn take_datagram(&mut self, index: usize, incoming: &Incoming) {
        let inlet = &self.receiver.inlets[index];
        let network = inlet.socket.network;
        let Some(payload) = self.receiver.buffer.get(..incoming.length) else { return };
        let received = Received {
            payload,
            source: incoming.source,
            network,
            multicast: inlet.multicast,
            time_to_live: incoming.time_to_live,
            stamp_ns: monotonic_stamp(incoming, inlet.empty_ns),
        };
        let served_by_socket = self.dataplane.mode(network) == Mode::Socket;
        let verified = match receive::check(&self.dataplane.tables, &received) {
            Ok(verified) => verified,
            Err(reason) => {
                self.counts.reject(reason);
                return;
            }
        };
        match verified.message {
            Message::Heartbeat(_) if !served_by_socket => {
                // It came in while nothing was attached, or on another interface: XDP counts, or nobody does.
                self.counts.ignored.fetch_add(1, Ordering::Relaxed);
            }
            Message::Heartbeat(heartbeat) => {
                let booked = receive::book(
                    &self.dataplane.memory,
                    verified.link,
                    &heartbeat,
                    received.stamp_ns,
                    self.interval_ns,
                );
                let notice = match booked {
                    Booked::Accepted(notice) => {
                        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
                        notice
                    }
                    Booked::Refused(reason, notice) => {
                        self.counts.reject(reason);
                        notice
                    }
                };
                self.notices.extend(notice);
            }
            Message::Control { .. } => self.take_control(incoming.length),
        }
    }

    fn take_control(&mut self, length: usize) {
        let Some(message) = self.receiver.buffer.get(..length) else { return };
        let key = control::key_slot(message).and_then(|slot| self.receiver.control_keys.get(&slot));
        let Some(opened) = key.and_then(|key| control::open(message, key)) else {
            self.counts.reject(Reject::BadTag);
            self.statistics.count_control_refused();
            return;
        };
        let networks = self.receiver.networks_of.get(&opened.source).map_or(&[][..], Vec::as_slice);
        let input = Input::Control(ControlMessage {
            network: NetworkId(opened.network),
            source: NodeId(opened.source),
            incarnation: opened.incarnation,
            sequence: opened.sequence,
            kind: opened.kind,
            body: opened.body.to_vec(),
            next: next_sequences(&self.dataplane.memory, opened.source, networks),
        });
        self.feed(input);
    }
}

/// The numbers that the next datagrams to a peer will carry: where the peer's windows for us start.
fn next_sequences(memory: &Memory, peer: u16, networks: &[u8]) -> Vec<NextSequences> {
    let used = |node, network, offset| {
        memory
            .sequences
            .word(ids::link_index(node, network), offset)
            .map_or(0, |counter| counter.load(Ordering::SeqCst))
    };
    networks
        .iter()
        .map(|network| NextSequences {
            network: NetworkId(*network),
            unicast: used(peer, *network, std::mem::offset_of!(SequenceRecord, heartbeats)) + 1,
            multicast: used(ids::EVERY_NODE, *network, std::mem::offset_of!(SequenceRecord, heartbeats)) + 1,
            control: used(peer, *network, std::mem::offset_of!(SequenceRecord, control)) + 1,
        })
        .collect()
}
