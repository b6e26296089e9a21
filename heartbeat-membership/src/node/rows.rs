//! Whom this node hears, and what follows from whom the others hear.

use super::{Basis, Node, Watched};
use crate::config::NetworkRole;
use crate::ids::{Incarnation, NetworkId, NodeId};
use crate::link::LinkState;
use crate::membership::Membership;
use crate::message::regroup::Reason;
use crate::nodeset::NodeSet;
use crate::regroup::Stage;
use crate::regroup::connectivity::{Graph, component};
use crate::time::Now;

/// A link that was late within so many intervals is in a bad condition: ten silence limits by default.
const WEAK_INTERVALS: u64 = 60;

impl Node {
    /// Whether a node is heard on a network that counts, as `incarnation` where that is known.
    pub(super) fn hears(&self, id: NodeId, incarnation: Option<Incarnation>) -> bool {
        if id == self.config.local {
            return true;
        }
        self.peers.get(&id).is_some_and(|peer| {
            let accepted = peer.handshake.accepted();
            accepted.is_some()
                && (incarnation.is_none() || accepted == incarnation)
                && peer.links.iter().any(|(network, link)| self.counts(*network) && link.is_heard())
        })
    }

    /// Nodes that have a say: members and who is to join; where there is no view, every configured node.
    pub(super) fn candidates(&self) -> NodeSet {
        let Some(membership) = &self.membership else { return NodeSet::EMPTY };
        match &membership.view {
            Some(_) => {
                membership.members().or(&membership.regroup.joiner.map(|(id, _)| NodeSet::of(id)).unwrap_or_default())
            }
            None => match self.speaking {
                Some((changes, digest, same)) if (changes, digest) == (self.peers.changes(), self.config.digest) => {
                    debug_assert_eq!(same, self.who_speaks_the_same(), "a peer has changed uncounted");
                    same
                }
                Some(_) | None => self.who_speaks_the_same(),
            },
        }
    }

    /// Looks at everybody again where somebody has changed, if it matters.
    pub(super) fn note_who_speaks_the_same(&mut self) {
        let basis = (self.peers.changes(), self.config.digest);
        let forms = self.membership.as_ref().is_some_and(|it| it.view.is_none() && it.regroup.is_active());
        if forms && self.speaking.is_none_or(|(changes, digest, _)| (changes, digest) != basis) {
            self.speaking = Some((basis.0, basis.1, self.who_speaks_the_same()));
        }
    }

    fn who_speaks_the_same(&self) -> NodeSet {
        self.config.nodes.iter().map(|node| node.id).filter(|id| self.speaks_the_same(*id)).collect()
    }

    /// Whether a node runs the configuration of this one, as far as it has said: views are formed under one.
    pub(super) fn speaks_the_same(&self, id: NodeId) -> bool {
        let spoken = self.peers.get(&id).and_then(|peer| peer.spoken);
        spoken.is_none_or(|spoken| spoken.digest == self.config.digest)
    }

    /// The incarnation of a candidate that this regroup means, where it is fixed.
    pub(super) fn meant(&self, id: NodeId) -> Option<Incarnation> {
        let membership = self.membership.as_ref()?;
        let member = membership.view.as_ref().and_then(|view| view.members.get(&id).copied());
        member.or(membership.regroup.joiner.filter(|(joiner, _)| *joiner == id).map(|(_, incarnation)| incarnation))
    }

    pub(super) fn counts(&self, network: NetworkId) -> bool {
        self.config.network(network).is_some_and(|network| match network.role {
            NetworkRole::Internal | NetworkRole::Mixed => true,
            NetworkRole::Client => false,
        })
    }

    /// Whether a node that counts as heard is late on every network: it will be heard or silent soon.
    fn wavers(&self, id: NodeId) -> bool {
        id != self.config.local
            && self.peers.get(&id).is_some_and(|peer| {
                !peer.links.iter().any(|(network, link)| self.counts(*network) && link.state == LinkState::Up)
            })
    }

