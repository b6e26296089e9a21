//! The thread that asks the witness. It has normal priority, and may be stuck in a file system for as long as that takes.

use std::{io, sync::Arc, thread::Builder};

use super::{
    Advance, Content, Standing, Witness,
    exchange::{Answer, Exchange, Outcome, Request},
};
use crate::clock;

/// Starts the thread. It is never joined: what it waits for may never come, and it ends with the process.
///
/// # Errors
/// When the kernel gives no thread.
pub fn start(mut witness: Box<dyn Witness>, exchange: Arc<Exchange>) -> io::Result<()> {
    Builder::new().name("heartbeat-witn".to_owned()).spawn(move || {
        loop {
            if let Some(request) = exchange.next_request() {
                serve(&mut *witness, &exchange, request);
            }
        }
    })?;
    Ok(())
}

fn serve(witness: &mut dyn Witness, exchange: &Exchange, request: Request) {
    // Before anything is asked: what the answer is worth counts from here.
    let (started_mono_ns, started_boot_ns) = (clock::monotonic_ns(), clock::boottime_ns());
    exchange.begin(started_mono_ns);
    let result = match request {
        Request::Read => witness.read().map(Outcome::Standing),
        Request::Advance(claim) => witness.advance(&claim).map(|advance| match advance {
            Advance::Won(epoch) => {
                exchange.tell_standing(Standing { epoch, content: Content::Held(claim.holder) });
                Outcome::Won(epoch)
            }
            Advance::Lost(standing) => Outcome::Standing(standing),
        }),
    };
    let (outcome, error) = match result {
        Ok(outcome) => (outcome, None),
        Err(error) => (Outcome::Failed, Some(error.to_string())),
    };
    exchange.finish(Answer { started_mono_ns, started_boot_ns, outcome }, error);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::witness::{Claim, Holder, WitnessError};

    /// Answers what it is told to, when it is told to.
    struct Scripted(Receiver<Result<Standing, WitnessError>>);

    impl Witness for Scripted {
        fn read(&mut self) -> Result<Standing, WitnessError> {
            self.0.recv().expect("the test goes on")
        }

        fn advance(&mut self, claim: &Claim) -> Result<Advance, WitnessError> {
            self.read().map(|standing| match standing.content {
                Content::Nobody => Advance::Won(claim.from_epoch + 1),
                Content::Held(_) | Content::Damaged(_) => Advance::Lost(standing),
            })
        }
    }

    const NOBODY: Standing = Standing { epoch: 0, content: Content::Nobody };
    const HOLDER: Holder = Holder { node: 1, incarnation: 2, view: 3 };

    fn scripted() -> (Sender<Result<Standing, WitnessError>>, Arc<Exchange>) {
        let (say, script) = channel();
        let exchange = Arc::new(Exchange::new().unwrap());
        start(Box::new(Scripted(script)), Arc::clone(&exchange)).unwrap();
        (say, exchange)
    }

    fn wait(exchange: &Exchange) -> Answer {
        let mut descriptors = [PollFd::new(exchange.answers_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut descriptors, PollTimeout::from(10_000_u16)).unwrap(), 1, "an answer within ten seconds");
        exchange.take_answer().unwrap()
    }

    #[test]
    fn answers_say_when_the_operation_began() {
        let (say, exchange) = scripted();
        let before = clock::monotonic_ns();
        assert!(exchange.ask(Request::Read));
        while exchange.report().busy_ns == 0 {
            std::thread::yield_now();
        }
        let begun = clock::monotonic_ns();
        say.send(Ok(NOBODY)).unwrap();
        let answer = wait(&exchange);
        assert!((before..=begun).contains(&answer.started_mono_ns), "{answer:?}");
        assert!(answer.started_boot_ns.abs_diff(clock::boottime_ns()) < 10_000_000_000);
        assert_eq!(answer.outcome, Outcome::Standing(NOBODY));
        assert_eq!(exchange.report().standing, Some(NOBODY));
        assert_eq!(exchange.report().busy_ns, 0);
    }

    #[test]
    fn a_witness_that_hangs_holds_nobody_up_and_is_shown() {
        let (say, exchange) = scripted();
        assert!(exchange.ask(Request::Advance(Claim { from_epoch: 4, holder: HOLDER })));
        while exchange.report().busy_ns == 0 {
            std::thread::yield_now();
        }
        // One may wait behind it; more are refused and counted, at once.
        assert!(exchange.ask(Request::Read));
        assert!(!exchange.ask(Request::Read));
        assert!(exchange.take_answer().is_none());
        let report = exchange.report();
        assert_eq!((report.operations, report.refused), (0, 1));
        say.send(Ok(NOBODY)).unwrap();
        assert_eq!(wait(&exchange).outcome, Outcome::Won(5));
        assert_eq!(exchange.report().standing, Some(Standing { epoch: 5, content: Content::Held(HOLDER) }));
        say.send(Ok(NOBODY)).unwrap();
        assert_eq!(wait(&exchange).outcome, Outcome::Standing(NOBODY));
    }

    #[test]
    fn a_failure_is_told_until_the_next_success() {
        let (say, exchange) = scripted();
        assert!(exchange.ask(Request::Read));
        say.send(Err(WitnessError::NotAWitness { path: "/mnt/w/heartbeat-witness".into() })).unwrap();
        assert_eq!(wait(&exchange).outcome, Outcome::Failed);
        let report = exchange.report();
        assert_eq!((report.operations, report.failures), (1, 1));
        assert!(report.error.unwrap().contains("/mnt/w/heartbeat-witness"));
        assert!(exchange.ask(Request::Read));
        say.send(Ok(NOBODY)).unwrap();
        wait(&exchange);
        assert_eq!(exchange.report().error, None);
    }
}
