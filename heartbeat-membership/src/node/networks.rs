//! Interfaces and networks: what members report to the leader, what the leader makes of it, what all announce.

use std::collections::BTreeMap;

use super::{Node, Reason as Wakeup};

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::config::NetworkRole;
use crate::event::{Detail, EventId};
use crate::ids::{ConfigDigest, NetworkId, NodeId};
use crate::input::ControlMessage;
use crate::link::LinkState;
use crate::membership::MembershipAction;
use crate::message::Kind;
use crate::message::connectivity::{Connectivity, NetworkStates};
use crate::message::regroup::MAX_BODY;
use crate::network_state::{Evidence, InterfaceState, NetworkReport, NetworkState};
use crate::nodeset::NodeSet;
use crate::refusal::Refusal;
use crate::time::Now;

/// Reports and states are repeated after this many intervals: nobody acknowledges them.
const REPEAT_INTERVALS: u64 = 4;
/// And not before this, however short the interval is: what changes is told at once, a lost message only makes what is shown
/// late, and each repetition wakes every member.
const REPEAT_MIN_NS: u64 = 250_000_000;

/// While a node hears nobody on a network, hosts outside are asked again after this many intervals.
const OUTSIDE_INTERVALS: u64 = 5;

/// Reports must have been stable for this many intervals before they are judged: the verdicts of one fault arrive within
/// one, and a judgement on half of them would name the wrong interface.
const SETTLE_INTERVALS: u64 = 2;

/// What is reported, computed and shown.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Networks {
    /// Newest report of each member, this node included.
    reports: BTreeMap<NodeId, Connectivity>,
    /// As leader: since when the reports have not changed, and whether they are judged already.
    stable_since_ns: u64,
    judged: bool,
    /// States that were announced here.
    shown: BTreeMap<NetworkId, NetworkReport>,
    /// Version of what is shown, per network.
    versions: BTreeMap<NetworkId, u64>,
    /// Own interfaces that this machine knows to be broken.
    pub(crate) broken: BTreeMap<NetworkId, bool>,
    /// Whether hosts outside of the cluster answer here, for networks that were asked about.
    outside: BTreeMap<NetworkId, bool>,
    /// When the driver is to be asked again.
    next_outside_ns: BTreeMap<NetworkId, u64>,
    leader: Option<NodeId>,
    next_report_ns: u64,
    next_states_ns: u64,
}

impl Networks {
    /// A new life knows nothing but its own machine.
    pub(crate) fn begin_life(&mut self) {
        *self = Self { broken: std::mem::take(&mut self.broken), ..Self::default() };
    }

    /// Whether hosts outside of the cluster answer on a network; `None` = there are none to ask.
    pub(crate) fn heard_outside(&mut self, network: NetworkId, answer: Option<bool>) {
        match answer {
            Some(answer) => self.outside.insert(network, answer),
            None => self.outside.remove(&network),
        };
    }

    /// What a member said that it has staged, in a report of this view.
    pub(crate) fn staged_by(&self, id: NodeId, view: u64) -> Option<ConfigDigest> {
        self.reports.get(&id).filter(|report| report.view == view)?.staged
    }

    pub(crate) fn shown(&self) -> &BTreeMap<NetworkId, NetworkReport> {
        &self.shown
    }
}

