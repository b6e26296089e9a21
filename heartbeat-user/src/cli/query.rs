//! `heartbeat status`, `links`, `nodes`, `networks`, `interfaces` and `metrics`.

use std::path::Path;

use serde_json::Value;

use super::{EXIT_NOT_QUORATE, LinksArgs, output};
use crate::api::{Client, NodeName, Request};

pub(super) const LINKS_HELP: &str = "\
RECV counts accepted heartbeats, LOST sequence numbers that never came, DUP and
REORD those that came twice or behind a newer one. HEARD is the time since the
newest, JITTER the mean deviation from the interval, RTT the round trip by the
newest echo. With --json, `intervals` is a histogram: entry n counts
inter-arrival times of 2^n up to 2^(n+1) nanoseconds.

With --history, a line for each of the last 64 heartbeats of a peer on each
network. AGO is the time since it arrived, GAP the time since the one before,
in intervals under TIMES; SENT GAP is the same by the peer's clock, SKIPPED the
sequence numbers in between that did not come. NOTE tells why a gap was long:
sent late, lost on the way, or sent in time and delayed on the way.

Examples:
  heartbeat links                             all links, with their counts
  heartbeat links --history bravo             the last arrivals from bravo
  heartbeat links --history 2 --network private --json";

pub(super) fn status(socket: &Path, json: bool) -> anyhow::Result<u8> {
    let mut client = Client::connect(socket)?;
    let quorate = if json {
        let value = client.raw(&Request::Status {})?;
        output::print(&format!("{value}\n"))?;
        value.pointer("/view/quorate").and_then(Value::as_bool).unwrap_or(false)
    } else {
        let status = client.status()?;
        output::print(&status.overview(output::coloured()))?;
        status.view.quorate
    };
    Ok(if quorate { 0 } else { EXIT_NOT_QUORATE })
}

pub(super) fn links(socket: &Path, args: &LinksArgs) -> anyhow::Result<u8> {
    let mut client = Client::connect(socket)?;
    if let Some(peer) = &args.history {
        let (peer, network) = (NodeName::typed(peer), args.network.clone());
        if args.json {
            output::print(&format!("{}\n", client.raw(&Request::History { peer, network, limit: None })?))?;
        } else {
            let histories = client.history(peer, network, None)?;
            let name = client.status()?;
            let tables = histories.iter().map(|history| history.text(name.node_name(history.peer), output::coloured()));
            output::print(&tables.collect::<Vec<_>>().join("\n"))?;
        }
    } else if args.json {
        output::print(&format!("{}\n", client.raw(&Request::Links {})?))?;
    } else {
        output::print(&client.status()?.links_table().render(output::coloured()))?;
    }
    Ok(0)
}

pub(super) fn metrics(socket: &Path) -> anyhow::Result<u8> {
    output::print(&Client::connect(socket)?.metrics()?)?;
    Ok(0)
}

/// One list of the status, by its name in JSON.
pub(super) fn part(socket: &Path, name: &str, json: bool) -> anyhow::Result<u8> {
    let mut client = Client::connect(socket)?;
    if json {
        let value = client.raw(&Request::Status {})?;
        output::print(&format!("{}\n", value.get(name).unwrap_or(&Value::Null)))?;
        return Ok(0);
    }
    let status = client.status()?;
    let table = match name {
        "nodes" => status.nodes_table(),
        "networks" => status.networks_table(),
        _ => status.interfaces_table(),
    };
    output::print(&table.render(output::coloured()))?;
    Ok(0)
}
