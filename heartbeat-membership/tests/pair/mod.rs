//! Two cores on one virtual clock, joined by a channel that the test controls.
#![allow(dead_code, reason = "each test binary uses a part of the harness")]

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_membership::{
    Action, ConfigDigest, ControlMessage, CoreConfig, Event, Identity, Incarnation, Input, Kind, NetworkConfig,
    NetworkId, NetworkRole, NextSequences, Node, NodeConfig, NodeId, Now, Restored, Timing,
};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const INTERVAL_NS: u64 = 100 * MS;
pub(crate) const NETWORKS: [NetworkId; 2] = [NetworkId(1), NetworkId(2)];

/// A control message on its way, or kept by an eavesdropper.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    pub(crate) to: usize,
    pub(crate) network: NetworkId,
    pub(crate) source: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) sequence: u64,
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
}

/// What the kernel of one side accepts of the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accepting {
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) next: BTreeMap<NetworkId, NextSequences>,
    pub(crate) heard: BTreeMap<NetworkId, u64>,
}

pub(crate) struct Side {
    pub(crate) core: Node,
    pub(crate) id: NodeId,
    pub(crate) accepting: Accepting,
    pub(crate) next: BTreeMap<NetworkId, NextSequences>,
    pub(crate) events: Vec<Event>,
    pub(crate) stopped: bool,
    /// The other side's unicast numbers when this life began: whatever is accepted must start above them.
    pub(crate) floor: BTreeMap<NetworkId, (Incarnation, u64)>,
    pub(crate) lives: u64,
    pub(crate) used: BTreeSet<u64>,
}

pub(crate) struct Pair {
    pub(crate) now_ns: u64,
    pub(crate) sides: [Side; 2],
    pub(crate) flying: Vec<Datagram>,
    pub(crate) delivered: Vec<Datagram>,
}

pub(crate) fn config(local: u16) -> CoreConfig {
    let node =
        |id: u16, name: &str| NodeConfig { id: NodeId(id), name: name.into(), votes: 1, networks: NETWORKS.to_vec() };
    let network = |id, name: &str, role| NetworkConfig { id, name: name.into(), role };
    CoreConfig {
        local: NodeId(local),
        nodes: vec![node(1, "alpha"), node(2, "bravo")],
        networks: vec![
            network(NETWORKS[0], "private", NetworkRole::Internal),
            network(NETWORKS[1], "public", NetworkRole::Mixed),
        ],
        timing: Timing {
            interval_ns: INTERVAL_NS,
            late_after: 2,
            lost_after: 6,
            grace_ns: 600 * MS,
            hang_timeout_ns: 10_000 * MS,
        },
        digest: ConfigDigest([9; 32]),
        abi: 1,
    }
}

pub(crate) fn fresh_sequences() -> BTreeMap<NetworkId, NextSequences> {
    NETWORKS
        .into_iter()
        .map(|network| (network, NextSequences { network, unicast: 1, multicast: 1, control: 1 }))
        .collect()
}

fn now(now_ns: u64) -> Now {
    Now { mono_ns: now_ns, boot_ns: now_ns }
}

impl Side {
    fn start(id: u16, incarnation: u64, now_ns: u64) -> Self {
        let identity = Identity { incarnation: Incarnation(incarnation), adopted: Vec::new() };
        let core = Node::new(config(id), identity, [id as u8; 32], now(now_ns)).expect("configuration is sound");
        Self {
            core,
            id: NodeId(id),
            accepting: Accepting::default(),
            next: fresh_sequences(),
            events: Vec::new(),
            stopped: false,
            floor: BTreeMap::new(),
            lives: 1,
            used: BTreeSet::from([incarnation]),
        }
    }
}

impl Pair {
    pub(crate) fn new() -> Self {
        let mut pair = Self {
            now_ns: 1_000 * MS,
            sides: [Side::start(1, 1_000, 1_000 * MS), Side::start(2, 2_000, 1_000 * MS)],
            flying: Vec::new(),
            delivered: Vec::new(),
        };
        pair.drain(0);
        pair.drain(1);
        pair
    }

    pub(crate) fn feed(&mut self, side: usize, input: Input) {
        let at = now(self.now_ns);
        self.sides[side].core.handle(at, input);
        self.drain(side);
    }

