//! What became of the frames to one node, by three books that know nothing of each other: the data plane's counters, the
//! driver's count of frames that went to XDP, and its count of frames that had no room.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use bytemuck::Zeroable as _;
use heartbeat_common::{
    ABI_VERSION,
    records::{CounterRecord, RejectRecord},
    reject::Reject,
};
use heartbeat_tests::{
    cluster::Cluster,
    namespace::Namespace,
    naming::{network_name, node_name},
};
use serde::Serialize;

/// All since the node was started.
#[derive(Clone, Debug, Serialize)]
pub struct Books {
    /// Frames that went to XDP on all of the node's interfaces.
    pub reached: u64,
    /// Frames that XDP dropped, by the driver's count.
    pub dropped: u64,
    /// Heartbeats in the books.
    pub accepted: u64,
    /// Heartbeats that met another one of their link.
    pub contended: u64,
    /// Control messages beyond what their sender may send.
    pub limited: u64,
    /// Refused, by reason; those with none are left out.
    pub refused: BTreeMap<&'static str, u64>,
    /// Frames for which the flooded interface had no room: they never reached XDP.
    pub no_room: u64,
}

impl Books {
    /// Reads all three. Nothing may be on its way to the node.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read.
    pub(super) fn read(cluster: &Cluster, node: u16, flooded: u8) -> Result<Self> {
        let topology = cluster.topology();
        let folder = cluster.node(node).files().bpf_directory.join(format!("v{ABI_VERSION}"));
        let mut rejects = RejectRecord::zeroed();
        for mut cpu in per_cpu::<RejectRecord>(&folder.join("REJECTS"))? {
            for (sum, count) in rejects.counters().iter_mut().zip(cpu.counters()) {
                *sum += *count;
            }
        }
        let mut counters = CounterRecord::zeroed();
        for cpu in per_cpu::<CounterRecord>(&folder.join("COUNTERS"))? {
            counters.accepted += cpu.accepted;
            counters.contended += cpu.contended;
            counters.control_limited += cpu.control_limited;
        }
        let (mut reached, mut dropped) = (0, 0);
        for network in topology.network_ids() {
            let statistics = driver(topology.node(node), &network_name(network))?;
            reached += statistics.xdp_packets;
            dropped += statistics.xdp_drops;
        }
        let refused = Reject::ALL.into_iter().map(|reason| (reason.name(), rejects.counters()[reason as usize]));
        let refused = refused.collect::<Vec<_>>();
        Ok(Self {
            reached,
            dropped,
            accepted: counters.accepted,
            contended: counters.contended,
            limited: counters.control_limited,
            refused: refused.into_iter().filter(|(_, count)| *count > 0).collect(),
            no_room: no_room(topology.network(flooded), &node_name(node))?,
        })
    }

    /// Frames that XDP dropped and no counter explains, or the other way round.
    #[must_use]
    pub fn unexplained(&self) -> u64 {
        let explained = self.accepted + self.contended + self.limited + self.refused.values().sum::<u64>();
        self.dropped.abs_diff(explained)
    }
}

fn per_cpu<T: aya::Pod>(path: &Path) -> Result<Vec<T>> {
    let read = || -> Result<Vec<T>> {
        let map: PerCpuArray<MapData, T> = PerCpuArray::try_from(Map::PerCpuArray(MapData::from_pin(path)?))?;
        Ok(map.get(&0, 0)?.iter().copied().collect())
    };
    read().with_context(|| format!("{} cannot be read", path.display()))
}

#[derive(Default)]
struct Driver {
    xdp_packets: u64,
    xdp_drops: u64,
}

/// Sums over the queues of a veth, by `ethtool -S`.
fn driver(namespace: &Namespace, interface: &str) -> Result<Driver> {
    let output = namespace.command("ethtool")?.args(["-S", interface]).output();
    let output = output.context("cannot start `ethtool` (package ethtool)")?;
    ensure!(output.status.success(), "ethtool -S {interface}: {output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut sums = Driver::default();
    let mut seen = 0;
    for line in text.lines() {
        let Some((name, number)) = line.trim().split_once(": ") else { continue };
        let sum = match name {
            _ if !name.starts_with("rx_queue_") => continue,
            _ if name.ends_with("_xdp_packets") => &mut sums.xdp_packets,
            _ if name.ends_with("_xdp_drops") => &mut sums.xdp_drops,
            _ => continue,
        };
        *sum += number.trim().parse::<u64>().with_context(|| format!("{line:?} of ethtool"))?;
        seen += 1;
    }
    ensure!(seen >= 2, "the driver of {interface} counts no frames at XDP:\n{text}");
    Ok(sums)
}

fn no_room(bridge: &Namespace, port: &str) -> Result<u64> {
    let output = bridge.command("ip")?.args(["-json", "-statistics", "link", "show", "dev", port]).output();
    let output = output.context("cannot start `ip` (package iproute2)")?;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).context("`ip` answers no JSON")?;
    shown[0]["stats64"]["tx"]["dropped"].as_u64().context("`ip` shows no drops")
}
