//! The handshake with one peer: which incarnation of it is proven, and which challenge is outstanding.
//!
//! Only an answer to an outstanding challenge proves anything: it was made after the challenge was drawn, so it is no
//! replay, and the sequence numbers in it are those of that moment. A hello moves nothing; it is merely answered.
//!
//! ```text
//!   calling --- proof of a new or the same incarnation ---> idle     (calling: hello is repeated)
//!   idle ------ cleared, own incarnation changed ---------> calling
//!   either ---- the peer left in order -------------------> idle     (it calls when it comes back)
//! ```

use serde::{Deserialize, Serialize};

use crate::ids::Incarnation;
use crate::nonce::{Nonce, Nonces};
use crate::time::SECOND_NS;

/// A challenge is replaced when it is this many hello periods old, and answers count until it is twice that: an answer
/// that was held back for longer describes a window that the sender may have left far behind.
const CHALLENGE_PERIODS: u64 = 8;

/// An absent peer is called ever more seldom, down to once in this time: it calls itself when it comes, and is called at once
/// when it is heard.
const SELDOM_NS: u64 = SECOND_NS;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Handshake {
    repeat_ns: u64,
    /// Pause after the next hello: `repeat_ns` at first, twice as long after each that nobody answers.
    pause_ns: u64,
    /// When the last hello went out.
    called_ns: u64,
    /// Highest incarnation that ever proved itself.
    highest: u64,
    /// The incarnation that is accepted.
    accepted: Option<Incarnation>,
    /// The incarnation that left in order; 0 = none.
    departed: u64,
    /// The highest incarnation that was removed from a view; 0 = none.
    barred: u64,
    /// When the next hello is due; `None` = idle.
    calling: Option<u64>,
    current: Option<Challenge>,
    previous: Option<Challenge>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Challenge {
    nonce: Nonce,
    drawn_ns: u64,
}

/// What a fresh answer proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// An incarnation above every earlier one.
    New,
    /// The one that is accepted already.
    Same,
    /// One that was accepted and then cleared, and did not leave.
    Again,
    /// Below the highest: never accepted.
    Lower,
    /// It had left: never accepted again.
    Departed,
    /// It was removed from a view: never accepted again.
    Barred,
}

impl Handshake {
    pub(crate) fn new(now_ns: u64, repeat_ns: u64) -> Self {
        Self {
            repeat_ns,
            pause_ns: repeat_ns,
            called_ns: 0,
            highest: 0,
            accepted: None,
            departed: 0,
            barred: 0,
            calling: Some(now_ns),
            current: None,
            previous: None,
        }
    }

    /// The kernel accepts this incarnation already. Control windows are not in the kernel, so the peer is called once
    /// more to learn where they start; nothing else depends on that.
    pub(crate) fn adopt(&mut self, incarnation: Incarnation) {
        self.highest = incarnation.0;
        self.accepted = Some(incarnation);
    }

    pub(crate) fn set_repeat_ns(&mut self, repeat_ns: u64) {
        self.repeat_ns = repeat_ns;
        self.pause_ns = repeat_ns;
    }

    pub(crate) fn accepted(&self) -> Option<Incarnation> {
        self.accepted
    }

    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    pub(crate) fn has_left(&self) -> bool {
        self.accepted.is_none() && self.departed > self.barred
    }

    pub(crate) fn next_hello_ns(&self) -> Option<u64> {
        self.calling
    }

    /// Takes the due hello, and sets the time of the next one.
    pub(crate) fn take_hello(&mut self, now_ns: u64) -> bool {
        match self.calling {
            Some(due) if due <= now_ns => {
                self.called_ns = now_ns;
                self.calling = Some(now_ns.saturating_add(self.pause_ns));
                self.pause_ns = self.pause_ns.saturating_mul(2).min(SELDOM_NS.max(self.repeat_ns));
                true
            }
            Some(_) | None => false,
        }
    }

    /// Calls the peer again, from this time on, until it answers.
    pub(crate) fn call(&mut self, from_ns: u64) {
        self.calling = Some(from_ns);
        self.pause_ns = self.repeat_ns;
    }

    /// The peer was heard with an incarnation that it has not proved: it is called as if for the first time.
    /// Recordings sent again make that no more frequent than an unanswered call is at first.
    pub(crate) fn call_who_is_heard(&mut self, now_ns: u64) {
        let due_ns = match self.calling {
            Some(due_ns) => due_ns.min(self.called_ns.saturating_add(self.repeat_ns).max(now_ns)),
            None => now_ns,
        };
        self.call(due_ns);
    }

