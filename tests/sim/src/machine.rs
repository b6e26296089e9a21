//! One simulated machine: a real core, a simulated kernel, clock and disk.

use std::sync::Arc;

use heartbeat_membership::{
    AdoptedPeer, Arbiter, ConfigDigest, CoreConfig, Echo, Identity, Incarnation, Input, MembershipInput, NetworkId,
    NextSequences, Node, NodeId, Now, Record, Settings, Stage, Staged, View,
};

use crate::by_node::ByNode;
use crate::clock::Clock;
use crate::kernel::Kernel;
use crate::world::Frame;

/// How long the witness's record must be unchanged before others take it: the least.
pub const RECORD_LEASE_NS: u64 = heartbeat_membership::witness::MIN_RECORD_LEASE_NS;

/// What survives a crash, unless it is lost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk {
    /// Last incarnation.
    pub incarnation: u64,
    /// Highest form epoch.
    pub epoch: u32,
    /// The configuration that it last was in a view under.
    pub digest: Option<ConfigDigest>,
}

/// A machine of the cluster.
#[derive(Debug)]
pub struct Machine {
    /// Its node id.
    pub id: NodeId,
    /// Its core, while the controller lives.
    pub core: Option<Node>,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its clock.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// Counts starts: what was scheduled for an earlier one is void.
    pub life: u64,
    /// The controller makes no pass before this true time.
    pub frozen_until_ns: u64,
    /// The sender stands still as well.
    pub mute: bool,
    /// What waits for a frozen controller, as in ring buffer and socket.
    pub inbox: Vec<Input>,
    /// The controller was killed and has not been restarted: its kernel goes on.
    pub killed: bool,
    /// More came than it holds.
    pub overflow: bool,
    /// Next sequence numbers.
    pub next: ByNode<Vec<NextSequences>>,
    /// The body that it sent last: what goes to many is kept once.
    pub posted: Option<Arc<[u8]>>,
    /// The installed view, while it acts.
    pub view: Option<Arc<View>>,
    /// When it was installed, true time.
    pub installed_ns: u64,
    /// End of the lease as the NODE map shows it, boot clock; 0 = none.
    pub lease_end_ns: u64,
    /// The last record in the pinned map.
    pub record: Option<Record>,
    /// Orders wake-ups: only the latest counts.
    pub wake: u64,
    /// The life, and the local time, that the latest one is for; `None` once it has come.
    pub woken_at: Option<(u64, u64)>,
    /// When the core began this incarnation, local clock.
    pub began_ns: u64,
    /// The same in true time.
    pub began_true_ns: u64,
    /// When it last lived without a view, true time; 0 = never.
    pub viewless_ns: u64,
    /// The configuration in force there; `None` = that of the world.
    pub digest: Option<ConfigDigest>,
    /// The configuration in its file, where an operator has put another one there.
    pub file: Option<Staged>,
    /// Passes that its controller has made.
    pub beat: u64,
    /// When its core is told of echoes again, true time; in large clusters only.
    pub echoes_due_ns: u64,
    /// The whole machine stands still, its clock too, until this true time; 0 = it runs.
    pub stunned_until_ns: u64,
    /// It stood still for so long, until this true time, and has not noticed yet.
    pub unaware: Option<(u64, u64)>,
    /// Something fresh has arrived since, which its controller has not looked at.
    pub fresh: bool,
    /// What waits at the interface of a machine that stands still.
    pub queue: Vec<Frame>,
}

impl Machine {
    /// A machine that is switched off.
    #[must_use]
    pub fn new(id: NodeId, clock: Clock) -> Self {
        Self {
            id,
            core: None,
            kernel: Kernel::default(),
            clock,
            disk: Disk::default(),
            life: 0,
            frozen_until_ns: 0,
            mute: false,
            inbox: Vec::new(),
            killed: false,
            overflow: false,
            next: ByNode::default(),
            posted: None,
            view: None,
            installed_ns: 0,
            lease_end_ns: 0,
            record: None,
            wake: 0,
            woken_at: None,
            began_ns: 0,
            began_true_ns: 0,
            viewless_ns: 0,
            digest: None,
            file: None,
            beat: 0,
            echoes_due_ns: 0,
            stunned_until_ns: 0,
            unaware: None,
            fresh: false,
            queue: Vec::new(),
        }
    }

    /// The local clocks at a true time.
    #[must_use]
    pub fn now(&self, true_ns: u64) -> Now {
        self.clock.at(true_ns)
    }