impl Node {
    /// Reports a changed row at once, judges reports that have settled, repeats both.
    pub(super) fn drive_networks(&mut self, now: Now) {
        let local = self.config.local;
        let interval_ns = self.config.timing.interval_ns;
        let Some(membership) = &self.membership else { return };
        let Some(view) = &membership.view else { return };
        let (number, members) = (view.id.number, membership.members());
        let leader = members.first();
        let own = membership.networks.reports.get(&local);
        let (outside, staged) = (&membership.networks.outside, self.staged_digest());
        let stands = |own: &Connectivity| {
            own.view == number
                && own.staged == staged
                && own.outside == *outside
                && (self.rows_compared || self.own_rows_stand(own))
        };
        let fresh = own.is_none_or(|own| !stands(own)).then(|| self.own_rows());
        self.rows_compared = true;
        let Some(membership) = &mut self.membership else { return };
        let networks = &mut membership.networks;
        if networks.leader != leader {
            networks.leader = leader;
            // Versions are the leader's own: the next one counts anew.
            networks.versions.clear();
            networks.next_report_ns = now.mono_ns;
            networks.next_states_ns = now.mono_ns;
            networks.stable_since_ns = now.mono_ns;
            networks.judged = false;
        }
        let changed = fresh.is_some();
        if let Some(rows) = fresh {
            // A restarted controller goes on above what the earlier one told: the clock has gone on as well.
            let version = networks.reports.get(&local).map_or(1, |own| own.version.saturating_add(1)).max(now.mono_ns);
            let outside = networks.outside.clone();
            networks.reports.insert(local, Connectivity { view: number, version, rows, outside, staged });
            networks.reports.retain(|id, _| members.contains(*id));
            networks.stable_since_ns = now.mono_ns;
            networks.judged = false;
        }
        if changed || networks.next_report_ns <= now.mono_ns {
            networks.next_report_ns = now.mono_ns.saturating_add(repeat_ns(interval_ns));
            let body = networks.reports.get(&local).map(|report| report.encode(membership.mask_bytes));
            if let (Some(leader), Some(body)) = (leader.filter(|leader| *leader != local), body) {
                self.send_counting(leader, Kind::Connectivity, &body);
            }
        }
        if leader == Some(local) {
            self.lead_networks(now);
        }
        self.ask_outside(now);
    }

    /// Where this node hears nobody on a network that clients use, hosts outside of the cluster tell whose fault it is.
    fn ask_outside(&mut self, now: Now) {
        let local = self.config.local;
        let repeat_ns = OUTSIDE_INTERVALS * self.config.timing.interval_ns;
        let Some(membership) = &mut self.membership else { return };
        let members = membership.members();
        let networks = &mut membership.networks;
        let Some(own) = networks.reports.get(&local) else { return };
        for network in self.config.networks.iter().filter(|network| network.role != NetworkRole::Internal) {
            let others = self
                .config
                .nodes
                .iter()
                .any(|node| node.id != local && members.contains(node.id) && node.networks.contains(&network.id));
            let deaf = own.rows.get(&network.id).is_some_and(|(row, _)| row.len() == 1) && others;
            if !deaf {
                networks.outside.remove(&network.id);
                networks.next_outside_ns.remove(&network.id);
                continue;
            }
            let due_ns = networks.next_outside_ns.entry(network.id).or_insert(now.mono_ns);
            if *due_ns <= now.mono_ns {
                *due_ns = now.mono_ns.saturating_add(repeat_ns);
                let ask = MembershipAction::AskExternalHosts { network: network.id };
                self.actions.push_back(Action::Membership(ask));
            }
        }
    }

    pub(super) fn networks_due(&self) -> Option<(u64, Wakeup)> {
        let membership = self.membership.as_ref()?;
        membership.view.as_ref()?;
        let networks = &membership.networks;
        let leads = networks.leader == Some(self.config.local);
        let settled_ns = networks.stable_since_ns.saturating_add(SETTLE_INTERVALS * self.config.timing.interval_ns);
        let judging_ns = (leads && !networks.judged).then_some(settled_ns);
        let repeating_ns = leads.then_some(networks.next_states_ns);
        let outside_ns = networks.next_outside_ns.values().min().copied();
        [Some(networks.next_report_ns), judging_ns, repeating_ns, outside_ns]
            .into_iter()
            .flatten()
            .min()
            .map(|due| (due, Wakeup::Networks))
    }

    pub(super) fn on_connectivity(&mut self, now: Now, message: &ControlMessage) -> Result<(), Refusal> {
        let report = Connectivity::decode(&message.body).map_err(|_| Refusal::Malformed)?;
        let Some(membership) = &mut self.membership else { return Err(Refusal::NoMembership) };
        let Some(view) = &membership.view else { return Err(Refusal::OtherView) };
        if view.id.number != report.view || !view.members.contains_key(&message.source) {
            return Err(Refusal::OtherView);
        }
        let networks = &mut membership.networks;
        let known = networks.reports.get(&message.source);
        if known.is_some_and(|known| known.view == report.view && known.version >= report.version) {
            return Ok(());
        }
        if known.is_none_or(|known| known.rows != report.rows || known.outside != report.outside) {
            networks.stable_since_ns = now.mono_ns;
            networks.judged = false;
        }
        networks.reports.insert(message.source, report);
        Ok(())
    }