    /// The outstanding challenge, drawn anew when there is none or it is old.
    pub(crate) fn challenge(&mut self, now_ns: u64, nonces: &mut Nonces) -> Nonce {
        if let Some(challenge) = self.current {
            if now_ns.saturating_sub(challenge.drawn_ns) < self.challenge_life_ns() {
                return challenge.nonce;
            }
            self.previous = Some(challenge);
        }
        let challenge = Challenge { nonce: nonces.next(), drawn_ns: now_ns };
        self.current = Some(challenge);
        challenge.nonce
    }

    /// Whether `answer` answers an outstanding challenge.
    pub(crate) fn answers(&self, answer: &Nonce, now_ns: u64) -> bool {
        [self.current, self.previous].into_iter().flatten().any(|challenge| {
            challenge.nonce == *answer
                && now_ns.saturating_sub(challenge.drawn_ns) < self.challenge_life_ns().saturating_mul(2)
        })
    }

    /// A fresh answer proved `incarnation`: what that means. Every challenge is used up, except by the incarnation that
    /// is accepted already: it moves nothing, and where two machines run as this peer the other one's answer to the same
    /// challenge is behind it.
    pub(crate) fn prove(&mut self, incarnation: Incarnation) -> Proof {
        if self.accepted != Some(incarnation) {
            self.forget_challenges();
        }
        if incarnation.0 < self.highest {
            return Proof::Lower;
        }
        if incarnation.0 <= self.departed {
            return Proof::Departed;
        }
        if incarnation.0 <= self.barred {
            return Proof::Barred;
        }
        let proof = match self.accepted {
            Some(accepted) if accepted == incarnation => Proof::Same,
            Some(_) | None if incarnation.0 == self.highest => Proof::Again,
            Some(_) | None => Proof::New,
        };
        self.highest = incarnation.0;
        self.accepted = Some(incarnation);
        self.calling = None;
        proof
    }

    /// The accepted incarnation left in order.
    pub(crate) fn depart(&mut self) {
        if let Some(incarnation) = self.accepted.take() {
            self.departed = incarnation.0;
        }
        self.calling = None;
        self.forget_challenges();
    }

    /// A view goes on without this incarnation: it is never accepted again. Whether it was accepted until now.
    pub(crate) fn bar(&mut self, incarnation: Incarnation) -> bool {
        self.barred = self.barred.max(incarnation.0);
        let was = self.accepted.is_some_and(|accepted| accepted.0 <= self.barred);
        if was {
            self.accepted = None;
            self.calling = None;
            self.forget_challenges();
        }
        was
    }

    /// What [`Self::bar`] has barred last.
    pub(crate) fn barred(&self) -> Option<Incarnation> {
        (self.barred != 0).then_some(Incarnation(self.barred))
    }

    /// An earlier controller of this life had barred this incarnation. Whether the kernel accepts it nevertheless.
    pub(crate) fn adopt_bar(&mut self, incarnation: Incarnation) -> bool {
        self.highest = self.highest.max(incarnation.0);
        self.barred = self.barred.max(incarnation.0);
        self.accepted.take_if(|accepted| accepted.0 <= incarnation.0).is_some()
    }

    /// A new life of this node: it has heard nobody yet, and is bound by nothing that an earlier one agreed to. Whether
    /// an incarnation was accepted until now.
    pub(crate) fn begin_life(&mut self, now_ns: u64) -> bool {
        self.barred = 0;
        self.forget_challenges();
        let was = self.accepted.take().is_some();
        if was || self.departed < self.highest || self.highest == 0 {
            self.call(now_ns);
        }
        was
    }

    /// Whether this incarnation was removed from a view.
    pub(crate) fn is_barred(&self, incarnation: u64) -> bool {
        incarnation != 0 && incarnation <= self.barred
    }

    pub(crate) fn forget_challenges(&mut self) {
        self.current = None;
        self.previous = None;
    }

