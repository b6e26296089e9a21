//! What the driver of a core does: inputs in, actions carried out.

use heartbeat_membership::{
    Action, ControlMessage, Detail, Enforcement, EventId, Incarnation, Input, Kind, MembershipAction, MembershipInput,
    Newest, NextSequences, Node, NodeId,
};

use crate::{
    check::Life,
    cluster::{Cluster, Flight, Way},
    kernel::{Heartbeat, NETWORK},
    model::Scope,
};

/// Deliveries within one interval. A regroup of four nodes takes fewer than 200; more means that messages beget messages.
const DELIVERIES: usize = 5_000;

/// Messages that wait for a frozen controller: enough for a decision of three others to be among them.
const INBOX: usize = 6;

impl Cluster {
    /// An interval passes.
    pub(crate) fn tick(&mut self, scope: &Scope) {
        self.ticks += 1;
        let now_ns = self.now().mono_ns;
        self.flying.extend(std::mem::take(&mut self.postponed));
        let viewless = |machine: &&mut crate::machine::Machine| machine.core.is_some() && machine.view.is_none();
        self.machines_mut().filter(viewless).for_each(|machine| machine.viewless_ns = now_ns);
        for (way, heartbeat) in self.heartbeats(scope) {
            if !self.cuts.contains(&way) {
                self.hear(scope, way.to, &heartbeat);
            }
        }
        for id in scope.ids() {
            if self.machine(id).core.is_none() {
                continue;
            }
            let told = self.machine_mut(id).kernel.judge(now_ns, &scope.timing());
            for input in told {
                self.feed(scope, id, input);
            }
            self.feed(scope, id, Input::Timer);
        }
        self.settle(scope);
    }

    /// Delivers until the next message before which faults are tried; all of them where none may strike any more.
    pub(crate) fn settle(&mut self, scope: &Scope) {
        for _ in 0..DELIVERIES {
            if self.violation.is_some() || self.flying.is_empty() || self.is_branching(scope) {
                self.check_standing(scope);
                return;
            }
            self.deliver(scope);
        }
        self.violate(8, || format!("after {DELIVERIES} messages within one interval there are still more"));
    }

    /// The oldest message on its way arrives, if it can.
    pub(crate) fn deliver(&mut self, scope: &Scope) {
        let Some(Flight { to, mut message }) = self.flying.pop_front() else { return };
        let way = Way { from: message.source, to };
        if self.cuts.contains(&way) || self.mutes.contains(&way) || self.machine(to).core.is_none() {
            return;
        }
        let control = self.machine(to).next_sequence(message.source);
        message.next = vec![NextSequences { network: NETWORK, unicast: 1, multicast: 1, control }];
        self.feed(scope, to, Input::Control(message));
        self.check_standing(scope);
    }

    /// A heartbeat reaches the kernel of a node.
    pub(crate) fn hear(&mut self, scope: &Scope, to: NodeId, heartbeat: &Heartbeat) {
        if self.machine(to).core.is_none() {
            return;
        }
        let now_ns = self.now().mono_ns;
        let machine = self.machine_mut(to);
        let receiver = (to, machine.incarnation);
        let (told, accepted) = machine.kernel.receive(heartbeat, now_ns);
        if accepted {
            let sender = (heartbeat.source, heartbeat.incarnation);
            self.history.accepted(sender, receiver, heartbeat.sent_ns);
        }
        for input in told {
            self.feed(scope, to, input);
        }
    }

    /// Feeds one input, or lets it wait for a frozen controller, and carries out what follows.
    pub(crate) fn feed(&mut self, scope: &Scope, id: NodeId, input: Input) {
        let now = self.now();
        let machine = self.machine_mut(id);
        if machine.frozen.is_some() {
            // Verdicts stand in the kernel; of messages the socket holds the first, and drops the rest.
            if matches!(input, Input::Control(_)) && machine.inbox.len() < INBOX {
                machine.inbox.push(input);
            }
            return;
        }
        let echoes = machine.echoes();
        if let Some(core) = &mut machine.core {
            core.handle(now, echoes);
            core.handle(now, input);
        }
        self.drain(scope, id);
    }

    /// A frozen controller goes on: with its own deadlines, the standing verdicts, then all that waited.
    pub(crate) fn thaw(&mut self, scope: &Scope, id: NodeId) {
        let now_ns = self.now().mono_ns;
        let machine = self.machine_mut(id);
        machine.frozen = None;
        let waiting = std::mem::take(&mut machine.inbox);
        let standing = machine.kernel.standing(now_ns, &scope.timing());
        self.feed(scope, id, Input::Timer);
        for input in standing.into_iter().chain(waiting) {
            self.feed(scope, id, input);
        }
    }

