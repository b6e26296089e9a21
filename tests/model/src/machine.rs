//! One machine of a cluster: a real core, its kernel, its disk.

use std::collections::BTreeMap;

use heartbeat_membership::{
    Echo, Identity, Incarnation, Input, MembershipInput, Node, NodeId, Now, Record, Settings, Stage, View,
    witness::MIN_RECORD_LEASE_NS,
};
use serde::Serialize;

use crate::{
    fingerprint::{first_incarnation, first_sequence},
    kernel::Kernel,
    model::Scope,
};

/// A machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Its node id.
    pub id: NodeId,
    /// Its core, while it is switched on.
    pub core: Option<Node>,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its controller stands still; with `true`, its sender as well.
    pub frozen: Option<bool>,
    /// What waits for a frozen controller.
    pub inbox: Vec<Input>,
    /// On disk: the last incarnation.
    pub incarnation: Incarnation,
    /// On disk: the highest form epoch.
    pub epoch: u32,
    /// Number of the next control message to each peer.
    pub next: BTreeMap<NodeId, u64>,
    /// The installed view, while it acts.
    pub view: Option<View>,
    /// End of the lease, as the kernel shows it; 0 = none.
    pub lease_end_ns: u64,
    /// The record in the pinned map.
    pub record: Option<Record>,
    /// When this incarnation began.
    pub began_ns: u64,
    /// When it last lived without a view; 0 = never.
    pub viewless_ns: u64,
}

impl Machine {
    /// A machine that is switched off and never ran.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            core: None,
            kernel: Kernel::default(),
            frozen: None,
            inbox: Vec::new(),
            incarnation: Incarnation(first_incarnation(id)),
            epoch: 0,
            next: BTreeMap::new(),
            view: None,
            lease_end_ns: 0,
            record: None,
            began_ns: 0,
            viewless_ns: 0,
        }
    }

    /// Switched on: a new incarnation that knows nothing but what is on its disk.
    pub fn start(&mut self, scope: &Scope, now: Now) {
        self.kernel = Kernel::default();
        self.record = None;
        self.began_ns = now.mono_ns;
        self.viewless_ns = now.mono_ns;
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        let identity = Identity { incarnation: self.incarnation, adopted: Vec::new() };
        self.build(scope, identity, None, now);
    }

    /// The controller was killed and started anew: it goes on with what is pinned, if it may; else in a new life.
    pub fn restart(&mut self, scope: &Scope, now: Now) {
        let leased = now.boot_ns < self.lease_end_ns;
        let record = self.record.clone().filter(|record| leased && record.stage == Stage::Stabilized);
        self.power_off_controller();
        let Some(record) = record else {
            self.view = None;
            self.lease_end_ns = 0;
            self.start(scope, now);
            return;
        };
        let identity = Identity { incarnation: self.incarnation, adopted: self.kernel.adopted() };
        self.build(scope, identity, Some(record), now);
    }

    /// The machine dies at once; its disk stays.
    pub fn crash(&mut self) {
        self.power_off_controller();
        self.kernel = Kernel::default();
        self.view = None;
        self.lease_end_ns = 0;
        self.record = None;
    }

    /// What the driver reads from the kernel before anything else.
    #[must_use]
    pub fn echoes(&self) -> Input {
        let echo = |(peer, incarnation, sent_ns)| Echo { peer, incarnation, sent_ns };
        Input::Membership(MembershipInput::Echoes { echoes: self.kernel.echoes().map(echo).collect() })
    }

    /// Whether its lease is valid.
    #[must_use]
    pub fn leased(&self, now: Now) -> bool {
        self.core.is_some() && now.boot_ns < self.lease_end_ns
    }

    /// Takes the number of the next control message to a peer.
    pub fn take_sequence(&mut self, peer: NodeId) -> u64 {
        let next = self.next.entry(peer).or_insert(first_sequence(self.id, peer));
        *next += 1;
        *next - 1
    }

    /// The number of the next control message to a peer.
    #[must_use]
    pub fn next_sequence(&self, peer: NodeId) -> u64 {
        self.next.get(&peer).copied().unwrap_or(first_sequence(self.id, peer))
    }

    fn power_off_controller(&mut self) {
        self.core = None;
        self.frozen = None;
        self.inbox.clear();
    }

    fn build(&mut self, scope: &Scope, identity: Identity, resume: Option<Record>, now: Now) {
        let settings = Settings {
            arbiter: scope.arbiter(),
            stop_time_ns: scope.stop_time_ns(),
            record_lease_ns: MIN_RECORD_LEASE_NS,
            config_is_new: false,
            epoch: self.epoch,
            resume,
        };
        let mut seed = [0_u8; 32];
        seed[..8].copy_from_slice(&now.mono_ns.to_le_bytes());
        seed[8..10].copy_from_slice(&self.id.0.to_le_bytes());
        self.core = Node::with_membership(scope.config(self.id), settings, identity, seed, now).ok();
        if let (Some(core), Some(rule)) = (&mut self.core, scope.broken.rule) {
            core.mutate(rule);
        }
    }
}
