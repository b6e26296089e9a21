//! What all nodes agree on, as the reactor and the sender use it: made ready when a configuration is staged, taken over when
//! the core says that all members have changed to it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use heartbeat_common::records::{ActiveRecord, PeerRecord, TimingRecord};

use crate::{
    config::{Config, Timing},
    dataplane::{self, peers},
    sender::{Lane, change::Change},
    socket::NetworkSocket,
};

/// Where peers are reached, by node and network.
pub type Routes = BTreeMap<(u16, u8), SocketAddr>;

/// The shared part of a configuration, ready for use.
pub struct SharedPart {
    /// Digest of the configuration.
    pub digest: [u8; 32],
    /// Interval and limits.
    pub timing: Timing,
    /// What the judge goes by.
    pub judging: TimingRecord,
    /// What the judge watches.
    pub active: Vec<ActiveRecord>,
    /// Who may be heard, by link index.
    pub peers: Vec<PeerRecord>,
    /// Where peers are reached.
    pub routes: Routes,
    /// What the sender sends where; taken when it is handed to the sender.
    pub lanes: Option<Change>,
}

impl SharedPart {
    /// The shared part of `config`, for maps that have room for `links` links.
    #[must_use]
    pub fn new(config: &Config, sockets: &[Arc<NetworkSocket>], links: usize) -> Self {
        let routes = routes(config, sockets);
        let lanes = lanes(config, sockets, &routes);
        Self {
            digest: config.digest(),
            timing: config.timing,
            judging: dataplane::judging(config),
            active: peers::active(config),
            peers: peers::configured(config, links),
            routes,
            lanes: Some(Change::Lanes(lanes)),
        }
    }
}

/// Where peers are reached.
#[must_use]
pub fn routes(config: &Config, sockets: &[Arc<NetworkSocket>]) -> Routes {
    sockets
        .iter()
        .flat_map(|socket| {
            config
                .peers_on(socket.network)
                .map(|(node, address)| ((node.id, socket.network), socket.address_of(address)))
        })
        .collect()
}

/// What is sent where.
#[must_use]
pub fn lanes(config: &Config, sockets: &[Arc<NetworkSocket>], routes: &Routes) -> Vec<Lane> {
    sockets
        .iter()
        .map(|socket| {
            let peers: Vec<_> = config
                .peers_on(socket.network)
                .filter_map(|(node, _)| routes.get(&(node.id, socket.network)).map(|address| (node.id, *address)))
                .collect();
            Lane::new(Arc::clone(socket), &peers)
        })
        .collect()
}
