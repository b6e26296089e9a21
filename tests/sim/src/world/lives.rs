//! Machines that die, stand still, start and go on.

use heartbeat_membership::{Incarnation, Input, MembershipInput};

use super::{Happening, World};
use crate::check::recorded::Happened;

impl World {
    /// The machine dies at once.
    pub fn crash(&mut self, index: usize) {
        let (id, true_ns) = (self.machines[index].id, self.true_ns);
        self.note(|| format!("node {id} crashes"));
        let now = self.machines[index].now(true_ns);
        self.record(index, now, || Happened::Ended);
        let machine = &mut self.machines[index];
        machine.note_viewless(true_ns);
        machine.core = None;
        machine.view = None;
        machine.lease_end_ns = 0;
        machine.life += 1;
        machine.clock.resume(true_ns);
        machine.stunned_until_ns = 0;
        self.checker.disturb(id, true_ns);
    }

    /// The controller is killed; the kernel goes on accepting, nothing is sent. It is restarted after `pause_ns`.
    pub fn kill(&mut self, index: usize, pause_ns: u64) {
        let (id, true_ns) = (self.machines[index].id, self.true_ns);
        self.note(|| format!("the controller of node {id} is killed"));
        self.machines[index].note_viewless(true_ns);
        self.machines[index].kill();
        self.checker.disturb(id, true_ns);
        self.after(pause_ns, Happening::Start(index));
    }

    /// The whole machine stands still, its clock too.
    pub fn stun(&mut self, index: usize, for_ns: u64) {
        let (id, true_ns) = (self.machines[index].id, self.true_ns);
        let machine = &mut self.machines[index];
        if machine.core.is_none() || machine.stunned_until_ns != 0 {
            return;
        }
        machine.clock.stop(true_ns);
        machine.stunned_until_ns = true_ns + for_ns;
        self.note(|| format!("node {id} stands still as a whole for {for_ns} ns"));
        self.checker.disturb(id, true_ns);
        self.after(for_ns, Happening::Resume(index));
    }

    pub(super) fn resume(&mut self, index: usize) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        if machine.stunned_until_ns == 0 || true_ns < machine.stunned_until_ns {
            return;
        }
        let length_ns = machine.clock.resume(true_ns);
        // What is on its way was reckoned by the clock that stood.
        machine.woken_at = None;
        machine.stunned_until_ns = 0;
        machine.unaware = Some((length_ns, true_ns));
        let (id, life) = (machine.id, machine.life);
        if machine.frozen_until_ns > true_ns - length_ns {
            machine.frozen_until_ns += length_ns;
            let left_ns = machine.frozen_until_ns - true_ns;
            self.after(left_ns, Happening::Thaw(index, life));
        }
        self.note(|| format!("node {id} goes on after {length_ns} ns, and knows nothing of it"));
        self.checker.disturb(id, true_ns);
        let queued = std::mem::take(&mut self.machines[index].queue);
        for frame in queued {
            self.arrive(index, frame);
        }
        self.after(1, Happening::Beat(index, life));
        self.after(1, Happening::Judge(index, life));
        self.feed(index, Input::Timer);
    }

    /// The controller stands still; `mute` stops the sender as well.
    pub fn freeze(&mut self, index: usize, for_ns: u64, mute: bool) {
        let (id, life, true_ns) = (self.machines[index].id, self.machines[index].life, self.true_ns);
        self.note(|| format!("node {id} freezes for {for_ns} ns, sender too: {mute}"));
        self.machines[index].frozen_until_ns = true_ns + for_ns;
        self.machines[index].mute = mute;
        self.checker.disturb(id, true_ns);
        self.after(for_ns, Happening::Thaw(index, life));
    }

    pub(super) fn start(&mut self, index: usize) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        if machine.core.is_some() {
            return;
        }
        if machine.killed && machine.adopt(&self.config, self.arbiter, self.stop_time_ns, true_ns) {
            let (id, life) = (machine.id, machine.life);
            if let (Some(core), Some(mutation)) = (&mut machine.core, self.mutation) {
                core.mutate(mutation);
            }
            let (now, incarnation) = (machine.now(true_ns), Incarnation(machine.disk.incarnation));
            let view = machine.view.as_deref().cloned();
            self.record(index, now, || Happened::Started { incarnation, view });
            self.note(|| format!("node {id} adopts what it finds"));
            self.checker.disturb(id, true_ns);
            // A restarted sender beats at once: its peers have waited long enough.
            self.after(1, Happening::Beat(index, life));
            self.after(1, Happening::Judge(index, life));
            self.drain(index);
            let standing = self.machines[index].kernel.standing(self.machines[index].now(true_ns).mono_ns);
            for input in standing {
                self.feed(index, input);
            }
            if let Some((length_ns, _)) = self.machines[index].unaware {
                self.notice_stun(index, length_ns);
            }
            return;
        }
        // Without its disk a node falls back on its clock, which may be behind but is never twice the same.
        let incarnation = if machine.disk.incarnation == 0 { 1 + true_ns / 1000 } else { machine.disk.incarnation + 1 };
        let id = machine.id;
        machine.start(&self.config, self.arbiter, self.stop_time_ns, incarnation, true_ns);
        if let (Some(core), Some(mutation)) = (&mut machine.core, self.mutation) {
            core.mutate(mutation);
        }
        let life = machine.life;
        let now = self.machines[index].now(true_ns);
        self.record(index, now, || Happened::Started { incarnation: Incarnation(incarnation), view: None });
        self.note(|| format!("node {id} starts as {incarnation}"));
        self.checker.disturb(id, true_ns);
        let beat = self.random.below(self.config.timing.interval_ns);
        self.after(beat, Happening::Beat(index, life));
        self.after(1, Happening::Judge(index, life));
        self.drain(index);
    }

    pub(super) fn thaw(&mut self, index: usize, life: u64) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        if machine.life != life || machine.frozen_until_ns > true_ns {
            return;
        }
        let id = machine.id;
        machine.mute = false;
        let waiting = std::mem::take(&mut machine.inbox);
        self.note(|| format!("node {id} goes on"));
        self.checker.disturb(id, true_ns);
        if let Some((length_ns, _)) = self.machines[index].unaware {
            self.notice_stun(index, length_ns);
        }
        self.feed(index, Input::Timer);
        for input in waiting {
            self.feed(index, input);
        }
        let machine = &mut self.machines[index];
        if std::mem::take(&mut machine.overflow) {
            for input in machine.kernel.standing(machine.now(true_ns).mono_ns) {
                self.feed(index, input);
            }
        }
    }

    /// A driver that runs, or the next one that is started on what stayed, tells its core that the clock stood once
    /// something fresh has arrived.
    pub(super) fn notice_stun(&mut self, index: usize, length_ns: u64) {
        let true_ns = self.true_ns;
        let machine = &mut self.machines[index];
        if machine.fresh && machine.core.is_some() && machine.frozen_until_ns <= true_ns {
            machine.fresh = false;
            machine.unaware = None;
            // Before the echoes that have come since, as in the reactor.
            let now = machine.now(true_ns);
            self.tell(index, now, Input::Membership(MembershipInput::ClockStood { length_ns }));
            self.drain(index);
        }
    }
}