    fn challenge_life_ns(&self) -> u64 {
        self.repeat_ns.saturating_mul(CHALLENGE_PERIODS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPEAT: u64 = 100;

    fn handshake() -> (Handshake, Nonces) {
        (Handshake::new(0, REPEAT), Nonces::new([1; 32], 1))
    }

    #[test]
    fn proof_table() {
        let (fresh, _) = handshake();
        let accepted = || {
            let mut handshake = fresh.clone();
            assert_eq!(handshake.prove(Incarnation(5)), Proof::New);
            handshake
        };
        let left = || {
            let mut handshake = accepted();
            handshake.depart();
            handshake
        };
        for (state, proved, expected, then) in [
            (fresh.clone(), 1, Proof::New, Some(1)),
            (accepted(), 4, Proof::Lower, Some(5)),
            (accepted(), 5, Proof::Same, Some(5)),
            (accepted(), 6, Proof::New, Some(6)),
            (left(), 4, Proof::Lower, None),
            (left(), 5, Proof::Departed, None),
            (left(), 6, Proof::New, Some(6)),
        ] {
            let mut handshake = state;
            assert_eq!(handshake.prove(Incarnation(proved)), expected);
            assert_eq!(handshake.accepted(), then.map(Incarnation));
        }
    }

    #[test]
    fn a_challenge_is_answered_once() {
        let (mut handshake, mut nonces) = handshake();
        let nonce = handshake.challenge(0, &mut nonces);
        assert_eq!(handshake.challenge(1, &mut nonces), nonce);
        assert!(handshake.answers(&nonce, 2));
        handshake.prove(Incarnation(1));
        assert!(!handshake.answers(&nonce, 3));
        assert_ne!(handshake.challenge(4, &mut nonces), nonce);
    }

    #[test]
    fn an_answer_that_proves_what_is_known_leaves_the_challenge_to_the_next() {
        let (mut handshake, mut nonces) = handshake();
        handshake.prove(Incarnation(5));
        let nonce = handshake.challenge(0, &mut nonces);
        assert_eq!(handshake.prove(Incarnation(5)), Proof::Same);
        assert!(handshake.answers(&nonce, 1));
        assert_eq!(handshake.prove(Incarnation(6)), Proof::New);
        assert!(!handshake.answers(&nonce, 2));
    }

    #[test]
    fn a_bar_outlives_the_controller() {
        let (mut fresh, _) = handshake();
        assert!(!fresh.adopt_bar(Incarnation(5)), "the kernel accepts nobody");
        assert_eq!(fresh.barred(), Some(Incarnation(5)));
        assert_eq!(fresh.prove(Incarnation(5)), Proof::Barred);
        assert_eq!(fresh.next_hello_ns(), Some(0), "who may be back is called");
        assert_eq!(fresh.prove(Incarnation(6)), Proof::New);

        for (accepted, was) in [(5, true), (6, false)] {
            let (mut adopted, _) = handshake();
            adopted.adopt(Incarnation(accepted));
            assert_eq!(adopted.adopt_bar(Incarnation(5)), was);
            assert_eq!(adopted.accepted().is_none(), was);
        }
    }

    #[test]
    fn a_held_back_answer_expires() {
        let (mut handshake, mut nonces) = handshake();
        let life = REPEAT * CHALLENGE_PERIODS;
        let first = handshake.challenge(0, &mut nonces);
        assert_eq!(handshake.challenge(life - 1, &mut nonces), first);
        assert_ne!(handshake.challenge(life, &mut nonces), first);
        assert!(handshake.answers(&first, 2 * life - 1));
        assert!(!handshake.answers(&first, 2 * life));
    }

    #[test]
    fn hellos_repeat_until_a_proof_and_not_after_a_departure() {
        let (mut handshake, _) = handshake();
        assert!(handshake.take_hello(0));
        assert!(!handshake.take_hello(REPEAT - 1));
        assert!(handshake.take_hello(REPEAT));
        assert!(!handshake.take_hello(3 * REPEAT - 1), "whoever does not answer is called ever more seldom");
        assert!(handshake.take_hello(3 * REPEAT));
        handshake.prove(Incarnation(3));
        assert_eq!(handshake.next_hello_ns(), None);
        handshake.call(500);
        assert!(handshake.take_hello(500));
        handshake.depart();
        assert_eq!(handshake.next_hello_ns(), None);
        assert!(handshake.has_left());
    }

    #[test]
    fn an_absent_peer_is_called_once_a_second_and_at_once_when_it_is_heard() {
        let (mut handshake, _) = handshake();
        let mut hellos = 0;
        let mut now_ns = 0;
        while now_ns < 60 * SELDOM_NS {
            now_ns = handshake.next_hello_ns().expect("it is called for ever");
            hellos += u32::from(handshake.take_hello(now_ns));
        }
        assert!((60..100).contains(&hellos), "{hellos}");
        handshake.call_who_is_heard(now_ns + 1);
        assert_eq!(handshake.next_hello_ns(), Some(now_ns + REPEAT), "not sooner after the last call than at first");
        handshake.call_who_is_heard(now_ns + 5 * REPEAT);
        assert_eq!(handshake.next_hello_ns(), Some(now_ns + REPEAT), "what is due stays due");
        assert!(handshake.take_hello(now_ns + 5 * REPEAT));
        assert_eq!(handshake.next_hello_ns(), Some(now_ns + 6 * REPEAT), "and it begins anew");
    }
}
