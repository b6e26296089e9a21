//! What a driver does with the actions of a core, and what the checker is told of them.

use std::sync::Arc;

use heartbeat_membership::{
    Action, Arbiter, ConfigDigest, Detail, Enforcement, Event, EventId, HaltReason, Incarnation, Input,
    MembershipAction, MembershipInput, Newest, NodeId, NodeSet, WitnessRequest,
};

use crate::check::recorded::Happened;

use super::{Happening, LOG_LINES, World};

impl World {
    pub(super) fn drain(&mut self, index: usize) {
        while let Some(action) = self.machines[index].core.as_mut().and_then(heartbeat_membership::Node::poll_action) {
            self.carry_out(index, action);
            if !self.checker.violations.is_empty() {
                return;
            }
        }
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        let due = machine.core.as_ref().and_then(heartbeat_membership::Node::poll_timeout);
        let wanted = due.map(|(due_ns, _)| (machine.life, due_ns));
        // One that is on its way for the same moment will do.
        if wanted == machine.woken_at {
            return;
        }
        machine.wake += 1;
        machine.woken_at = wanted;
        if let Some((life, due_ns)) = wanted {
            let in_ns = machine.clock.to_true(due_ns).saturating_sub(true_ns).max(1);
            let wake = Happening::Wake(index, life, machine.wake);
            self.after(in_ns, wake);
        }
    }

