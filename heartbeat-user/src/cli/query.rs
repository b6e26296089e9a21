//! `heartbeat status`, `links`, `nodes`, `networks`, `interfaces` and `metrics`.

use std::path::Path;

use serde_json::Value;

use super::{EXIT_NOT_QUORATE, output};
use crate::api::{Client, Request};

pub(super) const LINKS_HELP: &str = "\
RECV counts accepted heartbeats, LOST sequence numbers that never came, DUP and
REORD those that came twice or behind a newer one. HEARD is the time since the
newest, JITTER the mean deviation from the interval, RTT the round trip by the
newest echo. With --json, `intervals` is a histogram: entry n counts
inter-arrival times of 2^n up to 2^(n+1) microseconds.";

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

pub(super) fn links(socket: &Path, json: bool) -> anyhow::Result<u8> {
    let mut client = Client::connect(socket)?;
    if json {
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
