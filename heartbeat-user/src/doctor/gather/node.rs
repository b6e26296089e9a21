//! What the running node says, and what its maps show.

use std::collections::BTreeMap;
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use heartbeat_common::{ABI_VERSION, ids, records::LinkRecord};

use crate::api::{Client, ClientError, Request, Streamed};
use crate::config::Config;
use crate::doctor::facts::{Gathered, NodeFacts};
use crate::event::{Event, Timestamp};

/// How far back events are looked at, nanoseconds.
const HISTORY_NS: u64 = 3_600_000_000_000;
/// The newest so many events of that time: a cluster that tells of more has other worries first.
const MOST_EVENTS: u64 = 10_000;

/// Newest sequence numbers of each (peer, network): to the own address, to the group.
pub(super) type Windows = BTreeMap<(u16, u8), (u64, u64)>;

pub(super) fn ask(socket: &Path, before: Gathered<Windows>, after: Gathered<Windows>) -> Gathered<NodeFacts> {
    let answers = || -> Result<NodeFacts, ClientError> {
        let mut client = Client::connect(socket)?;
        let status = client.status()?;
        let links = client.links()?;
        let events = events(&mut client)?;
        let grown = |choose: fn(&(u64, u64)) -> u64| growth(before.as_ref(), after.as_ref(), choose);
        Ok(NodeFacts {
            status,
            links,
            events,
            unicast_heartbeats: grown(|windows| windows.0),
            group_heartbeats: grown(|windows| windows.1),
        })
    };
    answers().map_err(|error| error.to_string())
}

fn events(client: &mut Client) -> Result<Vec<Event>, ClientError> {
    let since = Timestamp::from_unix_ns(Timestamp::now().unix_ns().saturating_sub(HISTORY_NS));
    client.request_events(&Request::Events {
        since: Some(since),
        id: None,
        after: None,
        limit: Some(MOST_EVENTS),
        follow: false,
    })?;
    let mut events = Vec::new();
    while let Some(streamed) = client.next_event(false)? {
        match streamed {
            Streamed::Event(event) => events.push(event),
            Streamed::Lagged(_) => {}
            Streamed::End(_) => break,
        }
    }
    Ok(events)
}

fn growth(
    before: Result<&Windows, &String>,
    after: Result<&Windows, &String>,
    choose: fn(&(u64, u64)) -> u64,
) -> Gathered<Vec<(u16, u8, u64)>> {
    let (before, after) = (before.map_err(Clone::clone)?, after.map_err(Clone::clone)?);
    let grown = after.iter().filter_map(|((peer, network), now)| {
        let then = before.get(&(*peer, *network))?;
        Some((*peer, *network, choose(now).saturating_sub(choose(then))))
    });
    Ok(grown.collect())
}

/// Reads the node's pinned link records. They are only read: nothing is mapped, nothing can be written.
pub(super) fn windows(config: &Config) -> Gathered<Windows> {
    let path = config.local.bpf_dir.join(format!("v{ABI_VERSION}")).join("LINKS");
    let refused = |error: &dyn std::fmt::Display| format!("{} cannot be read: {error}", path.display());
    let data = MapData::from_pin(&path).map_err(|error| refused(&error))?;
    let map = Map::from_map_data(data).map_err(|error| refused(&error))?;
    let links: Array<MapData, LinkRecord> = Array::try_from(map).map_err(|error| refused(&error))?;
    let mut windows = Windows::new();
    for network in config.networks.iter().map(|network| network.id) {
        for (peer, _) in config.peers_on(network) {
            let record = links.get(&ids::link_index(peer.id, network), 0).map_err(|error| refused(&error))?;
            windows.insert((peer.id, network), (record.unicast.newest, record.multicast.newest));
        }
    }
    Ok(windows)
}