    pub(super) fn on_network_states(&mut self, now: Now, message: &ControlMessage) -> Result<(), Refusal> {
        let states = NetworkStates::decode(&message.body).map_err(|_| Refusal::Malformed)?;
        let Some(membership) = &self.membership else { return Err(Refusal::NoMembership) };
        let Some(view) = &membership.view else { return Err(Refusal::OtherView) };
        if view.id.number != states.view || view.set().first() != Some(message.source) {
            return Err(Refusal::OtherView);
        }
        for (network, report) in states.networks {
            self.show(now, network, report, states.version);
        }
        Ok(())
    }

    /// As leader: judges what has settled, tells all, and repeats what was told.
    fn lead_networks(&mut self, now: Now) {
        let interval_ns = self.config.timing.interval_ns;
        let Some(membership) = &mut self.membership else { return };
        let networks = &mut membership.networks;
        let settled = networks.stable_since_ns.saturating_add(SETTLE_INTERVALS * interval_ns) <= now.mono_ns;
        let mut tell = networks.next_states_ns <= now.mono_ns;
        if settled && !networks.judged {
            networks.judged = true;
            for (network, report) in self.judge_networks() {
                let version = self.next_version();
                tell |= self.show(now, network, report, version);
            }
        }
        if tell {
            self.tell_states(now);
        }
    }

    fn judge_networks(&self) -> BTreeMap<NetworkId, NetworkReport> {
        let Some(membership) = &self.membership else { return BTreeMap::new() };
        let members = membership.members();
        let reports = &membership.networks.reports;
        let local = self.config.local;
        let heard_by_others = |id: NodeId| {
            reports
                .iter()
                .filter(|(reporter, _)| **reporter != id)
                .any(|(_, report)| report.rows.values().any(|(row, _)| row.contains(id)))
        };
        let suspects: NodeSet = members.iter().filter(|id| *id != local && !heard_by_others(*id)).collect();
        let mut result = BTreeMap::new();
        for network in &self.config.networks {
            let attached: NodeSet = self
                .config
                .nodes
                .iter()
                .filter(|node| node.networks.contains(&network.id))
                .map(|node| node.id)
                .collect();
            let on_it = |report: &Connectivity| report.rows.get(&network.id).copied();
            let rows = reports.iter().filter_map(|(id, report)| Some((*id, on_it(report)?.0))).collect();
            let broken = reports
                .iter()
                .filter(|(_, report)| on_it(report).is_some_and(|(_, broken)| broken))
                .map(|(id, _)| *id)
                .collect();
            let outside = reports
                .iter()
                .filter_map(|(id, report)| Some((*id, report.outside.get(&network.id).copied()?)))
                .collect();
            let evidence = Evidence { members: members.and(&attached), rows, broken, suspects, outside };
            result.insert(network.id, evidence.evaluate());
        }
        result
    }

    fn tell_states(&mut self, now: Now) {
        let local = self.config.local;
        let interval_ns = self.config.timing.interval_ns;
        let version = self.next_version();
        let Some(membership) = &mut self.membership else { return };
        let networks = &mut membership.networks;
        networks.next_states_ns = now.mono_ns.saturating_add(repeat_ns(interval_ns));
        let (view, mask_bytes) = (membership.view.as_ref().map_or(0, |view| view.id.number), membership.mask_bytes);
        // Three masks a network: what does not fit one datagram goes into the next.
        let at_once = (MAX_BODY.saturating_sub(24) / (2 + 3 * mask_bytes)).max(1);
        let shown: Vec<_> = networks.shown.iter().map(|(id, report)| (*id, report.clone())).collect();
        for (network, _) in &shown {
            networks.versions.insert(*network, version);
        }
        let mut others = membership.members();
        others.remove(local);
        for part in shown.chunks(at_once) {
            let networks = part.iter().cloned().collect();
            let body = NetworkStates { view, version, networks }.encode(mask_bytes);
            for id in others.iter() {
                self.send_counting(id, Kind::NetworkStates, &body);
            }
        }
    }

    fn next_version(&self) -> u64 {
        let highest =
            self.membership.as_ref().and_then(|membership| membership.networks.versions.values().max().copied());
        highest.unwrap_or(0).saturating_add(1).max(self.now.mono_ns)
    }

