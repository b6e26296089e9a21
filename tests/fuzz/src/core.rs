//! Any sequence of inputs for the protocol core, in any phase of a real cluster's life.
//!
//! Real messages, whole, cut short or changed; messages that nobody sent; verdicts, echoes, orders, time. The HMAC is the
//! control target's business: here everything has passed it, so that a member may lie. Nothing may panic, and:
//!
//! - only a verdict of the judge makes 1123: no message does;
//! - a message of an incarnation that is not accepted changes neither view, stage nor sequence, and tells nobody anything;
//! - no lease is longer than L from now, whatever is echoed;
//! - sequence, view number and epoch never fall within an incarnation.

mod feed;
mod phases;

use std::sync::LazyLock;

use heartbeat_membership::{
    Action, Event, EventId, Incarnation, Input, MembershipAction, MembershipInput, Newest, Node, Now, Record,
};

pub use self::phases::Phase;
use crate::bytes::Bytes;

/// Phases to begin in.
pub static PHASES: LazyLock<Vec<Phase>> = LazyLock::new(phases::record);

/// Actions after one input. A core that wants more than its own queue of messages holds has run away.
const ACTIONS: usize = 40_000;

/// Passes in which a core comes to rest: a regroup of a node alone needs two.
const PASSES: usize = 8;

/// Inputs of one sequence: longer ones teach nothing new and slow the search down.
const INPUTS: usize = 200;

/// Checks one sequence.
///
/// # Panics
/// If a rule is broken.
pub fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let phase = &PHASES[usize::from(bytes.byte()) % PHASES.len()];
    let mut run = Run { core: phase.core.clone(), now: phase.now, judged: false, record: None };
    run.drain();
    for _ in 0..INPUTS {
        if bytes.is_empty() {
            return;
        }
        let (input, later_ns) = feed::next(&mut bytes, phase, run.now);
        run.now.mono_ns += later_ns;
        run.now.boot_ns += later_ns;
        run.take(input);
    }
}

/// A core under test.
struct Run {
    core: Node,
    now: Now,
    /// The judge has said something: links may be lost.
    judged: bool,
    record: Option<Record>,
}

impl Run {
    fn take(&mut self, input: Input) {
        self.settle();
        let stranger = self.is_of_a_stranger(&input);
        let before = stranger.then(|| self.standing());
        // A core that was adopted, or formed, has heard verdicts before.
        self.judged |= matches!(input, Input::Late(_) | Input::Silent(_));
        self.handle(input.clone());
        let told = self.drain();
        if let Some(before) = before {
            assert_eq!(before, self.standing(), "a stranger's message changed something: {input:?}");
            assert!(told.is_empty(), "a stranger's message told {told:?}: {input:?}");
        }
    }

    /// What is due by the clock is not the next input's doing. One input sets off a bounded number of steps: what is left is
    /// done at the next.
    fn settle(&mut self) {
        for _ in 0..PASSES {
            let before = self.standing();
            self.core.handle(self.now, Input::Timer);
            self.drain();
            if self.standing() == before {
                return;
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let incarnation = self.core.incarnation();
        self.core.handle(self.now, input);
        if self.core.incarnation() != incarnation {
            // Another life, perhaps at the same moment: it begins with nothing.
            self.record = None;
        }
    }

    /// Carries out what the core wants, as a driver does; what operators were told.
    fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..ACTIONS {
            let Some(action) = self.core.poll_action() else { return events };
            match action {
                Action::Event(event) => {
                    assert!(self.judged || event.id != EventId::LinkLost, "lost without a verdict: {event:?}");
                    events.push(event);
                }
                Action::TakeIncarnation { at_least } => {
                    let incarnation = Incarnation(at_least.0.max(self.core.incarnation().0.saturating_add(1)));
                    self.handle(Input::IncarnationTaken { incarnation });
                }
                Action::Membership(MembershipAction::Bind { sequence, exclude }) => {
                    let newest = |peer| Newest { peer, stamp_ns: self.now.mono_ns };
                    let newest = exclude.into_iter().map(newest).collect();
                    self.core.handle(self.now, Input::Membership(MembershipInput::Bound { sequence, newest }));
                }
                Action::Membership(MembershipAction::Lease { end_boot_ns }) => {
                    let longest_ns = self.now.boot_ns.saturating_add(phases::LEASE_NS);
                    assert!(end_boot_ns <= longest_ns, "a lease until {end_boot_ns} at {:?}", self.now);
                }
                Action::Membership(MembershipAction::Persist(record)) => self.recorded(record),
                Action::Send { .. }
                | Action::AcceptIncarnation { .. }
                | Action::ClearIncarnation { .. }
                | Action::Membership(_)
                | Action::Stop => {}
            }
        }
        panic!("{ACTIONS} actions, and more to come");
    }

    fn recorded(&mut self, record: Record) {
        if let Some(earlier) = &self.record {
            let number = |record: &Record| record.view.as_ref().map_or(0, |view| view.id.number);
            let fell = record.sequence < earlier.sequence || record.epoch < earlier.epoch;
            assert!(!fell && number(&record) >= number(earlier), "{earlier:?} became {record:?}");
        }
        self.record = Some(record);
    }

    /// Kinds above the handshake's, of an incarnation that is not accepted.
    fn is_of_a_stranger(&self, input: &Input) -> bool {
        let Input::Control(message) = input else { return false };
        let peers = self.core.snapshot().peers;
        let accepted = peers.iter().find(|peer| peer.id == message.source).and_then(|peer| peer.accepted);
        message.kind >= 20 && accepted != Some(Incarnation(message.incarnation))
    }

    fn standing(&self) -> String {
        let snapshot = self.core.snapshot();
        let membership = snapshot.membership.map(|state| (state.view, state.stage, state.sequence, state.bound));
        format!("{membership:?}")
    }
}
