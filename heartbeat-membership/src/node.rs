//! The core of one node: takes inputs, queues actions.

mod deciding;
mod duplicates;
mod gossip;
mod halting;
mod hello;
mod installing;
mod joining;
mod leasing;
mod leave;
pub(crate) mod networks;
mod regrouping;
mod rows;
mod staging;
mod verdicts;
mod witnessing;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::config::{ConfigError, CoreConfig};
use crate::event::{Detail, Event, EventId};
use crate::ids::{ConfigDigest, Incarnation, NetworkId, NodeId};
use crate::input::{ControlMessage, Identity, Input, LocalStall};
use crate::membership::{Echo, Membership, MembershipInput, Settings};
use crate::message::Kind;
use crate::mutation::Mutation;
use crate::nodeset::NodeSet;
use crate::nonce::Nonces;
use crate::peer::Peer;
use crate::peers::Peers;
use crate::quorum::Arbiter;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;
use crate::time::{Now, SECOND_NS};
use crate::view::ViewId;
use crate::window::Sequence;
use crate::witness::MIN_RECORD_LEASE_NS;

/// Datagrams queued between two polls. The largest burst is three messages to 1023 peers on 8 networks; a driver that
/// leaves more lying has lost them anyway.
const MAX_QUEUED_SENDS: usize = 32_768;

/// Pause between two events of one kind about one peer that others can cause at will.
const SELDOM_NS: u64 = 60 * SECOND_NS;

/// The core of one node. See the crate documentation for the loop that drives it.
///
/// It can be written down and read back whole, into a format that knows maps with any key: what is read back goes on as the
/// one that was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    config: CoreConfig,
    incarnation: Incarnation,
    /// A higher incarnation was asked for and not taken yet.
    taking: Option<Incarnation>,
    peers: Peers,
    nonces: Nonces,
    membership: Option<Membership>,
    last_stall: BTreeMap<crate::input::StallSource, LocalStall>,
    refused: BTreeMap<Refusal, u64>,
    /// When an event that others can cause may be told again; an entry for each kind and configured peer at most.
    next_event_ns: BTreeMap<(EventId, NodeId), u64>,
    actions: VecDeque<Action>,
    queued_sends: usize,
    stopped: bool,
    /// Of the last input: what a snapshot is judged by.
    now: Now,
    /// The state in which nobody was found lost, unless a link may have changed since: most inputs of a large cluster
    /// touch no link, and need no look at each.
    #[serde(skip)]
    nobody_lost: Option<Watched>,
    /// The own rows were compared with the links since one of those may have changed.
    #[serde(skip)]
    rows_compared: bool,
    /// Who is joined to this node in the regroup, and what that followed from.
    #[serde(skip)]
    component_known: Option<(Basis, NodeSet)>,
    /// Configured nodes that run the configuration of this one as far as they have said; and that configuration, and after
    /// how many changes of peers that was found.
    #[serde(skip)]
    speaking: Option<(u64, ConfigDigest, NodeSet)>,
    /// After how many changes of peers, and for which view, the bars of the record were looked at.
    #[serde(skip)]
    bars_follow_from: Option<(u64, Option<ViewId>)>,
    /// The own row of a regroup waits for verdicts to settle.
    #[serde(skip)]
    row_waits: bool,
    /// No rule is broken where a core is read back.
    #[serde(skip)]
    mutation: Option<Mutation>,
}

/// Why the core wants to be called at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A hello to this peer is due.
    Hello(NodeId),
    /// A regroup message is due again.
    RegroupTick,
    /// A stage of a regroup reaches its limit.
    StageLimit,
    /// A request to join, or an attempt to form, is due.
    Admission,
    /// The lease ends, or the grace after it.
    Lease,
    /// A report of interfaces, or a judgement on them, is due.
    Networks,
    /// It becomes safe to take over from this node.
    RemovalSafe(NodeId),
    /// The witness is to be asked.
    Witness,
}

