//! The core's questions to the witness, and the answers, whenever they come.

use heartbeat_membership::{
    Incarnation, Input, MembershipInput, NodeId, Now, WitnessAnswer, WitnessHolder, WitnessOutcome, WitnessRequest,
};

use super::Loop;
use crate::{
    clock,
    witness::{Answer, Claim, Content, Holder, Outcome, Request},
};

impl Loop {
    /// Hands a question to the witness's thread. Without one, or when it is still at the one before, the answer is known.
    pub(super) fn ask_witness(&mut self, request: WitnessRequest) {
        let request = match request {
            WitnessRequest::Read => Request::Read,
            WitnessRequest::Advance { from_epoch, holder } => Request::Advance(Claim {
                from_epoch,
                holder: Holder { node: holder.node.0, incarnation: holder.incarnation.0, view: holder.view },
            }),
        };
        if !self.witness.as_ref().is_some_and(|exchange| exchange.ask(request)) {
            let started = Now { mono_ns: clock::monotonic_ns(), boot_ns: clock::boottime_ns() };
            self.feed_witness(WitnessAnswer { started, outcome: WitnessOutcome::Failed });
        }
    }

    /// Feeds the answer that has come, if one has.
    pub(super) fn take_witness_answer(&mut self) {
        let Some(answer) = self.witness.as_ref().and_then(|exchange| exchange.take_answer()) else { return };
        self.feed_witness(for_core(&answer));
    }

    fn feed_witness(&mut self, answer: WitnessAnswer) {
        self.feed(Input::Membership(MembershipInput::Witness(answer)));
    }
}

fn for_core(answer: &Answer) -> WitnessAnswer {
    let outcome = match &answer.outcome {
        Outcome::Standing(standing) => WitnessOutcome::Standing {
            epoch: standing.epoch,
            holder: match &standing.content {
                Content::Held(holder) => Some(WitnessHolder {
                    node: NodeId(holder.node),
                    incarnation: Incarnation(holder.incarnation),
                    view: holder.view,
                }),
                Content::Nobody | Content::Damaged(_) => None,
            },
        },
        Outcome::Won(epoch) => WitnessOutcome::Won { epoch: *epoch },
        Outcome::Failed => WitnessOutcome::Failed,
    };
    WitnessAnswer { started: Now { mono_ns: answer.started_mono_ns, boot_ns: answer.started_boot_ns }, outcome }
}
