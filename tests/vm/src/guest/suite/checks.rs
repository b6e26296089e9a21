//! One function for each thing that is tried.

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Context as _, Result, ensure};
use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LINK_LOST, LINK_RESTORED},
    naming::network_name,
    topology::TopologySpec,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::looks::{PATIENCE, PAUSE, links, links_around, links_told, wait_for_view};
use crate::{
    guest::verifier::verified_instructions,
    report::{Booted, Facts},
};

/// Emulated processors are slow, and timings are not judged here: a controller that is killed must be back before its
/// peers give it up, which is after six of these.
const INTERVAL: &str = "2s";
const NODES: u16 = 3;
const NETWORKS: u8 = 2;
/// Heartbeats to count on each link.
const COUNTED: u64 = 3;
const NODE_REMOVED: u64 = 1135;
const QUORUM_LOST: u64 = 1177;
const DATAPLANE_DEGRADED: u64 = 9003;
const CONTROLLER_STARTED: u64 = 9011;

/// The node that things happen to, and a network of it.
const VICTIM: u16 = 3;
const RESTARTED: u16 = 2;
const CUT_NETWORK: u8 = 1;

pub(super) fn start() -> Result<(Cluster, String)> {
    let cluster = Cluster::start(TopologySpec::new(NODES, NETWORKS), &ClusterSpec::new(INTERVAL))?;
    Ok((cluster, format!("interval {INTERVAL}")))
}

pub(super) fn up(cluster: &mut Cluster, _: &Booted, _: &mut Facts) -> Result<String> {
    cluster.wait_until_up(PATIENCE)?;
    Ok(format!("view {}", wait_for_view(cluster)?))
}

pub(super) fn attached(cluster: &mut Cluster, booted: &Booted, facts: &mut Facts) -> Result<String> {
    let judge = if booted.realtime { "reactor" } else { "kernel-timer" };
    let mut modes = BTreeSet::new();
    let mut degraded = BTreeSet::new();
    for node in cluster.nodes() {
        let status = node.request(&json!({"request": "status"}))?;
        let dataplane = &status["dataplane"];
        let interfaces = dataplane["interfaces"].as_array().context("status has no interfaces")?;
        ensure!(interfaces.len() == usize::from(NETWORKS), "node {}: {dataplane}", node.id());
        for interface in interfaces {
            ensure!(interface["program_id"].is_u64(), "no program on {interface}");
            modes.insert(interface["mode"].as_str().unwrap_or_default().to_owned());
        }
        ensure!(dataplane["judge"] == judge, "node {}: judged by {}, not by {judge}", node.id(), dataplane["judge"]);
        ensure!(status["sender"]["rt_granted"] == true, "node {}: {}", node.id(), status["sender"]);
        degraded.extend(dataplane["degraded"].as_str().map(str::to_owned));
        if let Some(process) = node.pid() {
            facts.verified_instructions.extend(verified_instructions(process));
        }
    }
    let told = cluster.events().inspect(|events| {
        let degraded = events.iter().filter(|event| event.id() == DATAPLANE_DEGRADED);
        degraded.map(|event| event.text().to_owned()).collect::<BTreeSet<_>>()
    });
    degraded.extend(told);
    facts.attached = modes.into_iter().collect::<Vec<_>>().join(", ");
    facts.judge = judge.to_owned();
    facts.degraded = degraded.into_iter().collect();
    ensure!(facts.attached == "native", "attached: {}; {:?}", facts.attached, facts.degraded);
    // The timer is the one thing that a PREEMPT_RT kernel may refuse, and must be told of; nothing else may be missing.
    let told = facts.degraded.iter().all(|reason| reason.contains("PREEMPT_RT"));
    ensure!(told && facts.degraded.is_empty() != booted.realtime, "degraded: {:?}", facts.degraded);
    Ok(format!("{}, judged by {judge}; {:?}", facts.attached, facts.degraded))
}

pub(super) fn counted(cluster: &mut Cluster, _: &Booted, facts: &mut Facts) -> Result<String> {
    let before = links(cluster)?;
    let expected = usize::from(NODES) * usize::from(NODES - 1) * usize::from(NETWORKS);
    ensure!(before.len() == expected, "{} links, not {expected}", before.len());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = links(cluster)?;
        let more: Vec<u64> = now.iter().zip(&before).map(|(now, before)| now.received - before.received).collect();
        if more.iter().all(|more| *more >= COUNTED) {
            facts.counted = more.iter().sum();
            facts.lost = now.iter().zip(&before).map(|(now, before)| now.lost - before.lost).sum();
            ensure!(facts.lost == 0, "{} heartbeats were lost", facts.lost);
            return Ok(format!("{} on {expected} links, none lost", facts.counted));
        }
        ensure!(Instant::now() < deadline, "not {COUNTED} heartbeats on every link: {more:?}");
        std::thread::sleep(PAUSE);
    }
}

