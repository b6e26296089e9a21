//! The peers of a node, and what is known of all of them together as long as nobody has touched one.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use crate::ids::{NetworkId, NodeId};
use crate::peer::Peer;
use crate::window::Window;

/// A map that counts how often it was lent for changes: most inputs of a large cluster change no peer but for its window of
/// sequence numbers, and need no look at a thousand.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Peers {
    peers: BTreeMap<NodeId, Peer>,
    #[serde(skip)]
    changes: u64,
    /// The earliest hello that is due, and after how many changes that was found.
    #[serde(skip)]
    next_hello: Option<(u64, Option<(u64, NodeId)>)>,
}

impl Peers {
    pub(crate) fn new(peers: BTreeMap<NodeId, Peer>) -> Self {
        Self { peers, changes: 0, next_hello: None }
    }

    /// Grows with every change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The hello that is due first, and to whom.
    pub(crate) fn next_hello(&self) -> Option<(u64, NodeId)> {
        match self.next_hello {
            Some((changes, due)) if changes == self.changes => due,
            Some(_) | None => self.find_next_hello(),
        }
    }

    /// As [`Self::next_hello`], and remembers it until the next change.
    pub(crate) fn note_next_hello(&mut self) -> Option<(u64, NodeId)> {
        let due = self.next_hello();
        self.next_hello = Some((self.changes, due));
        due
    }

    /// The window of a peer on a network: what it has taken says nothing about hellos.
    pub(crate) fn window(&mut self, peer: NodeId, network: NetworkId) -> Option<&mut Window> {
        self.peers.get_mut(&peer)?.windows.get_mut(&network)
    }

    fn find_next_hello(&self) -> Option<(u64, NodeId)> {
        self.peers.iter().filter_map(|(id, peer)| Some((peer.handshake.next_hello_ns()?, *id))).min()
    }
}

impl Deref for Peers {
    type Target = BTreeMap<NodeId, Peer>;

    fn deref(&self) -> &Self::Target {
        &self.peers
    }
}

impl DerefMut for Peers {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.changes += 1;
        &mut self.peers
    }
}
