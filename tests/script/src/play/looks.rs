//! Whether what a line expects is so at this moment.

use anyhow::{Result, bail, ensure};

use super::Play;
use crate::backend::{Logged, NodeState};
use crate::language::{Expected, Pattern, Span};

impl Play<'_> {
    /// Whether it is so; the error says what is instead.
    pub(super) fn look(&mut self, expected: &Expected) -> Result<()> {
        match expected {
            Expected::Logged { pattern, times, after_heartbeat } => self.logged(pattern, *times, *after_heartbeat),
            Expected::Never(pattern) => self.never(pattern),
            Expected::Ordered { first, second } => self.ordered(first, *second),
            Expected::NothingBut { ids, on } => self.nothing_but(ids, on),
            Expected::Members { members, on } => self.each(on, |state| {
                ensure!(state.members.as_ref() == Some(members), "its view has {:?}", state.members);
                Ok(())
            }),
            Expected::Out(nodes) => self.each(nodes, |state| {
                ensure!(state.members.is_none(), "it is in a view of {:?}", state.members);
                Ok(())
            }),
            Expected::Quorate(nodes) => self.quorate(nodes),
            Expected::Network { network, state, on } => self.each(on, |shown| {
                let is = shown.networks.get(network);
                ensure!(is == Some(state), "it shows {network} as {is:?}");
                Ok(())
            }),
            Expected::Interface { node, network, state, on } => self.each(on, |shown| {
                let is = shown.interfaces.get(&(*node, network.clone()));
                ensure!(is == Some(state), "it shows the interface of {node} to {network} as {is:?}");
                Ok(())
            }),
            Expected::Quarantined { node, on } => self.each(on, |shown| {
                ensure!(shown.quarantined.contains(node), "it keeps out {:?}", shown.quarantined);
                Ok(())
            }),
            Expected::Incarnation { new, of } => self.incarnations(*new, of),
            Expected::Refused { on, from } => self.refused(*on, *from),
        }
    }

    fn each(&mut self, nodes: &[u16], look: impl Fn(&NodeState) -> Result<()>) -> Result<()> {
        for node in nodes {
            ensure!(self.stage.is_present(*node), "node {node} does not run, or stands still: it cannot be asked");
            let state = self.backend.node(*node)?;
            look(&state).map_err(|error| error.context(format!("node {node}")))?;
        }
        Ok(())
    }

    fn since_mark(&mut self) -> Vec<Logged> {
        self.backend.events().split_off(self.mark.place)
    }

    fn logged(&mut self, pattern: &Pattern, times: Option<usize>, when: Option<(Span, Span)>) -> Result<()> {
        let events = self.since_mark();
        let matching: Vec<&Logged> = events.iter().filter(|event| pattern.fits(event)).collect();
        let about =
            if pattern.about.is_empty() { vec![None] } else { pattern.about.iter().copied().map(Some).collect() };
        for node in &pattern.on {
            for peer in &about {
                let count = matching.iter().filter(|event| event.node == *node && fits_peer(event, *peer)).count();
                let is_so = times.map_or(count > 0, |times| count == times);
                ensure!(is_so, "node {node} has logged it {count} times about {peer:?}");
            }
        }
        let Some((from, to)) = when else { return Ok(()) };
        let interval_ns = self.backend.interval_ns();
        let stalls_ns = self.backend.stalls_ns(self.mark.place);
        let allowed_ns = from.ns(interval_ns)..=to.ns(interval_ns) + stalls_ns;
        for event in matching {
            let Some(last_ns) = event.last_heartbeat_ns.filter(|last_ns| *last_ns > 0) else {
                bail!("it does not tell of a last heartbeat: {event:?}");
            };
            let after_ns = event.at_ns.saturating_sub(last_ns);
            ensure!(allowed_ns.contains(&after_ns), "{after_ns} ns after the last heartbeat: {event:?}");
        }
        Ok(())
    }

    fn never(&mut self, pattern: &Pattern) -> Result<()> {
        self.something_could_have_happened(&pattern.on)?;
        let events = self.since_mark();
        match events.iter().find(|event| pattern.fits(event)) {
            None => Ok(()),
            Some(event) => bail!("it was logged: {event:?}"),
        }
    }

    fn nothing_but(&mut self, ids: &[u16], on: &[u16]) -> Result<()> {
        self.something_could_have_happened(on)?;
        let noise = self.backend.own_noise();
        let events = self.since_mark();
        let other =
            |event: &&Logged| !ids.contains(&event.id) && !noise.contains(&event.id) && on.contains(&event.node);
        match events.iter().find(other) {
            None => Ok(()),
            Some(event) => bail!("this was logged too: {event:?}"),
        }
    }

    fn ordered(&mut self, first: &Pattern, second: u16) -> Result<()> {
        let events = self.since_mark();
        let second = Pattern { ids: vec![second], ..first.clone() };
        for node in &first.on {
            let place = |pattern: &Pattern| events.iter().position(|event| event.node == *node && pattern.fits(event));
            match (place(first), place(&second)) {
                (Some(earlier), Some(later)) if earlier < later => {}
                places => bail!("node {node} has logged them at the places {places:?}"),
            }
        }
        Ok(())
    }

    fn quorate(&mut self, nodes: &[u16]) -> Result<()> {
        let states = self.states(&self.everybody())?;
        let acting: Vec<u16> = states.iter().filter(|(_, state)| state.quorate).map(|(node, _)| *node).collect();
        ensure!(acting == nodes, "those who may act are {acting:?}");
        Ok(())
    }

    fn incarnations(&mut self, new: bool, nodes: &[u16]) -> Result<()> {
        for node in nodes {
            let Some(before) = self.mark.states.get(node).map(|state| state.incarnation) else {
                bail!("node {node} could not be asked at the mark");
            };
            let now = self.backend.node(*node)?.incarnation;
            ensure!((now > before) == new && now >= before, "node {node} was {before} and is {now}");
        }
        Ok(())
    }

    fn refused(&mut self, on: u16, from: u16) -> Result<()> {
        let Some(before) = self.mark.states.get(&on) else { bail!("node {on} could not be asked at the mark") };
        let now = self.backend.node(on)?;
        ensure!(now.refused > before.refused, "node {on} has refused {} as at the mark", now.refused);
        let (counted, counts) = (before.accepted.get(&from), now.accepted.get(&from));
        ensure!(counted == counts, "node {on} has counted a heartbeat of node {from}: {counted:?}, now {counts:?}");
        Ok(())
    }
}

impl Pattern {
    fn fits(&self, event: &Logged) -> bool {
        self.ids.contains(&event.id)
            && self.on.contains(&event.node)
            && (self.about.is_empty() || event.peer.is_some_and(|peer| self.about.contains(&peer)))
            && self.network.as_ref().is_none_or(|network| event.network.as_ref() == Some(network))
    }
}

fn fits_peer(event: &Logged, peer: Option<u16>) -> bool {
    peer.is_none_or(|peer| event.peer == Some(peer))
}