    /// Whether a node that is heard is not heard on every network that counts, or was late on one not long ago.
    fn hears_badly(&self, id: NodeId) -> bool {
        let since_ns = self.now.mono_ns.saturating_sub(WEAK_INTERVALS.saturating_mul(self.config.timing.interval_ns));
        self.peers.get(&id).is_some_and(|peer| {
            peer.links.iter().any(|(network, link)| self.counts(*network) && link.is_weak(since_ns))
        })
    }

    /// Reports, if that had to wait for verdicts to settle.
    pub(super) fn report_row(&mut self) -> bool {
        let local = self.config.local;
        let missing = |node: &Self| {
            node.membership.as_ref().is_some_and(|membership| {
                membership.regroup.stage == Stage::Activate && !membership.regroup.rows.contains_key(&local)
            })
        };
        if !missing(self) {
            return false;
        }
        // Nothing has changed since it was found that the row has to wait.
        let due_ns = self
            .membership
            .as_ref()
            .map_or(0, |membership| membership.regroup.stage_since_ns)
            .saturating_add(self.config.timing.settling_ns());
        if self.nobody_lost.is_some() && self.row_waits && self.now.mono_ns < due_ns {
            return false;
        }
        self.refresh_row();
        !missing(self)
    }

    /// Recomputes whom this node hears. Within a regroup the row only shrinks.
    pub(super) fn refresh_row(&mut self) {
        let heard: NodeSet = self.candidates().iter().filter(|id| self.hears(*id, self.meant(*id))).collect();
        let may_form = self.may_form_now();
        let local = self.config.local;
        let wavering: NodeSet = heard.iter().filter(|id| self.wavers(*id)).collect();
        let patience_ns = self.config.timing.settling_ns();
        let now_ns = self.now.mono_ns;
        let weak: NodeSet = heard.iter().filter(|id| self.hears_badly(*id)).collect();
        let Some(membership) = &mut self.membership else { return };
        let out = membership.regroup.unheard.or(&membership.regroup.excluded).or(&membership.left);
        let regroup = &mut membership.regroup;
        let mut row = heard.without(&out);
        // Half of the verdicts of one fault would be decided on without the other half.
        let unsettled =
            !wavering.without(&out).is_empty() && now_ns < regroup.stage_since_ns.saturating_add(patience_ns);
        self.row_waits = regroup.stage == Stage::Activate && unsettled && !regroup.rows.contains_key(&local);
        if self.row_waits {
            return;
        }
        if let Some(bound) = &regroup.bound {
            row = row.and(&bound.set());
        }
        row.insert(local);
        if regroup.rows.get(&local) != Some(&row) {
            regroup.rows.insert(local, row);
            regroup.reporters.insert(local);
            regroup.rows_version = regroup.rows_version.wrapping_add(1);
            regroup.dirty = true;
        }
        let weak = weak.and(&row);
        if !weak.is_empty() {
            regroup.weak.insert(local, weak);
        }
        if may_form && membership.view.is_none() {
            regroup.may_form.insert(local);
        }
    }