impl Node {
    /// A core that begins its life, or goes on with an adopted one. `seed` comes from the driver's random source.
    ///
    /// # Errors
    /// [`ConfigError`] if the configuration makes no sense; nothing is constructed then.
    pub fn new(config: CoreConfig, identity: Identity, seed: [u8; 32], now: Now) -> Result<Self, ConfigError> {
        Self::build(config, None, identity, seed, now)
    }

    /// A core that takes part in membership as well: it forms or joins views, and says when this node may act.
    ///
    /// # Errors
    /// [`ConfigError`] if the configuration makes no sense; nothing is constructed then.
    pub fn with_membership(
        config: CoreConfig,
        settings: Settings,
        identity: Identity,
        seed: [u8; 32],
        now: Now,
    ) -> Result<Self, ConfigError> {
        Self::build(config, Some(settings), identity, seed, now)
    }

    fn build(
        config: CoreConfig,
        settings: Option<Settings>,
        identity: Identity,
        seed: [u8; 32],
        now: Now,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let config = match &settings {
            Some(settings) => patient(config, settings.arbiter, settings.record_lease_ns),
            None => config,
        };
        let repeat_ns = config.timing.hello_repeat_ns();
        let mut peers = BTreeMap::new();
        for node in config.nodes.iter().filter(|node| node.id != config.local) {
            peers.insert(node.id, Peer::new(node, &config.shared_networks(node), now.mono_ns, repeat_ns));
        }
        for adopted in &identity.adopted {
            if let Some(peer) = peers.get_mut(&adopted.peer) {
                peer.adopt(adopted, now.mono_ns);
            }
        }
        let resumed = settings.as_ref().and_then(Settings::resumed);
        let barred = resumed.map(|record| record.barred.clone()).unwrap_or_default();
        let mut node = Self {
            nonces: Nonces::new(seed, identity.incarnation.0),
            incarnation: identity.incarnation,
            taking: None,
            peers: Peers::new(peers),
            membership: settings.map(|settings| Membership::new(&config, settings, now)),
            now,
            nobody_lost: None,
            rows_compared: false,
            component_known: None,
            speaking: None,
            bars_follow_from: None,
            row_waits: false,
            mutation: None,
            last_stall: BTreeMap::new(),
            refused: BTreeMap::new(),
            next_event_ns: BTreeMap::new(),
            actions: VecDeque::new(),
            queued_sends: 0,
            stopped: false,
            config,
        };
        node.resume_bars(barred);
        node.send_due_hellos(now);
        node.drive_membership(now);
        Ok(node)
    }

    /// A removed incarnation that slept through the restart of this controller must not be echoed when it wakes.
    fn resume_bars(&mut self, barred: BTreeMap<NodeId, Incarnation>) {
        for (id, incarnation) in barred {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.handshake.adopt_bar(incarnation) {
                self.actions.push_back(Action::ClearIncarnation { peer: id });
            }
        }
    }

    /// Breaks one rule from now on.
    #[cfg(feature = "mutations")]
    pub fn mutate(&mut self, mutation: Mutation) {
        self.mutation = Some(mutation);
        if let (Some(membership), Mutation::HalfIsMajority) = (&mut self.membership, mutation) {
            membership.votes.break_majority();
            membership.electorate.break_majority();
        }
    }

