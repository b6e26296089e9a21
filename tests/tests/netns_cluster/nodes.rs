//! Clusters for tests, and looks at what their nodes report.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use heartbeat_tests::{
    cluster::Cluster,
    config::ClusterSpec,
    events::{Event, LOCAL_STALL},
    process::find_program,
    topology::TopologySpec,
};
use serde_json::{Value, json};

/// 1177: the node stopped acting.
pub(crate) const QUORUM_LOST: u64 = 1177;
/// 9004: datagrams were refused.
pub(crate) const REJECT_BURST: u64 = 9004;
/// 9003: the data plane is not what was asked for.
pub(crate) const DATAPLANE_DEGRADED: u64 = 9003;
/// 9006: a peer left in order.
pub(crate) const NODE_LEFT: u64 = 9006;
/// 9010: the judge had stopped.
pub(crate) const JUDGE_RESTARTED: u64 = 9010;
/// 9011: the controller started.
pub(crate) const CONTROLLER_STARTED: u64 = 9011;

/// What a loaded machine may take for something that is otherwise immediate.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Three nodes on two networks, every link up.
pub(crate) fn three_up(interval: Duration) -> Cluster {
    up(TopologySpec::new(3, 2), &spec(interval))
}

/// The defaults of the program, at this interval.
pub(crate) fn spec(interval: Duration) -> ClusterSpec {
    ClusterSpec::new(&format!("{}ms", interval.as_millis()))
}

/// A cluster, every link up.
pub(crate) fn up(topology: TopologySpec, spec: &ClusterSpec) -> Cluster {
    let mut cluster = Cluster::start(topology, spec).unwrap();
    wait_until_up(&mut cluster);
    cluster
}

/// A cluster whose nodes do not run yet.
pub(crate) fn prepared(topology: TopologySpec, spec: &ClusterSpec) -> Cluster {
    Cluster::prepare(topology, spec, &find_program().unwrap()).unwrap()
}

/// Starts every node, and waits for every link.
pub(crate) fn start_all(cluster: &mut Cluster) {
    for id in cluster.topology().node_ids() {
        cluster.start_node(id, &[]).unwrap();
    }
    wait_until_up(cluster);
}

fn wait_until_up(cluster: &mut Cluster) {
    cluster.wait_until_up(Duration::from_secs(30)).unwrap();
    wait_for_view(cluster);
}

/// Waits until all nodes are in one view, and may act.
pub(crate) fn wait_for_view(cluster: &Cluster) {
    wait_for_view_of(cluster, &cluster.topology().node_ids().collect::<Vec<_>>());
}

/// Waits until these nodes are in one view, nobody else is, and they may act.
pub(crate) fn wait_for_view_of(cluster: &Cluster, all: &[u16]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let view = |node: &u16| {
        // A node that has only just been started does not answer yet.
        let status = cluster.node(*node).request(&json!({"request": "status"})).unwrap_or_default();
        status["view"].clone()
    };
    loop {
        let views: Vec<Value> = all.iter().map(view).collect();
        let same = |view: &Value| view["number"] == views[0]["number"] && view["members"] == json!(all);
        if views.iter().all(|view| same(view) && view["quorate"] == true) {
            return;
        }
        assert!(Instant::now() < deadline, "no view of all nodes: {views:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the loss of one network may be told of beside the links: states of interfaces and networks, all on that network.
pub(crate) fn is_network_state(event: &Event) -> bool {
    (1125..=1130).contains(&event.id())
}

/// Replaces a part of a node's configuration, which has to be there.
pub(crate) fn edit_config(cluster: &Cluster, node: u16, from: &str, to: &str) {
    let path = cluster.node(node).files().config();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is not in\n{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// `status` of a node.
pub(crate) fn status(cluster: &Cluster, node: u16) -> Value {
    cluster.node(node).request(&json!({"request": "status"})).unwrap()
}

/// The incarnation that a node runs as.
pub(crate) fn incarnation(cluster: &Cluster, node: u16) -> u64 {
    status(cluster, node)["node"]["incarnation"].as_u64().unwrap()
}

/// One link in `status` of a node.
pub(crate) fn link(status: &Value, peer: u16, network: &str) -> Value {
    let links = status["links"].as_array().unwrap();
    links.iter().find(|link| link["peer"] == peer && link["network"] == network).unwrap().clone()
}

/// Events of this number about a link, by (node, peer, network).
pub(crate) fn links_of(events: &[Event], id: u64) -> BTreeSet<(u64, u64, String)> {
    let of_id = events.iter().filter(|event| event.id() == id);
    of_id.filter_map(|event| Some((event.node(), event.peer()?, event.network()?.to_owned()))).collect()
}

/// Both directions between one node and each other of `all`, on a network.
pub(crate) fn links_between(node: u64, all: &[u64], network: &str) -> BTreeSet<(u64, u64, String)> {
    let others = all.iter().filter(|other| **other != node);
    others.flat_map(|other| [(node, *other, network.to_owned()), (*other, node, network.to_owned())]).collect()
}

/// How long nodes stood still by their own account: this machine's processors do stop now and then.
pub(crate) fn stalls_ns(events: &[Event]) -> u64 {
    let stalls = events.iter().filter(|event| event.id() == LOCAL_STALL);
    stalls.filter_map(|event| event.detail()["total_ms"].as_u64().map(|ms| ms * 1_000_000).or(length_ns(event))).sum()
}

/// Length of the stall that a 9001 tells of.
pub(crate) fn length_ns(event: &Event) -> Option<u64> {
    event.detail()["length_ns"].as_u64()
}

/// Nanoseconds of a short duration.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}