    /// Starts the controller with a new incarnation.
    pub fn start(&mut self, config: &CoreConfig, arbiter: Arbiter, stop_time_ns: u64, incarnation: u64, true_ns: u64) {
        let now = self.now(true_ns);
        self.life += 1;
        self.kernel = Kernel::default();
        self.next.clear();
        self.view = None;
        self.lease_end_ns = 0;
        self.record = None;
        self.frozen_until_ns = 0;
        self.mute = false;
        self.inbox.clear();
        self.overflow = false;
        self.killed = false;
        self.began_ns = now.mono_ns;
        self.began_true_ns = true_ns;
        self.viewless_ns = true_ns;
        self.disk.incarnation = incarnation;
        let (config, arbiter) = self.configured(config, arbiter);
        self.digest = Some(config.digest);
        self.unaware = None;
        self.fresh = false;
        self.queue.clear();
        let record_lease_ns = RECORD_LEASE_NS;
        let config_is_new = self.disk.digest.is_some_and(|digest| digest != config.digest);
        let epoch = self.disk.epoch;
        let settings = Settings { arbiter, stop_time_ns, epoch, record_lease_ns, config_is_new, resume: None };
        let adopted: Vec<AdoptedPeer> = Vec::new();
        let identity = Identity { incarnation: Incarnation(incarnation), adopted };
        let mut seed = [0_u8; 32];
        seed[..8].copy_from_slice(&incarnation.to_le_bytes());
        seed[8..10].copy_from_slice(&self.id.0.to_le_bytes());
        self.core = Node::with_membership(config, settings, identity, seed, now).ok();
    }

    /// What its file says.
    fn configured(&self, config: &CoreConfig, arbiter: Arbiter) -> (CoreConfig, Arbiter) {
        match &self.file {
            Some(staged) => (CoreConfig { local: self.id, ..staged.config.clone() }, staged.arbiter),
            None => (CoreConfig { local: self.id, ..config.clone() }, arbiter),
        }
    }

    /// The controller is killed; kernel, sequence numbers and records stay.
    pub fn kill(&mut self) {
        self.core = None;
        self.killed = true;
    }

    /// Restarts a killed controller on what stayed, if it may; whether it did.
    pub fn adopt(&mut self, config: &CoreConfig, arbiter: Arbiter, stop_time_ns: u64, true_ns: u64) -> bool {
        let now = self.now(true_ns);
        let leased = now.boot_ns < self.lease_end_ns;
        let Some(record) = self.record.clone().filter(|record| leased && record.stage == Stage::Stabilized) else {
            return false;
        };
        let (config, arbiter) = self.configured(config, arbiter);
        // Under another configuration than the one that was in force nothing is adopted.
        if self.digest.is_some_and(|digest| digest != config.digest) {
            return false;
        }
        self.life += 1;
        self.killed = false;
        self.frozen_until_ns = 0;
        self.mute = false;
        self.inbox.clear();
        self.overflow = false;
        let incarnation = self.disk.incarnation;
        let record_lease_ns = RECORD_LEASE_NS;
        let settings = Settings {
            arbiter,
            stop_time_ns,
            epoch: self.disk.epoch,
            record_lease_ns,
            config_is_new: false,
            resume: Some(record),
        };
        let identity = Identity { incarnation: Incarnation(incarnation), adopted: self.kernel.adopted() };
        let mut seed = [0_u8; 32];
        seed[..8].copy_from_slice(&incarnation.to_le_bytes());
        seed[8..10].copy_from_slice(&self.id.0.to_le_bytes());
        seed[16..24].copy_from_slice(&self.life.to_le_bytes());
        self.core = Node::with_membership(config, settings, identity, seed, now).ok();
        self.core.is_some()
    }

    /// The incarnation, while the controller lives.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        let dead = self.killed.then_some(Incarnation(self.disk.incarnation));
        self.core.as_ref().map(Node::incarnation).or(dead)
    }

    /// What the reactor reads from the kernel before anything else.
    #[must_use]
    pub fn echoes(&self) -> Input {
        let echo = |(peer, incarnation, sent_ns)| Echo { peer, incarnation, sent_ns };
        Input::Membership(MembershipInput::Echoes { echoes: self.kernel.echoes().map(echo).collect() })
    }

    /// Whether the lease is valid by the machine's own clock. A machine that stood still as a whole cannot know that its
    /// lease has ended before something fresh arrives: docs/guarantees.md says what that asks for.
    #[must_use]
    pub fn leased(&self, true_ns: u64) -> bool {
        self.unaware.is_none()
            && self.stunned_until_ns == 0
            && (self.core.is_some() || self.killed)
            && self.now(true_ns).boot_ns < self.lease_end_ns
    }

    /// Remembers that it lives without a view, if it does.
    pub fn note_viewless(&mut self, true_ns: u64) {
        if self.core.is_some() && self.view.is_none() {
            self.viewless_ns = true_ns;
        }
    }

    /// Takes the next number of a kind.
    pub fn take_sequence(&mut self, peer: NodeId, network: NetworkId, control: bool) -> u64 {
        let next = self.next_towards(peer, network);
        let counter = if control { &mut next.control } else { &mut next.unicast };
        *counter += 1;
        *counter - 1
    }

    /// The next numbers towards a peer on each network.
    pub fn next_sequences(&mut self, peer: NodeId, networks: &[NetworkId]) -> Vec<NextSequences> {
        networks.iter().map(|network| *self.next_towards(peer, *network)).collect()
    }

    fn next_towards(&mut self, peer: NodeId, network: NetworkId) -> &mut NextSequences {
        let next = self.next.get_or_insert_with(peer, Vec::new);
        let index = next.iter().position(|next| next.network == network).unwrap_or_else(|| {
            next.push(NextSequences { network, unicast: 1, multicast: 1, control: 1 });
            next.len() - 1
        });
        &mut next[index]
    }
}
