//! `heartbeat check-config`.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::{CheckArgs, output};
use crate::config::{Config, Machine, check_machine, format_duration_ns};
use crate::keys::cluster_id;
use crate::status::{Colour, Table};
use crate::witness::file::look_for_marker;

pub(crate) const HELP: &str = "\
A configuration of two nodes:

  [cluster]
  name = \"demo\"
  send_key = 1
  key = [{ id = 1, file = \"/etc/heartbeat-xdp/key\" }]

  [timing]
  interval = \"1.2s\"      # 1ms to 60s
  late_after = 2          # intervals without a heartbeat until a link is late
  lost_after = 6          # and until a peer is silent on all its networks

  [[network]]
  id = 1
  name = \"private\"
  role = \"internal\"

  [[node]]
  id = 1
  name = \"alpha\"          # the host name
  addresses = { private = \"10.0.0.1\" }

  [[node]]
  id = 2
  name = \"bravo\"
  addresses = { private = \"10.0.0.2\" }

All but [local] and [metrics] is the same on all nodes: compare the digest that
this command prints. Exit code 2 if something is wrong; each problem is named
with its line and what is allowed.";

pub(super) fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let config = Config::load(&args.config)?;
    let machine = if args.here { Some(check_machine(&config)?) } else { None };
    output::print(&report(&config, machine.as_ref()))?;
    if args.here
        && let Some(directory) = &config.quorum.witness
    {
        look_for_marker(directory).context("the node would start, and do without the vote of the witness")?;
    }
    Ok(0)
}

/// The effective values, and the detection times that follow from them.
fn report(config: &Config, machine: Option<&Machine>) -> String {
    let timing = &config.timing;
    let duration = format_duration_ns;
    let keys: Vec<String> = config.keys.iter().map(|key| format!("{} ({})", key.id, key.file.display())).collect();
    let local = &config.local;
    let node = config.local_node();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{file} is correct.\n\n\
         cluster       {name} (id {id})\n\
         digest        {digest}\n\
         keys          {keys}; sends with {send_key}\n\
         this node     {node} (id {node_id})\n\n\
         interval      {interval}\n\
         late          {late_after} intervals + {slack} slack = {late} without a heartbeat: event 1123\n\
         silent        {lost_after} intervals + {slack} slack = {silent} on all networks: the node is given up\n\
         grace         {grace} between the end of the lease and the stop of the node\n\
         hang_timeout  {hang} that a controller may be frozen while its kernel beats\n\n\
         quorum        {quorum}\n\n\
         sender        {sender}, real-time priority {rt_priority}\n\
         dataplane     {dataplane}\n\
         run_dir       {run_dir}\n\
         state_dir     {state_dir}\n\
         bpf_dir       {bpf_dir}\n\
         metrics       {metrics}\n\n{networks}\n{nodes}",
        file = config.file.display(),
        name = config.cluster_name,
        id = hex::encode(cluster_id(&config.cluster_name)),
        digest = hex::encode(config.digest()),
        keys = keys.join(", "),
        send_key = config.send_key,
        node = node.name,
        node_id = node.id,
        interval = duration(timing.interval_ns),
        late_after = timing.late_after,
        slack = duration(timing.slack_ns()),
        late = duration(timing.late_timeout_ns()),
        lost_after = timing.lost_after,
        silent = duration(timing.silent_timeout_ns()),
        grace = duration(timing.grace_ns),
        hang = duration(timing.hang_timeout_ns),
        quorum = quorum(config),
        sender = local.sender.as_str(),
        rt_priority = local.rt_priority,
        dataplane = local.dataplane.as_str(),
        run_dir = local.run_dir.display(),
        state_dir = local.state_dir.display(),
        bpf_dir = local.bpf_dir.display(),
        metrics = config.metrics.listen.map_or_else(|| "off".to_owned(), |address| address.to_string()),
        networks = networks(config, machine).render(false),
        nodes = nodes(config).render(false),
    );
    text
}

/// Who decides.
fn quorum(config: &Config) -> String {
    let votes: u32 = config.nodes.iter().map(|node| node.votes).sum();
    match &config.quorum.witness {
        Some(path) => format!(
            "majority of {} votes, one of them of the witness in {}, whose record holds for {}",
            votes + 1,
            path.display(),
            format_duration_ns(config.quorum.record_lease_ns)
        ),
        None => format!(
            "majority of {votes} votes; `{}` decides an exact half; two nodes: {}; no witness",
            config.node(config.quorum.tie_breaker).map(|node| node.name.as_str()).unwrap_or_default(),
            config.quorum.two_node.as_str()
        ),
    }
}

fn networks(config: &Config, machine: Option<&Machine>) -> Table {
    let mut table = Table::new(&[">ID", "NETWORK", "ROLE", ">VLAN", "HOPS", "MULTICAST", "INTERFACE"]);
    for network in &config.networks {
        let found = machine.and_then(|machine| machine.interfaces.iter().find(|found| found.network == network.id));
        let attached = config.local_node().addresses.contains_key(&network.id);
        let named = config.local.interfaces.get(&network.id).cloned();
        let interface = match (found, named) {
            (Some(found), _) => found.attach.name.clone(),
            (None, Some(name)) => name,
            (None, None) if attached => "by address".to_owned(),
            (None, None) => "-".to_owned(),
        };
        let cells = [
            network.id.to_string(),
            network.name.clone(),
            network.role.as_str().to_owned(),
            network.vlan.map_or_else(|| "-".to_owned(), |vlan| vlan.to_string()),
            if network.single_hop { "single" } else { "any" }.to_owned(),
            network.multicast.to_string(),
            interface,
        ];
        table.row(cells.map(|cell| (cell, Colour::Plain)));
    }
    table
}

fn nodes(config: &Config) -> Table {
    let mut table = Table::new(&[">ID", "NODE", ">VOTES", "ADDRESSES"]);
    for node in &config.nodes {
        let address = |network: &crate::config::Network| {
            node.addresses.get(&network.id).map(|address| format!("{} {address}", network.name))
        };
        let addresses: Vec<String> = config.networks.iter().filter_map(address).collect();
        let cells = [node.id.to_string(), node.name.clone(), node.votes.to_string(), addresses.join(", ")];
        table.row(cells.map(|cell| (cell, Colour::Plain)));
    }
    table
}
