//! What heartbeats to and from many peers cost: a real node whose kernel sends to all of them, then its data plane as it
//! receives from as many.
//!
//! The peers of the sending node do not exist: their hardware addresses are set, and the frames go out by its interfaces.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{
    links::{FdLink, PinnedLink},
    loaded_programs,
};
use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    naming::{network_name, node_name},
    process::find_program,
    topology::TopologySpec,
};
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::json;

use crate::{
    arena,
    soak::{
        self, Crowd, NETWORKS,
        usage::{self, ProgramRuns},
    },
};

/// The node that sends.
const NODE: u16 = 1;
/// Until the metronome beats.
const PATIENCE: Duration = Duration::from_secs(20);
/// Until it does so evenly.
const WARM_UP: Duration = Duration::from_secs(1);

/// Shares of one CPU, percent.
#[derive(Serialize)]
pub(super) struct Cost {
    peers: u16,
    interval_ms: u64,
    seconds: u64,
    engine: String,
    /// Copies that left in a second.
    sent_per_second: f64,
    /// The metronome's programs, with all that a copy does until it stands in the queue of the interface.
    send: f64,
    /// Heartbeats that the program accepted in a second.
    received_per_second: f64,
    /// The program that receives.
    receive: f64,
    /// The threads of the sending node, by name. The reactor greets peers that do not answer: in a cluster that is
    /// complete it has less to do.
    threads: BTreeMap<String, f64>,
}

/// Of the interval `interval_ms` and `peers` peers on two networks.
pub(super) fn measure(peers: u16, interval_ms: u64, seconds: u64) -> Result<Cost> {
    let mut cost = send(peers, interval_ms, seconds).context("the sending node")?;
    arena::enter()?;
    let report = soak::measure(Crowd { peers, interval_ns: interval_ms * 1_000_000, seconds })?;
    cost.received_per_second = report.per_second();
    cost.receive = report.share();
    Ok(cost)
}

pub(super) fn print(cost: &Cost) {
    let Cost { peers, interval_ms, engine, sent_per_second, send, received_per_second, receive, threads, .. } = cost;
    let all: f64 = threads.values().sum();
    println!(
        "{peers} peers on {NETWORKS} networks every {interval_ms} ms, sender {engine}\n\n\
         | what | a second | % of a CPU |\n|---|---|---|\n\
         | programs that send | {sent_per_second:.0} | {send:.2} |\n\
         | program that receives | {received_per_second:.0} | {receive:.2} |\n\
         | both: the path in the kernel | | {:.2} |",
        send + receive,
    );
    for (name, share) in threads {
        println!("| thread `{name}` of the sending node | | {share:.2} |");
    }
    println!("| in all | | {:.2} |", send + receive + all);
}

fn send(peers: u16, interval_ms: u64, seconds: u64) -> Result<Cost> {
    let mut spec = ClusterSpec::new(&format!("{interval_ms}ms"));
    spec.sender = Some("metronome".to_owned());
    // The second node stands for all: it is where frames to the others go, and does not run.
    let mut cluster = Cluster::prepare(TopologySpec::new(2, NETWORKS), &spec, &find_program()?)?;
    introduce(&cluster, peers)?;
    let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime).context("the kernel does not count run times")?;
    cluster.start_node(NODE, &[])?;
    let expected = u64::from(peers) * u64::from(NETWORKS);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A node that is just being started does not answer yet.
        let status = cluster.node(NODE).request(&json!({"request": "status"})).unwrap_or_default();
        if status["sender"]["engine"] == "metronome" && status["counters"]["metronome_sent"].as_u64() > Some(expected) {
            break;
        }
        ensure!(Instant::now() < deadline, "the metronome does not beat: {}", status["sender"]);
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(WARM_UP);
    let pins = cluster.node(NODE).files().bpf_directory.join("metronome");
    let process = cluster.node(NODE).pid().context("the node has ended")?;
    let before = Sample::take(&cluster, &pins, process)?;
    thread::sleep(Duration::from_secs(seconds));
    let after = Sample::take(&cluster, &pins, process)?;
    let elapsed_ns = after.at.duration_since(before.at).as_nanos() as f64;
    let share = |after: u64, before: u64| 100.0 * after.saturating_sub(before) as f64 / elapsed_ns;
    Ok(Cost {
        peers,
        interval_ms,
        seconds,
        engine: "metronome".to_owned(),
        sent_per_second: after.sent.saturating_sub(before.sent) as f64 / (elapsed_ns / 1e9),
        send: share(after.programs_ns, before.programs_ns),
        received_per_second: 0.0,
        receive: 0.0,
        threads: after
            .threads_ns
            .iter()
            .map(|(name, ns)| (name.clone(), share(*ns, before.threads_ns.get(name).copied().unwrap_or(0))))
            .collect(),
    })
}

