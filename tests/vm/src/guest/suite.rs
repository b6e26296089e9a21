//! What is tried on a kernel: a cluster of three in namespaces, its life and its accidents.

mod checks;
mod looks;

use anyhow::{Context as _, Result};
use heartbeat_tests::cluster::Cluster;

use super::port::Port;
use crate::report::{Booted, Check, Facts, Report};

/// Lines of each node's output that go with a failure.
const LINES_ON_FAILURE: usize = 12;

/// Tries one thing after the other; the first that fails ends it, because the others build on it.
///
/// # Errors
///
/// When something failed, after that has been reported as a check.
pub fn run(port: &mut Port, booted: &Booted) -> Result<()> {
    let mut suite = Suite { port, booted, facts: Facts::default() };
    let mut cluster = suite.try_it("namespaces, bridges and veth pairs for three nodes", None, checks::start)?;
    suite.step("every link of two networks is up, and all are in one view", &mut cluster, checks::up)?;
    suite.step("programs are attached in the driver", &mut cluster, checks::attached)?;
    suite.step("heartbeats are counted on every link", &mut cluster, checks::counted)?;
    suite.step(
        "one network cut: 1123 on its links, 1122 when it is back, nobody removed",
        &mut cluster,
        checks::one_network_cut,
    )?;
    suite.step("killed and started again: the controller adopts what is pinned", &mut cluster, checks::restarted)?;
    suite.step("cut off: 1135 at the others, 1177 there, and it is back in the view", &mut cluster, checks::cut_off)?;
    suite.step("SIGTERM: all leave, nothing stays pinned", &mut cluster, checks::left)?;
    let facts = suite.facts;
    port.report(&Report::Finished(facts))
}

struct Suite<'a> {
    port: &'a mut Port,
    booted: &'a Booted,
    facts: Facts,
}

impl Suite<'_> {
    fn step(
        &mut self,
        name: &str,
        cluster: &mut Cluster,
        action: impl FnOnce(&mut Cluster, &Booted, &mut Facts) -> Result<String>,
    ) -> Result<()> {
        let mut facts = std::mem::take(&mut self.facts);
        let booted = self.booted;
        let outcome = action(cluster, booted, &mut facts);
        self.facts = facts;
        let tail = || {
            let tails =
                cluster.nodes().iter().map(|node| format!("node {}:\n{}", node.id(), node.log_tail(LINES_ON_FAILURE)));
            tails.collect::<Vec<_>>().join("\n")
        };
        self.try_it(name, Some(&tail), || outcome.map(|detail| ((), detail)))
    }

    fn try_it<T>(
        &mut self,
        name: &str,
        tail: Option<&dyn Fn() -> String>,
        action: impl FnOnce() -> Result<(T, String)>,
    ) -> Result<T> {
        let outcome = action();
        let (passed, detail) = match &outcome {
            Ok((_, detail)) => (true, detail.clone()),
            Err(error) => (false, format!("{error:#}\n{}", tail.map(|tail| tail()).unwrap_or_default())),
        };
        self.port.report(&Report::Check(Check { name: name.to_owned(), passed, detail }))?;
        outcome.map(|(value, _)| value).with_context(|| name.to_owned())
    }
}
