//! `heartbeat events`.

use std::path::Path;

use anyhow::bail;

use super::{EventsArgs, output};
use crate::api::{Client, Request, Streamed};
use crate::event::{Event, Severity, printable};
use crate::status::{Colour, painted};

pub(super) const HELP: &str = "\
Examples:
  heartbeat events --since 1h             the last hour
  heartbeat events --id 1123 --json       links that were lost, with the evidence
  heartbeat events --follow --limit 0     from now on

Numbers below 9000 are those of Windows clusters: 1122 link restored, 1123 link
lost, 1135 node removed, 1177 quorum lost. docs/events.md explains all of them.";

pub(super) fn events(socket: &Path, args: &EventsArgs) -> anyhow::Result<u8> {
    let coloured = output::coloured();
    let mut client = Client::connect(socket)?;
    client.request_events(&Request::Events {
        since: args.since,
        id: args.id,
        after: None,
        limit: args.limit,
        follow: args.follow,
    })?;
    loop {
        match client.next_event(args.follow)? {
            Some(Streamed::Event(event)) if args.json => output::print(&format!("{}\n", event.to_json()))?,
            Some(Streamed::Event(event)) => output::print(&line(&event, coloured))?,
            // Not among the events: a program that reads them gets nothing else.
            Some(Streamed::Lagged(missed)) => {
                output::complain(&format!("heartbeat: {missed} events were missed here"))?
            }
            Some(Streamed::End(_)) => return Ok(0),
            None => bail!("the node behind {} has ended", socket.display()),
        }
    }
}

/// `2026-11-23T02:00:00.123456789Z critical 1135 node charlie was removed`.
fn line(event: &Event, coloured: bool) -> String {
    let colour = match event.severity {
        Severity::Info => Colour::Plain,
        Severity::Warning => Colour::Notable,
        Severity::Error | Severity::Critical => Colour::Bad,
    };
    let severity = format!("{:<8}", event.severity.as_str());
    let severity = painted(&severity, if coloured { colour } else { Colour::Plain });
    format!("{} {severity} {:>4} {}\n", event.time, event.id, printable(&event.text))
}