    fn carry_out(&mut self, index: usize, action: Action) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        let now = machine.now(true_ns);
        if machine.incarnation().is_none() {
            return;
        }
        self.record(index, now, || Happened::Action(action.clone()));
        let machine = &mut self.machines[index];
        match action {
            Action::Send { peer, network, kind, body } => self.post(index, peer, network, kind, &body),
            Action::AcceptIncarnation { peer, incarnation, next } => {
                machine.kernel.accept(peer, incarnation, &next, now.mono_ns);
            }
            Action::ClearIncarnation { peer } => {
                machine.kernel.clear(peer);
            }
            Action::TakeIncarnation { at_least } => {
                let taken = at_least.0.max(machine.disk.incarnation + 1);
                machine.disk.incarnation = taken;
                machine.next.clear();
                machine.view = None;
                machine.lease_end_ns = 0;
                machine.began_ns = now.mono_ns;
                machine.began_true_ns = true_ns;
                machine.viewless_ns = true_ns;
                let id = machine.id;
                let incarnation = Incarnation(taken);
                self.tell(index, now, Input::IncarnationTaken { incarnation });
                self.checker.disturb(id, true_ns);
                self.note(|| format!("node {id} takes incarnation {taken}"));
            }
            Action::Membership(action) => self.membership(index, action),
            Action::Event(event) => self.event(index, &event),
            Action::Stop => {
                let id = machine.id;
                machine.note_viewless(true_ns);
                machine.core = None;
                machine.view = None;
                machine.lease_end_ns = 0;
                machine.life += 1;
                self.checker.disturb(id, true_ns);
                self.note(|| format!("node {id} has left"));
            }
        }
    }

    fn membership(&mut self, index: usize, action: MembershipAction) {
        let true_ns = self.true_ns;
        let wait_ns = self.formation_wait_ns();
        let machine = &mut self.machines[index];
        let now = machine.now(true_ns);
        let life = (machine.id, machine.incarnation().unwrap_or(Incarnation(0)));
        match action {
            MembershipAction::Persist(record) => {
                machine.disk.epoch = machine.disk.epoch.max(record.epoch);
                self.checker.recorded(life, &record);
                self.machines[index].record = Some(record);
            }
            MembershipAction::Bind { sequence, exclude } => {
                let (kernel, clears) = (&mut machine.kernel, !self.echo_after_binding);
                let newest = |peer: &NodeId| {
                    let stamp_ns = if clears { kernel.clear(*peer) } else { kernel.newest(*peer) };
                    Newest { peer: *peer, stamp_ns }
                };
                let newest = exclude.iter().map(newest).collect();
                self.note(|| format!("node {} binds itself against {exclude:?} at {sequence}", life.0));
                let bound = Input::Membership(MembershipInput::Bound { sequence, newest });
                self.tell(index, now, bound);
            }
            MembershipAction::Witness(request) => {
                let stuck_ns = match request {
                    WitnessRequest::Advance { .. } => std::mem::take(&mut self.witness.stuck_ns),
                    WitnessRequest::Read => 0,
                };
                let machine_life = machine.life;
                let delay_ns = 1 + stuck_ns + self.random.below(self.witness.delay_ns);
                self.after(delay_ns, Happening::Witness(index, machine_life, request, now));
            }
            MembershipAction::AskExternalHosts { network } => {
                let answer = self.outside.get(&(network, life.0)).copied();
                let answer = Input::Membership(MembershipInput::ExternalHosts { network, answer });
                self.tell(index, now, answer);
            }
            MembershipAction::SwitchConfig { digest } => self.switch_config(index, digest),
            MembershipAction::Lease { end_boot_ns } => {
                machine.lease_end_ns = end_boot_ns;
                let all = self.standings();
                self.checker.leases(index, end_boot_ns, &all);
            }
            MembershipAction::Install(view) => {
                let waited = now.mono_ns >= machine.began_ns + wait_ns;
                let began_true_ns = machine.began_true_ns;
                self.machines.iter_mut().for_each(|machine| machine.note_viewless(true_ns));
                let configured = self.machines.iter().filter(|machine| self.config.node(machine.id).is_some());
                let all_here = configured.into_iter().all(|machine| machine.viewless_ns >= began_true_ns);
                let machine = &mut self.machines[index];
                let predecessor = machine.view.replace(Arc::new(view.clone()));
                machine.installed_ns = true_ns;
                self.note(|| format!("node {} installs {} {:?}", life.0, view.id.number, view.members));
                let digest = self.machines[index].digest.unwrap_or(self.config.digest);
                self.machines[index].disk.digest = Some(digest);
                self.checker.installing(life, &view, predecessor.as_deref(), waited || all_here, digest);
            }
            MembershipAction::Halt(reason) => {
                if reason == HaltReason::Poisoned {
                    self.checker.poisoned(life, machine.view.as_deref());
                }
                let machine = &mut self.machines[index];
                machine.view = None;
                machine.lease_end_ns = 0;
                self.note(|| format!("node {} halts: {reason:?}", life.0));
            }
        }
    }

    fn event(&mut self, index: usize, event: &Event) {
        let true_ns = self.true_ns;
        let machine = &self.machines[index];
        let life = (machine.id, machine.incarnation().unwrap_or(Incarnation(0)));
        // Evidence reaches back to when the view was installed, and to the silence that preceded it.
        let silence_ns = self.config.timing.silent_timeout_ns() * 2;
        let since_ns = machine.installed_ns.saturating_sub(silence_ns);
        let members = machine.view.as_deref().map(heartbeat_membership::View::set).unwrap_or_default();
        match (event.id, event.peer) {
            (EventId::NodeRemoved, Some(peer)) => {
                let old = members.or(&NodeSet::of(peer));
                self.checker.removed(life, peer, &old, since_ns.saturating_sub(self.patience_ns()), true_ns);
            }
            (EventId::RemovalSafe, Some(peer)) => {
                if let Detail::Safe { incarnation, enforced, .. } = event.detail {
                    let all = self.standings();
                    let confirmed = enforced == Enforcement::Confirmed;
                    self.checker.declared_safe(&all[index], (peer, incarnation), confirmed, &all);
                }
            }
            (EventId::Suspended, _) => {
                let view = machine.view.as_ref().map(|view| view.id);
                self.checker.lapsed(life, view, &members, since_ns, true_ns);
            }
            (EventId::QuorumLost, _) => self.checker.tally.quorum_lost += 1,
            (EventId::Pruned, _) => self.checker.tally.pruned += 1,
            (EventId::NodeJoined, _) => self.checker.tally.joined += 1,
            (EventId::ConfigInstalled, _) => self.checker.tally.configs += 1,
            (EventId::WitnessTaken, _) => self.checker.tally.witness_taken += 1,
            (EventId::LocalStall, _) => self.checker.tally.stood_still += 1,
            (EventId::ControllerHung, _) => self.checker.tally.hung += 1,
            (
                EventId::NodeRemoved
                | EventId::RemovalSafe
                | EventId::LinkRestored
                | EventId::LinkLost
                | EventId::NodeLeft
                | EventId::InterfaceUp
                | EventId::InterfaceUnreachable
                | EventId::InterfaceFailed
                | EventId::NetworkUp
                | EventId::NetworkPartitioned
                | EventId::NetworkDown
                | EventId::ViewInstalled
                | EventId::Superseded
                | EventId::ConfigDiffers
                | EventId::AbiDiffers
                | EventId::DuplicateId
                | EventId::Quarantined
                | EventId::QuarantineRefused
                | EventId::QuarantineReleased
                | EventId::ConfigStaged
                | EventId::WitnessLost,
                _,
            ) => {}
        }
        self.note(|| format!("node {} {} {}", life.0, event.id.number(), event.text));
        if self.events.len() < LOG_LINES {
            self.events.push((true_ns, life.0, event.clone()));
        }
    }

    /// A driver goes over to another configuration: for the simulated kernel that changes nothing, for it is told of each
    /// peer.
    fn switch_config(&mut self, index: usize, digest: ConfigDigest) {
        let id = self.machines[index].id;
        self.note(|| format!("node {id} goes over to configuration {digest}"));
        self.machines[index].digest = Some(digest);
    }

    /// Longest time between a silence and the removal that it causes. A decider waits for a slow witness as long as the
    /// grace of any configuration here lets it.
    fn patience_ns(&self) -> u64 {
        let timing = &self.config.timing;
        let witness = self.arbiter == Arbiter::Witness;
        let grace_ns = if witness { self.variant(Self::LONGER_GRACE).config.timing.grace_ns } else { 0 };
        timing.hang_timeout_ns.max(grace_ns) + 60 * timing.interval_ns
    }

    fn formation_wait_ns(&self) -> u64 {
        let timing = &self.config.timing;
        let lease_ns = timing.lease_ns();
        lease_ns + lease_ns / 1000 * 21 + timing.interval_ns + timing.grace_ns + self.stop_time_ns
    }
}
