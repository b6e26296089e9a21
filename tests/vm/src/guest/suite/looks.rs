//! Looks at a cluster in namespaces.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use heartbeat_tests::{cluster::Cluster, events::Event};
use serde_json::{Value, json};

/// Longer than anything takes that is going to happen, shorter than the host's limit for the whole.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a status, which nothing announces.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// What has been counted on a link.
pub(super) struct Counted {
    pub(super) received: u64,
    pub(super) lost: u64,
}

/// Every link of every node, always in the same order.
pub(super) fn links(cluster: &Cluster) -> Result<Vec<Counted>> {
    let mut all = Vec::new();
    for node in cluster.nodes() {
        let status = node.request(&json!({"request": "status"}))?;
        let links = status["links"].as_array().context("status has no links")?;
        for link in links {
            let number = |field: &str| link[field].as_u64().with_context(|| format!("no `{field}` in {link}"));
            all.push(Counted { received: number("received")?, lost: number("lost")? });
        }
    }
    Ok(all)
}

/// Waits until all nodes are in one view and may act; returns its number.
pub(super) fn wait_for_view(cluster: &Cluster) -> Result<u64> {
    let all: Vec<u16> = cluster.topology().node_ids().collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A node that has only just been started does not answer yet.
        let view =
            |node: &u16| cluster.node(*node).request(&json!({"request": "status"})).unwrap_or_default()["view"].take();
        let views: Vec<Value> = all.iter().map(view).collect();
        let is_whole = |view: &Value| view["members"] == json!(all) && view["quorate"] == true;
        if let Some(number) = views.first().and_then(|view| view["number"].as_u64())
            && views.iter().all(|view| is_whole(view) && view["number"] == number)
        {
            return Ok(number);
        }
        if Instant::now() > deadline {
            bail!("no view of all nodes: {views:?}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Both directions between one node and each other of `all`, on a network.
pub(super) fn links_around(node: u16, all: u16, network: &str) -> BTreeSet<(u64, u64, String)> {
    let others = (1..=all).filter(|other| *other != node).map(u64::from);
    let node = u64::from(node);
    others.flat_map(|other| [(node, other, network.to_owned()), (other, node, network.to_owned())]).collect()
}

pub(super) fn links_told(events: &[Event], id: u64) -> BTreeSet<(u64, u64, String)> {
    let of_id = events.iter().filter(|event| event.id() == id);
    of_id.filter_map(|event| Some((event.node(), event.peer()?, event.network()?.to_owned()))).collect()
}