    /// Carries out what the core wants.
    pub(crate) fn drain(&mut self, scope: &Scope, id: NodeId) {
        while self.violation.is_none() {
            let Some(action) = self.machine_mut(id).core.as_mut().and_then(Node::poll_action) else { return };
            self.carry_out(scope, id, action);
        }
    }

    fn heartbeats(&self, scope: &Scope) -> Vec<(Way, Heartbeat)> {
        let sent_ns = self.now().mono_ns;
        let beats = |way: &Way| {
            let sender = self.machine(way.from);
            sender.core.is_some() && sender.frozen != Some(true)
        };
        let heartbeat = |way: Way| {
            let sender = self.machine(way.from);
            let echo_ns = sender.kernel.echo_for(way.to);
            (way, Heartbeat { source: way.from, incarnation: sender.incarnation, sent_ns, echo_ns })
        };
        scope.ways().filter(beats).map(heartbeat).collect()
    }

    fn carry_out(&mut self, scope: &Scope, id: NodeId, action: Action) {
        let now = self.now();
        let machine = self.machine_mut(id);
        match action {
            // States of networks are told to operators and decide nothing.
            Action::Send { kind: Kind::Connectivity | Kind::NetworkStates, .. } => {}
            Action::Send { peer, network, kind, body } => {
                let (sequence, incarnation) = (machine.take_sequence(peer), machine.incarnation.0);
                let message = ControlMessage {
                    network,
                    source: id,
                    incarnation,
                    sequence,
                    kind: kind.byte(),
                    body,
                    next: Vec::new(),
                };
                self.flying.push_back(Flight { to: peer, message });
            }
            Action::AcceptIncarnation { peer, incarnation, .. } => {
                machine.kernel.accept(peer, incarnation, now.mono_ns);
            }
            Action::ClearIncarnation { peer } => machine.kernel.clear(peer),
            Action::TakeIncarnation { at_least } => {
                let taken = Incarnation(at_least.0.max(machine.incarnation.0 + 1));
                machine.incarnation = taken;
                machine.view = None;
                machine.lease_end_ns = 0;
                machine.began_ns = now.mono_ns;
                machine.viewless_ns = now.mono_ns;
                if let Some(core) = &mut machine.core {
                    core.handle(now, Input::IncarnationTaken { incarnation: taken });
                }
            }
            Action::Membership(action) => self.membership(scope, id, action),
            Action::Event(event) => {
                let life = (id, machine.incarnation);
                if let (EventId::RemovalSafe, Some(peer), Detail::Safe { incarnation, enforced, .. }) =
                    (event.id, event.peer, &event.detail)
                {
                    let confirmed = *enforced == Enforcement::Confirmed;
                    self.declared_safe(life, (peer, *incarnation), confirmed);
                }
                self.told.push((id, event.id, event.text));
            }
            Action::Stop => machine.crash(),
        }
    }

    fn membership(&mut self, scope: &Scope, id: NodeId, action: MembershipAction) {
        let now = self.now();
        let machine = self.machine_mut(id);
        let life: Life = (id, machine.incarnation);
        match action {
            MembershipAction::Persist(record) => {
                machine.epoch = machine.epoch.max(record.epoch);
                let earlier = machine.record.replace(record.clone());
                self.recorded(life, earlier.as_ref(), &record);
            }
            MembershipAction::Bind { sequence, exclude } => {
                let newest = exclude
                    .iter()
                    .map(|peer| {
                        if !scope.broken.echo_after_binding {
                            machine.kernel.clear(*peer);
                        }
                        Newest { peer: *peer, stamp_ns: machine.kernel.newest(*peer) }
                    })
                    .collect();
                if let Some(core) = &mut machine.core {
                    core.handle(now, Input::Membership(MembershipInput::Bound { sequence, newest }));
                }
            }
            MembershipAction::Lease { end_boot_ns } => {
                machine.lease_end_ns = end_boot_ns;
                self.leased(scope, life);
            }
            MembershipAction::Install(view) => {
                let waited = now.mono_ns >= machine.began_ns + scope.wait_ns();
                let began_ns = machine.began_ns;
                let all_here = self.machines.iter().all(|machine| machine.viewless_ns >= began_ns);
                let predecessor = self.machine_mut(id).view.replace(view.clone());
                self.installed(scope, life, &view, predecessor.as_ref(), waited || all_here);
            }
            MembershipAction::Halt(reason) => {
                let view = machine.view.take();
                machine.lease_end_ns = 0;
                self.halted(life, view.as_ref(), reason);
            }
            // Never asked for: there is no witness, one network, and one configuration.
            MembershipAction::Witness(_)
            | MembershipAction::AskExternalHosts { .. }
            | MembershipAction::SwitchConfig { .. } => {}
        }
    }
}