/// Writes the peers into the node's configuration, and their hardware addresses into its namespace.
fn introduce(cluster: &Cluster, peers: u16) -> Result<()> {
    let path = cluster.node(NODE).files().config();
    let text = fs::read_to_string(&path).context("the node has no configuration")?;
    let mut tables = String::new();
    for node in 3..=peers + 1 {
        let address =
            |network: u8| format!("{} = \"{}\"", network_name(network), cluster.topology().address(node, network));
        let addresses: Vec<String> = cluster.topology().network_ids().map(address).collect();
        let name = node_name(node);
        tables += &format!("\n[[node]]\nid = {node}\nname = \"{name}\"\naddresses = {{ {} }}\n", addresses.join(", "));
    }
    let text = text.replace("two_node = \"tie-breaker\"\n", "").replace("\n[quorum]", &format!("{tables}\n[quorum]"));
    fs::write(&path, text).context("the node's configuration cannot be written")?;
    for node in 2..=peers + 1 {
        for network in cluster.topology().network_ids() {
            let address = cluster.topology().address(node, network).to_string();
            let hardware = format!("02:00:00:00:{network:02x}:{:02x}", node.to_le_bytes()[0]);
            let interface = network_name(network);
            let mut ip = cluster.topology().node(NODE).command("ip")?;
            ip.args(["neigh", "replace", &address, "lladdr", &hardware, "nud", "permanent", "dev", &interface]);
            let output = ip.output().context("cannot start `ip` (package iproute2)")?;
            ensure!(output.status.success(), "{address}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    Ok(())
}

/// What has been used so far.
struct Sample {
    at: Instant,
    sent: u64,
    programs_ns: u64,
    threads_ns: BTreeMap<String, u64>,
}

impl Sample {
    fn take(cluster: &Cluster, pins: &Path, process: Pid) -> Result<Self> {
        let status = cluster.node(NODE).request(&json!({"request": "status"}))?;
        let sent = status["counters"]["metronome_sent"].as_u64().context("status has no metronome_sent")?;
        let programs_ns = ["gate", "tick"].iter().map(|name| runs(&pins.join(name)).map(|runs| runs.nanoseconds));
        let programs_ns = programs_ns.sum::<Result<u64>>()?;
        Ok(Self { at: Instant::now(), sent, programs_ns, threads_ns: threads_ns(process)? })
    }
}

/// Of the program that is attached by a pinned link.
fn runs(pin: &Path) -> Result<ProgramRuns> {
    let link = FdLink::from(PinnedLink::from_pin(pin).with_context(|| format!("{} is no link", pin.display()))?);
    let id = link.info().context("a link without information")?.program_id();
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    let program = program.with_context(|| format!("program {id} is gone"))?;
    usage::program_runs(&program.fd().context("a program without descriptor")?)
}

/// Run time of the threads of a process, as the scheduler counts it; those of one name together.
fn threads_ns(process: Pid) -> Result<BTreeMap<String, u64>> {
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/task")).context("the node has ended")? {
        let path = entry.context("threads cannot be listed")?.path();
        // A thread that has ended meanwhile is none of ours.
        let (Ok(name), Ok(text)) = (fs::read_to_string(path.join("comm")), fs::read_to_string(path.join("schedstat")))
        else {
            continue;
        };
        let ran_ns: u64 = text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0);
        *sums.entry(name.trim_end().to_owned()).or_default() += ran_ns;
    }
    Ok(sums)
}