    pub(super) fn notice_losses(&mut self, now: Now) -> bool {
        let Some(membership) = &self.membership else { return false };
        let regroup = &membership.regroup;
        let deciding = regroup.decision.as_ref().map(|accepted| accepted.decision.members);
        let own_row = regroup.rows.get(&self.config.local).copied().unwrap_or_default();
        let watched = match (regroup.stage, &membership.view) {
            (Stage::Closing | Stage::Pruning, _) if deciding.is_some() => deciding.unwrap_or_default(),
            (_, Some(_)) => membership.members(),
            (Stage::Activate | Stage::Closing | Stage::Pruning, None) => own_row,
            (Stage::Cleanup1 | Stage::Cleanup2 | Stage::Stabilized, None) => return false,
        };
        let known = regroup.unheard.or(&regroup.excluded);
        let state = Watched {
            sequence: regroup.sequence,
            stage: regroup.stage,
            view: membership.view_number(),
            decision: deciding,
            own_row: regroup.rows.get(&self.config.local).copied(),
            known,
            left: membership.left,
        };
        if self.nobody_lost.as_ref() == Some(&state) {
            return false;
        }
        let lost: NodeSet = watched
            .without(&known)
            .iter()
            .filter(|id| membership.left.contains(*id) || !self.hears(*id, self.meant(*id)))
            .collect();
        let Some(first) = lost.first() else {
            self.nobody_lost = Some(state);
            return false;
        };
        let reason = if membership.left.contains(first) {
            Reason::Left
        } else if self.peers.get(&first).is_some_and(|peer| {
            let accepted = peer.handshake.accepted();
            accepted.is_some() && accepted != self.meant(first)
        }) && self.meant(first).is_some()
        {
            Reason::Restarted
        } else {
            Reason::Silent
        };
        let stage = regroup.stage;
        let (in_view, joining) = (membership.view.is_some(), regroup.joining.is_some());
        match stage {
            Stage::Activate => {
                if let Some(membership) = &mut self.membership {
                    membership.regroup.unheard = membership.regroup.unheard.or(&lost);
                }
                self.refresh_row();
            }
            Stage::Closing | Stage::Pruning if joining && !in_view => self.abandon(now),
            Stage::Closing | Stage::Pruning | Stage::Cleanup1 | Stage::Cleanup2 | Stage::Stabilized => {
                let sequence = self.next_sequence();
                self.begin_regroup(now, sequence, reason, Some(first), lost);
            }
        }
        true
    }

    /// Everyone has reported who is heard by anyone who has.
    pub(super) fn rows_complete(&self, membership: &Membership) -> bool {
        let regroup = &membership.regroup;
        let candidates = self.remaining(membership);
        if !regroup.reporters.contains(self.config.local) {
            return false;
        }
        let missing = candidates.without(&regroup.reporters);
        missing.is_empty()
            || regroup
                .rows
                .iter()
                .filter(|(id, _)| candidates.contains(**id))
                .all(|(_, row)| row.and(&missing).is_empty())
    }

    /// Who decides: the lowest id among those that are joined to this node by pairs that hear each other.
    pub(super) fn decider(&self, membership: &Membership) -> Option<NodeId> {
        decider_among(membership, &self.component(membership))
    }

    /// Whether this node decides.
    pub(super) fn decides(&mut self) -> bool {
        let component = self.known_component();
        let Some(membership) = &self.membership else { return false };
        decider_among(membership, &component) == Some(self.config.local)
    }

    /// [`Self::component`], found anew when something has changed that it follows from.
    pub(super) fn known_component(&mut self) -> NodeSet {
        let Some(membership) = &self.membership else { return NodeSet::EMPTY };
        let regroup = &membership.regroup;
        let candidates = self.remaining(membership);
        let basis = Basis { sequence: regroup.sequence, rows_version: regroup.rows_version, candidates };
        if let Some((known, component)) = &self.component_known
            && *known == basis
        {
            debug_assert_eq!(*component, self.component(membership), "a row has changed uncounted");
            return *component;
        }
        let component = self.component(membership);
        self.component_known = Some((basis, component));
        component
    }

    pub(super) fn graph(&self, membership: &Membership) -> Graph {
        let candidates = self.remaining(membership);
        let rows = membership.regroup.rows.iter().filter(|(id, _)| candidates.contains(**id));
        let rows = rows.map(|(id, row)| (*id, row.and(&candidates))).collect();
        Graph::from_rows(&rows).with_condition(&membership.regroup.weak)
    }

    pub(super) fn component(&self, membership: &Membership) -> NodeSet {
        let regroup = &membership.regroup;
        let everyone = self.remaining(membership).and(&regroup.reporters);
        component(&regroup.rows, &everyone, self.config.local)
    }

    /// Candidates that are neither left out at a limit nor about to leave.
    fn remaining(&self, membership: &Membership) -> NodeSet {
        self.candidates().without(&membership.regroup.excluded).without(&membership.left)
    }
}

/// Only members decide where there is a view.
fn decider_among(membership: &Membership, component: &NodeSet) -> Option<NodeId> {
    if membership.view.is_some() { component.and(&membership.members()).first() } else { component.first() }
}