    /// Takes over states and announces what changed; whether anything did.
    fn show(&mut self, now: Now, network: NetworkId, report: NetworkReport, version: u64) -> bool {
        let Some(membership) = &mut self.membership else { return false };
        let networks = &mut membership.networks;
        if networks.versions.get(&network).is_some_and(|known| *known >= version) {
            return false;
        }
        networks.versions.insert(network, version);
        let Some(before) = networks.shown.insert(network, report.clone()) else {
            self.announce_network(now, network, NetworkState::Unavailable, report.state);
            for (id, state) in &report.interfaces {
                self.announce_interface(now, network, *id, InterfaceState::Unavailable, *state);
            }
            return true;
        };
        if before == report {
            return false;
        }
        for (id, state) in &report.interfaces {
            let earlier = before.interfaces.get(id).copied().unwrap_or(InterfaceState::Unavailable);
            self.announce_interface(now, network, *id, earlier, *state);
        }
        self.announce_network(now, network, before.state, report.state);
        true
    }

    fn announce_interface(
        &mut self,
        now: Now,
        network: NetworkId,
        id: NodeId,
        from: InterfaceState,
        to: InterfaceState,
    ) {
        let (event, what) = match (from, to) {
            (before, after) if before == after => return,
            // Coming up for the first time, or not reached yet, is no news.
            (InterfaceState::Unavailable, InterfaceState::Up | InterfaceState::Unreachable) => return,
            (_, InterfaceState::Up) => (EventId::InterfaceUp, "works, and hears all others"),
            (_, InterfaceState::Unreachable) => {
                (EventId::InterfaceUnreachable, "does not reach every other; where the fault is is not known")
            }
            (_, InterfaceState::Failed) => (EventId::InterfaceFailed, "has failed: its adapter, cable or switch port"),
            (_, InterfaceState::Unavailable) => return,
        };
        let name = self.config.node(id).map_or_else(|| id.to_string(), |node| node.name.clone());
        let text = format!("The interface of node {name} on network {} {what}.", self.network_name(network));
        self.event(now, event, Some(id), Some(network), text, Detail::Interface { from, to });
    }

    fn announce_network(&mut self, now: Now, network: NetworkId, from: NetworkState, to: NetworkState) {
        let (event, what) = match (from, to) {
            (before, after) if before == after => return,
            (NetworkState::Unavailable, NetworkState::Up) => return,
            (_, NetworkState::Up) => (EventId::NetworkUp, "works between all available nodes"),
            (_, NetworkState::Partitioned) => (EventId::NetworkPartitioned, "does not join all available nodes"),
            (_, NetworkState::Down) => (EventId::NetworkDown, "joins no available nodes"),
            (_, NetworkState::Unavailable) => return,
        };
        let text = format!("Network {} {what}.", self.network_name(network));
        self.event(now, event, None, Some(network), text, Detail::Network { from, to });
    }

    /// Whom this node hears in time on each of its networks, whatever the network carries.
    fn own_rows(&self) -> BTreeMap<NetworkId, (NodeSet, bool)> {
        self.attached().iter().map(|network| (*network, self.own_row(*network))).collect()
    }

    /// Whether a report of this node says what it measures now; asked at every input, so nothing is collected.
    fn own_rows_stand(&self, report: &Connectivity) -> bool {
        let attached = self.attached();
        report.rows.len() == attached.len()
            && attached.iter().all(|network| report.rows.get(network) == Some(&self.own_row(*network)))
    }

    fn attached(&self) -> &[NetworkId] {
        self.config.node(self.config.local).map_or(&[], |node| &node.networks)
    }

    fn own_row(&self, network: NetworkId) -> (NodeSet, bool) {
        let up = |peer: &crate::peer::Peer| {
            peer.handshake.accepted().is_some()
                && peer.links.get(&network).is_some_and(|link| link.state == LinkState::Up)
        };
        let mut row: NodeSet = self.peers.iter().filter(|(_, peer)| up(peer)).map(|(id, _)| *id).collect();
        row.insert(self.config.local);
        let broken = self.membership.as_ref().and_then(|membership| membership.networks.broken.get(&network));
        (row, broken.copied().unwrap_or(false))
    }
}

/// Time between two repetitions of a report.
fn repeat_ns(interval_ns: u64) -> u64 {
    REPEAT_INTERVALS.saturating_mul(interval_ns).max(REPEAT_MIN_NS)
}
