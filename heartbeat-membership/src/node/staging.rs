//! A staged configuration, driven: put on this node, compared among members, installed through a regroup by all at once.

use super::{Node, patient};
use crate::action::Action;
use crate::event::{Detail, EventId};
use crate::ids::{ConfigDigest, Incarnation};
use crate::membership::{Membership, MembershipAction, StagedSnapshot};
use crate::message::hello::Statement;
use crate::message::regroup::Reason;
use crate::nodeset::NodeSet;
use crate::peer::Peer;
use crate::quorum::{Arbiter, Votes};
use crate::refusal::Refusal;
use crate::regroup::Stage;
use crate::staging::{StageError, Staged};
use crate::time::Now;
use crate::witness::Witness;

impl Node {
    /// The operator stages a configuration, or takes back what was staged.
    pub(super) fn on_stage(&mut self, now: Now, staged: Option<Staged>) -> Result<(), Refusal> {
        let current = self.config.digest;
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        let installing = membership.regroup.is_active() && membership.regroup.reason == Reason::Config;
        let staged = staged.filter(|staged| staged.digest() != current);
        let refused = match &staged {
            _ if installing => Some("another change is being installed".to_owned()),
            Some(staged) => {
                staged.check(&self.config, membership.settings.arbiter).err().map(|error| error.to_string())
            }
            None => None,
        };
        let before = membership.staged.as_ref().map(Staged::digest);
        let about = staged.as_ref().map(Staged::digest).or(before);
        let Some(about) = about.filter(|_| refused.is_some() || about != before || staged.is_none()) else {
            return Ok(());
        };
        let text = match (&refused, &staged) {
            (Some(reason), _) => format!("The configuration {about} is not staged: {reason}."),
            (None, Some(_)) => format!("The configuration {about} waits until all members have it."),
            (None, None) => format!("The configuration {about} does not wait any more."),
        };
        let is_refused = refused.is_some();
        if !is_refused {
            membership.staged = staged;
        }
        self.event(now, EventId::ConfigStaged, None, None, text, Detail::Staged { current, staged: about, refused });
        if is_refused { Err(Refusal::BadStage) } else { Ok(()) }
    }

    /// Whether a peer's configuration goes together with this node's: one of its two is one of ours.
    pub(super) fn goes_together(&self, theirs: &Statement) -> bool {
        let ours = [Some(self.config.digest), self.staged_digest()];
        [Some(theirs.digest), theirs.staged].into_iter().flatten().any(|digest| ours.contains(&Some(digest)))
    }

    pub(super) fn staged_digest(&self) -> Option<ConfigDigest> {
        self.membership.as_ref()?.staged.as_ref().map(Staged::digest)
    }

    /// As leader: begins the regroup that installs what all members have staged.
    pub(super) fn install_staged(&mut self, now: Now) -> bool {
        let Some(membership) = &self.membership else { return false };
        let stands = membership.regroup.stage == Stage::Stabilized
            && membership.members().first() == Some(self.config.local)
            && membership.lease.is_valid(now);
        let held_back = membership.next_config_ns > now.mono_ns;
        if !stands || held_back || membership.staged.is_none() || self.staged_waits_for(membership).is_some() {
            return false;
        }
        let retry_ns = self.config.timing.stage_limit_ns();
        let sequence = self.next_sequence();
        if let Some(membership) = &mut self.membership {
            // Should it come to nothing, the members have other things to agree on first.
            membership.next_config_ns = now.mono_ns.saturating_add(retry_ns);
        }
        self.begin_regroup(now, sequence, Reason::Config, None, NodeSet::EMPTY);
        true
    }

    /// The configuration that a decision for these members installs.
    pub(super) fn config_to_install(&self, membership: &Membership, members: &NodeSet) -> Option<ConfigDigest> {
        let staged = membership.staged.as_ref()?;
        let whole = *members == membership.members() && !members.is_empty();
        let installs = membership.regroup.reason == Reason::Config && whole;
        (installs && self.staged_waits_for(membership).is_none()).then(|| staged.digest())
    }