pub(super) fn one_network_cut(cluster: &mut Cluster, _: &Booted, _: &mut Facts) -> Result<String> {
    let network = network_name(CUT_NETWORK);
    let place = cluster.events().len();
    let expected = links_around(VICTIM, NODES, &network);
    cluster.topology().cut(VICTIM, CUT_NETWORK)?;
    let lost = |events: &[Event]| links_told(events, LINK_LOST).is_superset(&expected);
    cluster.events().wait_until(place, PATIENCE, "1123 on the links that were cut", lost)?;
    cluster.topology().heal(VICTIM, CUT_NETWORK)?;
    let back = |events: &[Event]| links_told(events, LINK_RESTORED).is_superset(&expected);
    let events = cluster.events().wait_until(place, PATIENCE, "1122 on them", back)?;
    let told = links_told(&events, LINK_LOST);
    ensure!(told == expected, "1123 elsewhere too: {told:?}");
    let removed: Vec<&Value> = events.iter().filter(|event| event.id() == NODE_REMOVED).map(Event::value).collect();
    ensure!(removed.is_empty(), "removed: {removed:?}");
    Ok(format!("{} links lost and restored", expected.len()))
}

pub(super) fn restarted(cluster: &mut Cluster, _: &Booted, _: &mut Facts) -> Result<String> {
    let incarnation = |cluster: &Cluster| {
        let status = cluster.node(RESTARTED).request(&json!({"request": "status"}))?;
        status["node"]["incarnation"].as_u64().context("status has no incarnation")
    };
    let before = incarnation(cluster)?;
    let place = cluster.events().len();
    let begin = Instant::now();
    cluster.node_mut(RESTARTED).kill()?;
    cluster.start_node(RESTARTED, &[])?;
    let is_start = |event: &Event| event.id() == CONTROLLER_STARTED && event.node() == u64::from(RESTARTED);
    let started = cluster.events().wait_for(place, PATIENCE, "9011 of the restarted controller", is_start)?;
    let took = begin.elapsed();
    ensure!(started.detail()["adopted"] == true, "{}", started.value());
    ensure!(incarnation(cluster)? == before, "another incarnation than before");
    wait_for_view(cluster)?;
    let events = cluster.events().since(place);
    let removed: Vec<&Value> = events.iter().filter(|event| event.id() == NODE_REMOVED).map(Event::value).collect();
    ensure!(removed.is_empty(), "removed: {removed:?}");
    Ok(format!("same incarnation after {} ms", took.as_millis()))
}

pub(super) fn cut_off(cluster: &mut Cluster, _: &Booted, _: &mut Facts) -> Result<String> {
    let place = cluster.events().len();
    for network in 1..=NETWORKS {
        cluster.topology().cut(VICTIM, network)?;
    }
    let others = || (1..=NODES).filter(|node| *node != VICTIM);
    let removed = |events: &[Event]| {
        let by = |node: u16| {
            move |event: &Event| {
                event.id() == NODE_REMOVED && event.node() == u64::from(node) && event.peer() == Some(u64::from(VICTIM))
            }
        };
        others().all(|node| events.iter().any(by(node)))
            && events.iter().any(|event| event.id() == QUORUM_LOST && event.node() == u64::from(VICTIM))
    };
    let events =
        cluster.events().wait_until(place, PATIENCE, "1135 at the others and 1177 at the node cut off", removed)?;
    let is_wrong = |event: &&Event| event.id() == NODE_REMOVED && event.peer() != Some(u64::from(VICTIM));
    ensure!(!events.iter().any(|event| is_wrong(&event)), "somebody else was removed");
    for network in 1..=NETWORKS {
        cluster.topology().heal(VICTIM, network)?;
    }
    let view = wait_for_view(cluster)?;
    Ok(format!("removed, stopped, back in view {view}"))
}

pub(super) fn left(cluster: &mut Cluster, _: &Booted, _: &mut Facts) -> Result<String> {
    for node in cluster.nodes() {
        node.signal(Signal::SIGTERM)?;
    }
    for id in 1..=NODES {
        let status = cluster.node_mut(id).wait(PATIENCE)?;
        ensure!(status.success(), "node {id} ended with {status}");
        let pinned = &cluster.node(id).files().bpf_directory;
        ensure!(!pinned.exists(), "{} is still there", pinned.display());
    }
    Ok("all ended with 0".to_owned())
}
