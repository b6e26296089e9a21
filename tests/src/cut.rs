//! Cutting a network between its nodes without any of them losing its carrier.
//!
//! Frames are dropped where the network's bridge forwards them, by pair of ports: a cut may be one way only. A cut of the
//! carrier would be seen by the kernel, and would heal late: it tells of a carrier that is back up to a second later.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};

use crate::{
    clock::Moment,
    namespace::Namespace,
    netlink::{Change, Netfilter},
    nft::nft,
};

const TABLE: &str = "heartbeat";
const SET: &str = "cut";

/// Length of an interface name in the kernel, and so of each half of a key of the set.
const NAME_LENGTH: usize = 16;

/// As many elements as surely fit into an attribute's 64 KiB; each takes 44 bytes.
const PAIRS_AT_ONCE: usize = 1_400;

/// A direction between two ports of a bridge.
pub(crate) type Pair = (String, String);

/// Which directions between the ports of one bridge are cut.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Opened, and the rules installed, by the first cut: a network that is never cut forwards without them.
    netfilter: Option<Netfilter>,
    pairs: BTreeSet<Pair>,
}

impl Cuts {
    /// Cuts those of `pairs` that are not cut yet.
    pub(crate) fn cut(&self, bridge: &Namespace, pairs: impl IntoIterator<Item = Pair>) -> Result<Moment> {
        let mut state = self.lock();
        let wanted: Vec<Pair> = pairs.into_iter().filter(|pair| !state.pairs.contains(pair)).collect();
        let netfilter = match state.netfilter.take() {
            Some(netfilter) => netfilter,
            None => prepare(bridge)?,
        };
        let moment = apply(&netfilter, Change::Add, &wanted);
        state.netfilter = Some(netfilter);
        let moment = moment.with_context(|| format!("cannot cut in {}", bridge.name()))?;
        state.pairs.extend(wanted);
        Ok(moment)
    }

    /// Heals those of `pairs` that are cut.
    pub(crate) fn heal(&self, bridge: &Namespace, pairs: impl IntoIterator<Item = Pair>) -> Result<Moment> {
        let mut state = self.lock();
        let wanted: Vec<Pair> = pairs.into_iter().filter(|pair| state.pairs.contains(pair)).collect();
        let Some(netfilter) = &state.netfilter else {
            return Moment::of(|| Ok(()));
        };
        let moment = apply(netfilter, Change::Remove, &wanted);
        let moment = moment.with_context(|| format!("cannot heal in {}", bridge.name()))?;
        state.pairs.retain(|pair| !wanted.contains(pair));
        Ok(moment)
    }

    /// The directions that are cut now.
    pub(crate) fn current(&self) -> Vec<Pair> {
        self.lock().pairs.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is changed only after the kernel has done its part, so a panic elsewhere leaves it true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(netfilter: &Netfilter, change: Change, pairs: &[Pair]) -> Result<Moment> {
    let keys: Vec<Vec<u8>> = pairs.iter().map(|(from, to)| key(from, to)).collect();
    Moment::of(|| {
        for keys in keys.chunks(PAIRS_AT_ONCE) {
            netfilter.change(change, TABLE, SET, keys)?;
        }
        Ok(())
    })
}

/// Two interface names in the kernel's fixed length.
fn key(from: &str, to: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 * NAME_LENGTH);
    for name in [from, to] {
        let start = key.len();
        key.extend(name.bytes().take(NAME_LENGTH - 1));
        key.resize(start + NAME_LENGTH, 0);
    }
    key
}

/// Installs the rule that looks pairs up.
fn prepare(bridge: &Namespace) -> Result<Netfilter> {
    let rules = format!(
        "table bridge {TABLE} {{\n set {SET} {{ type ifname . ifname; }}\n \
         chain forward {{ type filter hook forward priority 0; iifname . oifname @{SET} drop; }}\n}}\n"
    );
    nft(bridge, &rules)?;
    bridge.run(Netfilter::open)?.context("cannot open a netfilter socket")
}
