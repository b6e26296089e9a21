//! The peers of a node, and what is known of all of them together as long as nobody has touched one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use crate::ids::{NetworkId, NodeId};
use crate::peer::Peer;
use crate::window::Window;

/// Peers that one input may touch before a look at all of them is no more work.
const TOUCHED: usize = 64;

/// A map that counts how often it was lent for changes, and knows which peers it lent: most inputs of a large cluster change
/// no peer but for its window of sequence numbers, or one, and need no look at a thousand.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Peers {
    peers: BTreeMap<NodeId, Peer>,
    #[serde(skip)]
    changes: u64,
    #[serde(skip)]
    hellos: Hellos,
}

/// When each peer is called.
#[derive(Debug, Clone, Default)]
struct Hellos {
    /// Both are right, but for the peers touched since.
    stands: bool,
    due: BTreeSet<(u64, NodeId)>,
    of: BTreeMap<NodeId, u64>,
    touched: Vec<NodeId>,
}

impl Peers {
    pub(crate) fn new(peers: BTreeMap<NodeId, Peer>) -> Self {
        Self { peers, changes: 0, hellos: Hellos::default() }
    }

    /// Grows with every change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// One peer, to be changed.
    pub(crate) fn get_mut(&mut self, id: &NodeId) -> Option<&mut Peer> {
        self.changes += 1;
        self.hellos.touch(*id);
        self.peers.get_mut(id)
    }

    /// The hello that is due first, and to whom.
    pub(crate) fn next_hello(&self) -> Option<(u64, NodeId)> {
        if self.hellos.stands && self.hellos.touched.is_empty() {
            let due = self.hellos.due.first().copied();
            debug_assert_eq!(due, self.find_next_hello(), "a peer has changed uncounted");
            return due;
        }
        self.find_next_hello()
    }

    /// As [`Self::next_hello`], and remembers when each peer is called.
    pub(crate) fn note_next_hello(&mut self) -> Option<(u64, NodeId)> {
        let hellos = &mut self.hellos;
        if hellos.stands {
            for id in std::mem::take(&mut hellos.touched) {
                hellos.note(id, self.peers.get(&id).and_then(|peer| peer.handshake.next_hello_ns()));
            }
        } else {
            *hellos = Hellos { stands: true, ..Hellos::default() };
            for (id, peer) in &self.peers {
                hellos.note(*id, peer.handshake.next_hello_ns());
            }
        }
        self.next_hello()
    }

    /// Whom to call by now, as far as was noted; ascending.
    pub(crate) fn due_hellos(&self, now_ns: u64) -> BTreeSet<NodeId> {
        self.hellos.due.iter().take_while(|(due_ns, _)| *due_ns <= now_ns).map(|(_, id)| *id).collect()
    }

    /// The window of a peer on a network: what it has taken says nothing about hellos.
    pub(crate) fn window(&mut self, peer: NodeId, network: NetworkId) -> Option<&mut Window> {
        self.peers.get_mut(&peer)?.windows.get_mut(&network)
    }

    fn find_next_hello(&self) -> Option<(u64, NodeId)> {
        self.peers.iter().filter_map(|(id, peer)| Some((peer.handshake.next_hello_ns()?, *id))).min()
    }
}

impl Hellos {
    fn touch(&mut self, id: NodeId) {
        if self.touched.len() < TOUCHED {
            self.touched.push(id);
        } else {
            self.stands = false;
        }
    }

    fn note(&mut self, id: NodeId, due_ns: Option<u64>) {
        let known = match due_ns {
            Some(due_ns) => self.of.insert(id, due_ns),
            None => self.of.remove(&id),
        };
        if known == due_ns {
            return;
        }
        if let Some(known) = known {
            self.due.remove(&(known, id));
        }
        if let Some(due_ns) = due_ns {
            self.due.insert((due_ns, id));
        }
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
        self.hellos.stands = false;
        &mut self.peers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::NodeConfig;

    /// What happens to the handshakes.
    #[derive(Debug, Clone)]
    enum Step {
        Call(u16, u64),
        Depart(u16),
        /// All are lent at once.
        CallAll(u64),
        Remove(u16),
        Note,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_u16..=5, 0_u64..9).prop_map(|(id, at_ns)| Step::Call(id, at_ns)),
            2 => (1_u16..=5).prop_map(Step::Depart),
            1 => (0_u64..9).prop_map(Step::CallAll),
            1 => (1_u16..=5).prop_map(Step::Remove),
            3 => Just(Step::Note),
        ]
    }

    fn peers() -> Peers {
        let peer = |id: u16| {
            let config = NodeConfig { id: NodeId(id), name: format!("n{id}"), votes: 1, networks: Vec::new() };
            (NodeId(id), Peer::new(&config, &[], 0, 1))
        };
        Peers::new((1..=5).map(peer).collect())
    }

    proptest! {
        #[test]
        fn what_is_remembered_of_hellos_is_what_a_look_at_all_finds(steps in prop::collection::vec(step(), 1..200)) {
            let mut peers = peers();
            for step in steps {
                let before = peers.changes();
                let changes = !matches!(step, Step::Note);
                match step {
                    Step::Call(id, at_ns) => {
                        if let Some(peer) = peers.get_mut(&NodeId(id)) {
                            peer.handshake.call(at_ns);
                        }
                    }
                    Step::Depart(id) => {
                        if let Some(peer) = peers.get_mut(&NodeId(id)) {
                            peer.handshake.depart();
                        }
                    }
                    Step::CallAll(at_ns) => peers.iter_mut().for_each(|(_, peer)| peer.handshake.call(at_ns)),
                    Step::Remove(id) => {
                        peers.remove(&NodeId(id));
                    }
                    Step::Note => {
                        peers.note_next_hello();
                        let due: BTreeSet<NodeId> = peers
                            .iter()
                            .filter(|(_, peer)| peer.handshake.next_hello_ns().is_some_and(|at_ns| at_ns <= 4))
                            .map(|(id, _)| *id)
                            .collect();
                        prop_assert_eq!(peers.due_hellos(4), due);
                    }
                }
                prop_assert_eq!(changes, peers.changes() > before);
                prop_assert_eq!(peers.next_hello(), peers.find_next_hello());
            }
        }
    }
}