    /// Carries out what the core asks for; returns what changed the kernel.
    fn drain(&mut self, side: usize) {
        while let Some(action) = self.sides[side].core.poll_action() {
            match action {
                Action::Send { peer, network, kind, body } => {
                    let sender = &mut self.sides[side];
                    let next = sender.next.get_mut(&network).expect("both networks are known");
                    let sequence = next.control;
                    next.control += 1;
                    self.flying.push(Datagram {
                        to: usize::from(peer.0 - 1),
                        network,
                        source: sender.id,
                        incarnation: sender.core.incarnation().0,
                        sequence,
                        kind,
                        body,
                    });
                }
                Action::AcceptIncarnation { peer: _, incarnation, next } => {
                    let receiver = &mut self.sides[side];
                    let earlier = receiver.accepting.incarnation;
                    assert!(earlier.is_none_or(|earlier| earlier < incarnation), "{earlier:?} then {incarnation:?}");
                    for entry in &next {
                        if let Some((life, unicast)) = receiver.floor.get(&entry.network)
                            && *life == incarnation
                        {
                            assert!(entry.unicast >= *unicast, "window reaches behind the start of this life");
                        }
                    }
                    let next = next.into_iter().map(|entry| (entry.network, entry)).collect();
                    receiver.accepting = Accepting { incarnation: Some(incarnation), next, heard: BTreeMap::new() };
                }
                Action::ClearIncarnation { .. } => self.sides[side].accepting = Accepting::default(),
                Action::TakeIncarnation { at_least } => {
                    let at = now(self.now_ns);
                    let owner = &mut self.sides[side];
                    owner.next = fresh_sequences();
                    // The real driver adds its clock, so that it never takes one that a lost disk has forgotten.
                    let incarnation = (at_least.0..).find(|candidate| owner.used.insert(*candidate));
                    let incarnation = Incarnation(incarnation.expect("the range is endless"));
                    owner.core.handle(at, Input::IncarnationTaken { incarnation });
                }
                Action::Event(event) => self.sides[side].events.push(event),
                Action::Membership(action) => panic!("a core without membership asks for {action:?}"),
                Action::Stop => self.sides[side].stopped = true,
            }
        }
    }

    pub(crate) fn deliver(&mut self, datagram: &Datagram) {
        let receiver = &self.sides[datagram.to];
        let next = receiver.next.values().copied().collect();
        let message = ControlMessage {
            network: datagram.network,
            source: datagram.source,
            incarnation: datagram.incarnation,
            sequence: datagram.sequence,
            kind: datagram.kind.byte(),
            body: datagram.body.clone(),
            next,
        };
        self.feed(datagram.to, Input::Control(message));
    }

    /// Delivers everything that flies, and what that brings about, in order.
    pub(crate) fn settle(&mut self) {
        for _round in 0..50 {
            if self.flying.is_empty() {
                return;
            }
            for datagram in std::mem::take(&mut self.flying) {
                self.deliver(&datagram);
                self.delivered.push(datagram);
            }
        }
        panic!("the cores do not come to rest");
    }

    /// One heartbeat each way on each network.
    pub(crate) fn heartbeats(&mut self) {
        for from in 0..2 {
            let to = 1 - from;
            if self.sides[from].stopped || self.sides[to].stopped {
                continue;
            }
            for network in NETWORKS {
                let incarnation = self.sides[from].core.incarnation();
                let next = self.sides[from].next.get_mut(&network).expect("both networks are known");
                let sequence = next.unicast;
                next.unicast += 1;
                self.heartbeat(to, network, incarnation, sequence);
            }
        }
    }

    fn heartbeat(&mut self, to: usize, network: NetworkId, incarnation: Incarnation, sequence: u64) {
        let (source, stamp_ns) = (self.sides[1 - to].id, self.now_ns);
        let accepting = &mut self.sides[to].accepting;
        if accepting.incarnation != Some(incarnation) {
            self.feed(to, Input::OtherIncarnation { peer: source, network, incarnation });
            return;
        }
        let starts = accepting.next.get(&network).map_or(u64::MAX, |next| next.unicast);
        assert!(sequence >= starts, "a living peer's heartbeat lies below its window");
        let previous_stamp_ns = accepting.heard.insert(network, stamp_ns).unwrap_or(0);
        if previous_stamp_ns == 0 {
            let restored = Restored {
                peer: source,
                network,
                stamp_ns,
                first: true,
                previous_stamp_ns,
                sent_ns: stamp_ns,
                previous_sent_ns: 0,
                lost: 0,
            };
            self.feed(to, Input::Restored(restored));
        }
    }

    pub(crate) fn advance(&mut self, by_ns: u64) {
        self.now_ns += by_ns;
        for side in 0..2 {
            while let Some((due, _)) = self.sides[side].core.poll_timeout() {
                if due > self.now_ns {
                    break;
                }
                self.feed(side, Input::Timer);
            }
        }
    }

    /// A new life of one side; its kernel state is gone. `disk` false: it has forgotten its incarnation as well.
    pub(crate) fn restart(&mut self, side: usize, disk: bool) {
        let old = self.sides[side].core.incarnation().0;
        // Without its disk a node falls back on its clock, which may be behind but is never twice the same.
        let lowest = if disk { old + 1 } else { 50 + self.sides[side].lives };
        let incarnation = (lowest..).find(|candidate| !self.sides[side].used.contains(candidate)).unwrap_or(lowest);
        let id = self.sides[side].id.0;
        let mut fresh = Side::start(id, incarnation, self.now_ns);
        fresh.lives = self.sides[side].lives + 1;
        fresh.used.append(&mut self.sides[side].used);
        let other = &self.sides[1 - side];
        fresh.floor = other.next.iter().map(|(id, next)| (*id, (other.core.incarnation(), next.unicast))).collect();
        fresh.events = std::mem::take(&mut self.sides[side].events);
        self.sides[side] = fresh;
        self.drain(side);
    }

    pub(crate) fn assert_proven(&self) {
        for side in 0..2 {
            let other = self.sides[1 - side].core.incarnation();
            let peer = &self.sides[side].core.snapshot().peers[0];
            assert_eq!(peer.accepted, Some(other), "side {side}: {:?}", self.sides[side].core.snapshot());
            assert_eq!(self.sides[side].accepting.incarnation, Some(other));
        }
    }
}
