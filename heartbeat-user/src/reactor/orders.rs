//! Orders of an operator: handed to the core, and what it said to them.

use heartbeat_membership::{Input, MembershipInput, NodeId, Refusal};

use super::{
    Loop,
    queue::{Order, Report},
};

/// An order that the core has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    ticket: u64,
    refusal: Option<Refusal>,
}

impl Loop {
    /// Feeds an order. The core counts what it refuses and says no more: whatever count has grown is the answer.
    pub(super) fn carry_out(&mut self, ticket: u64, order: Order) {
        let before = self.core.snapshot().refused;
        self.feed(Input::Membership(match order {
            Order::ConfirmFenced(node) => MembershipInput::ConfirmFenced { peer: NodeId(node) },
            Order::FormForced => MembershipInput::FormForced,
            Order::ClearQuarantine(node) => MembershipInput::ClearQuarantine { peer: NodeId(node) },
        }));
        self.changed = true;
        let after = self.core.snapshot().refused;
        let refusal = after.into_iter().find(|(reason, count)| before.get(reason) != Some(count));
        self.carried.push(Carried { ticket, refusal: refusal.map(|(reason, _)| reason) });
    }

    /// Tells what became of the orders of this pass: behind the events that they raised.
    pub(super) fn tell_carried(&mut self) {
        while let Some(Carried { ticket, refusal }) = self.carried.pop() {
            self.report(Report::Carried { ticket, refusal });
        }
    }
}