    /// Takes one input. `now` never falls from call to call.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        if self.stopped {
            self.refuse(Refusal::Stopped);
            return;
        }
        if touches_links(&input) {
            self.nobody_lost = None;
            self.rows_compared = false;
        }
        match input {
            Input::Timer => {}
            Input::Late(verdict) => self.on_late(now, &verdict),
            Input::Restored(restored) => self.on_restored(now, &restored),
            Input::Silent(verdict) => self.on_silent(now, &verdict),
            Input::HeardAgain { peer, stamp_ns } => self.on_heard_again(now, peer, stamp_ns),
            Input::OtherIncarnation { peer, network: _, incarnation } => {
                self.on_other_incarnation(now, peer, incarnation);
            }
            Input::LocalStall(stall) => self.on_local_stall(now, stall),
            Input::Control(message) => {
                if let Err(refusal) = self.on_control(now, &message) {
                    self.refuse(refusal);
                }
            }
            Input::Membership(input) => {
                if let Err(refusal) = self.on_membership(now, input) {
                    self.refuse(refusal);
                }
            }
            Input::IncarnationTaken { incarnation } => self.on_incarnation_taken(now, incarnation),
            Input::Leave => self.on_leave_request(),
        }
        self.send_due_hellos(now);
        self.drive_membership(now);
        self.peers.note_next_hello();
    }

    /// As [`Node::handle`] with [`MembershipInput::Echoes`](crate::MembershipInput::Echoes), and the list stays with the
    /// caller: it comes in every interval.
    pub fn handle_echoes(&mut self, now: Now, echoes: &[Echo]) {
        self.now = now;
        if self.stopped {
            self.refuse(Refusal::Stopped);
            return;
        }
        if let Err(refusal) = self.on_echoes(now, echoes) {
            self.refuse(refusal);
        }
        self.send_due_hellos(now);
        self.drive_membership(now);
        self.peers.note_next_hello();
    }

    /// The next duty; the driver polls until there is none, after construction and after every input.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front()?;
        if matches!(action, Action::Send { .. }) {
            self.queued_sends -= 1;
        }
        Some(action)
    }

    /// When the core wants [`Input::Timer`], in `CLOCK_MONOTONIC` nanoseconds, and why; `None` if never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(u64, Reason)> {
        if self.stopped {
            return None;
        }
        let hello = self.peers.next_hello().map(|(due_ns, id)| (due_ns, Reason::Hello(id)));
        [hello, self.membership_timeout()].into_iter().flatten().min()
    }

    /// The state to show.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            local: self.config.local,
            incarnation: self.incarnation,
            stopped: self.stopped,
            peers: self
                .peers
                .iter()
                .map(|(id, peer)| peer.snapshot(*id, self.config.digest, self.config.abi))
                .collect(),
            membership: self.membership.as_ref().map(|membership| {
                let counts = membership.witness_counts(self.config.local, self.now, self.config.timing.lease_ns());
                membership.snapshot(self.now, counts, self.staged_snapshot())
            }),
            refused: self.refused.clone(),
        }
    }

    /// The incarnation of this node.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn on_control(&mut self, now: Now, message: &ControlMessage) -> Result<(), Refusal> {
        let peer = self.peers.get(&message.source).ok_or(Refusal::UnknownPeer)?;
        if !peer.links.contains_key(&message.network) {
            return Err(Refusal::UnknownNetwork);
        }
        let kind = Kind::from_byte(message.kind).ok_or(Refusal::UnknownKind)?;
        match kind {
            Kind::Hello => return self.on_hello(now, message),
            Kind::HelloAck => return self.on_answer(now, message, hello::Answering::Ack),
            Kind::HelloDone => return self.on_answer(now, message, hello::Answering::Done),
            Kind::Connectivity | Kind::Regroup | Kind::Join | Kind::Leave | Kind::Poison | Kind::NetworkStates => {}
        }
        let barred = peer.handshake.is_barred(message.incarnation);
        if let Err(refusal) = admit(&mut self.peers, message) {
            if barred {
                self.poison(now, message.source, Incarnation(message.incarnation));
            }
            return Err(refusal);
        }
        // A controller that speaks does not hang; if it does later, that is told again.
        if let Some(membership) = &mut self.membership {
            membership.hung.remove(&message.source);
        }
        match kind {
            Kind::Leave => self.on_leave(now, message),
            Kind::Regroup => self.on_regroup(now, message),
            Kind::Join => self.on_join(now, message),
            Kind::Poison => self.on_poison(now, message),
            Kind::Connectivity => self.on_connectivity(now, message),
            Kind::NetworkStates => self.on_network_states(now, message),
            Kind::Hello | Kind::HelloAck | Kind::HelloDone => Err(Refusal::UnknownKind),
        }
    }

    fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn refuse(&mut self, refusal: Refusal) {
        let count = self.refused.entry(refusal).or_default();
        *count = count.saturating_add(1);
    }

    fn send(&mut self, peer: NodeId, network: NetworkId, kind: Kind, body: Vec<u8>) {
        if self.queued_sends >= MAX_QUEUED_SENDS {
            self.refuse(Refusal::QueueFull);
            return;
        }
        self.queued_sends += 1;
        self.actions.push_back(Action::Send { peer, network, kind, body });
    }

    fn event(
        &mut self,
        now: Now,
        id: EventId,
        peer: Option<NodeId>,
        network: Option<NetworkId>,
        text: String,
        detail: Detail,
    ) {
        self.actions.push_back(Action::Event(Event {
            id,
            peer,
            network,
            view: self.view_number(),
            text,
            detail,
            mono_ns: now.mono_ns,
        }));
    }

    /// As [`Self::event`], at most once a minute for each kind and peer: what others can cause at will.
    fn event_seldom(&mut self, now: Now, id: EventId, peer: NodeId, text: String, detail: Detail) {
        let due_ns = self.next_event_ns.entry((id, peer)).or_default();
        if now.mono_ns < *due_ns {
            return;
        }
        *due_ns = now.mono_ns.saturating_add(SELDOM_NS);
        self.event(now, id, Some(peer), None, text, detail);
    }

    fn view_number(&self) -> u64 {
        self.membership.as_ref().map_or(0, Membership::view_number)
    }

    fn peer_name(&self, peer: NodeId) -> String {
        self.peers.get(&peer).map_or_else(|| peer.to_string(), |peer| peer.name.clone())
    }

    fn network_name(&self, network: NetworkId) -> String {
        self.config.network(network).map_or_else(|| network.to_string(), |network| network.name.clone())
    }
}