    /// A configuration that a view in which this node is not has gone over to, and that waits here.
    pub(super) fn follow_config(&mut self, now: Now, theirs: &Statement) {
        let Some(membership) = &self.membership else { return };
        let idle = membership.view.is_none() && !membership.regroup.is_active() && membership.regroup.bound.is_none();
        if idle && theirs.in_view && self.staged_digest() == Some(theirs.digest) {
            self.switch_config(now, theirs.digest);
            // Everybody is to hear it anew from a new incarnation.
            self.take_incarnation(Incarnation(self.incarnation.0.saturating_add(1)));
        }
    }

    /// The staged configuration with this digest is in force from here on.
    pub(super) fn switch_config(&mut self, now: Now, digest: ConfigDigest) {
        let Some(membership) = &mut self.membership else { return };
        let Some(staged) = membership.staged.take_if(|staged| staged.digest() == digest) else { return };
        let from = self.config.digest;
        let former =
            std::mem::replace(&mut self.config, patient(staged.config, staged.arbiter, staged.record_lease_ns));
        membership.former_timing = Some(former.timing);
        membership.settings.arbiter = staged.arbiter;
        membership.settings.record_lease_ns = staged.record_lease_ns;
        membership.votes = Votes::new(&self.config, staged.arbiter);
        #[cfg(feature = "mutations")]
        if self.mutation == Some(crate::mutation::Mutation::HalfIsMajority) {
            membership.votes.break_majority();
        }
        membership.electorate = crate::membership::electorate(&membership.votes, membership.view.as_ref());
        membership.mask_bytes = crate::membership::mask_bytes(&self.config);
        membership.lease_stale = true;
        match (&mut membership.witness, staged.arbiter) {
            (Some(witness), Arbiter::Witness) => witness.set_lease_ns(staged.record_lease_ns),
            (None, Arbiter::Witness) => membership.witness = Some(Witness::new(staged.record_lease_ns, now)),
            (witness, Arbiter::Majority | Arbiter::TieBreaker(_)) => *witness = None,
        }
        let members = membership.members();
        let repeat_ns = self.config.timing.hello_repeat_ns();
        let gone: Vec<_> = self.peers.keys().copied().filter(|id| self.config.node(*id).is_none()).collect();
        for id in gone {
            self.peers.remove(&id);
            self.actions.push_back(Action::ClearIncarnation { peer: id });
        }
        for node in self.config.nodes.iter().filter(|node| node.id != self.config.local) {
            let fresh = || Peer::new(node, &self.config.shared_networks(node), now.mono_ns, repeat_ns);
            let peer = self.peers.entry(node.id).or_insert_with(fresh);
            peer.name.clone_from(&node.name);
            peer.handshake.set_repeat_ns(repeat_ns);
            if members.contains(node.id)
                && let Some(spoken) = &mut peer.spoken
            {
                spoken.digest = digest;
            }
        }
        self.actions.push_back(Action::Membership(MembershipAction::SwitchConfig { digest }));
        let text = format!("The configuration {digest} is in force.");
        self.event(now, EventId::ConfigInstalled, None, None, text, Detail::ConfigInstalled { from, to: digest });
    }

    pub(super) fn staged_snapshot(&self) -> Option<StagedSnapshot> {
        let membership = self.membership.as_ref()?;
        let staged = membership.staged.as_ref()?;
        let ready =
            membership.members().iter().filter(|id| self.has_staged(membership, *id, staged.digest())).collect();
        let waits_for = if membership.view.is_none() {
            "this node is in no view".to_owned()
        } else if membership.members().first() == Some(self.config.local) {
            self.staged_waits_for(membership).unwrap_or_default()
        } else {
            "the leader of the view, which knows who has it".to_owned()
        };
        Some(StagedSnapshot { digest: staged.digest(), ready, waits_for })
    }

    /// As leader: why what is staged is not installed, in words.
    fn staged_waits_for(&self, membership: &Membership) -> Option<String> {
        let staged = membership.staged.as_ref()?;
        let members = membership.members();
        if let Err(error) = staged.covers(&members) {
            return Some(StageError::to_string(&error));
        }
        let missing: Vec<_> = members
            .iter()
            .filter(|id| !self.has_staged(membership, *id, staged.digest()))
            .map(|id| id.to_string())
            .collect();
        (!missing.is_empty()).then(|| format!("members that have not staged the same: {}", missing.join(", ")))
    }

    fn has_staged(&self, membership: &Membership, id: crate::ids::NodeId, digest: ConfigDigest) -> bool {
        id == self.config.local || membership.networks.staged_by(id, membership.view_number()) == Some(digest)
    }
}