/// What decides who is watched for silence.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watched {
    sequence: u64,
    stage: crate::regroup::Stage,
    view: u64,
    decision: Option<NodeSet>,
    own_row: Option<NodeSet>,
    known: NodeSet,
    left: NodeSet,
}

/// What decides who is joined to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Basis {
    sequence: u64,
    rows_version: u64,
    /// Without those who are out.
    candidates: NodeSet,
}

/// Whether an input can change who is heard, or as which incarnation.
fn touches_links(input: &Input) -> bool {
    match input {
        Input::Timer | Input::LocalStall(_) | Input::OtherIncarnation { .. } => false,
        Input::Membership(input) => !matches!(input, MembershipInput::Echoes { .. } | MembershipInput::Witness(_)),
        Input::Control(message) => !matches!(
            Kind::from_byte(message.kind),
            Some(Kind::Regroup | Kind::Connectivity | Kind::NetworkStates | Kind::Join)
        ),
        Input::Late(_)
        | Input::Restored(_)
        | Input::Silent(_)
        | Input::HeardAgain { .. }
        | Input::IncarnationTaken { .. }
        | Input::Leave => true,
    }
}

/// With a witness a node that waits for the record is suspended meanwhile: for as long as its holder may keep it, for the
/// looks before that, and for the operation.
pub(super) fn patient(mut config: CoreConfig, arbiter: Arbiter, record_lease_ns: u64) -> CoreConfig {
    if arbiter == Arbiter::Witness {
        let least_ns = record_lease_ns.max(MIN_RECORD_LEASE_NS).saturating_mul(2);
        config.timing.grace_ns = config.timing.grace_ns.max(least_ns);
    }
    config
}

/// Kinds of 20 and above: only the accepted incarnation, each sequence number once, none from before the handshake.
fn admit(peers: &mut Peers, message: &ControlMessage) -> Result<(), Refusal> {
    let accepted = peers.get(&message.source).and_then(|peer| peer.handshake.accepted());
    if accepted != Some(Incarnation(message.incarnation)) {
        return Err(Refusal::NotAccepted);
    }
    let window = peers.window(message.source, message.network).ok_or(Refusal::NotAccepted)?;
    match window.accept(message.sequence) {
        Sequence::New => Ok(()),
        Sequence::Duplicate => Err(Refusal::Duplicate),
        Sequence::TooOld => Err(Refusal::TooOld),
    }
}
