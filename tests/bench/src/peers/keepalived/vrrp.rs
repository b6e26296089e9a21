//! VRRP of keepalived: node 1 is the backup of one instance per peer, whose master the peer is. What it calls silent it
//! takes over from.

use std::fmt::Write as _;

use anyhow::Result;

use super::super::adapter::{Adapter, Care, Door, INTERFACE, INTERVAL_MS, Place, Reading, SURVIVOR, State};

/// Of the backup: it waits for the priority's share of an interval longer (RFC 5798, 6.1).
const PRIORITY: u32 = 100;

pub(in super::super) struct Vrrp;

impl Adapter for Vrrp {
    fn name(&self) -> &'static str {
        "keepalived VRRP"
    }

    fn program(&self) -> &'static str {
        super::PROGRAM
    }

    fn packages(&self) -> &'static [&'static str] {
        super::PACKAGES
    }

    fn budget_ms(&self) -> f64 {
        f64::from(INTERVAL_MS) * (3.0 + f64::from(256 - PRIORITY) / 256.0)
    }

    fn door(&self) -> Door {
        Door::Vrrp
    }

    fn configure(&self, place: &Place) -> Result<Vec<String>> {
        let node = place.node;
        let careful = super::careful(place, "vrrp");
        let mut text = format!("global_defs {{\n router_id n{node}\n vrrp_version 3\n{careful}}}\n");
        let instances = if node == SURVIVOR { place.watched() } else { vec![node] };
        for peer in instances {
            let priority = if node == SURVIVOR { PRIORITY } else { 150 };
            write!(
                text,
                "vrrp_instance V{peer} {{\n state BACKUP\n interface {INTERFACE}\n virtual_router_id {peer}\n priority \
                 {priority}\n advert_int {:.3}\n virtual_ipaddress {{\n  10.77.1.{}/24\n }}\n}}\n",
                f64::from(INTERVAL_MS) / 1000.0,
                100 + peer
            )?;
        }
        super::arguments(place, &text)
    }

    fn care(&self) -> Care {
        Care::Options
    }

    fn read(&self, node: u16, line: &str) -> Vec<Reading> {
        instance(node, line).into_iter().collect()
    }
}

/// What becomes of an instance.
fn instance(node: u16, line: &str) -> Option<Reading> {
    let (instance, rest) = line.split_once("(V")?.1.split_once(") Entering ")?;
    let is_master = match rest.split_whitespace().next()? {
        "MASTER" => true,
        "BACKUP" => false,
        _ => return None,
    };
    // A peer that is master is ready; that it stands back means nothing about the silent backup.
    if node != SURVIVOR {
        return is_master.then_some(Reading { peer: SURVIVOR, state: State::Up });
    }
    let state = if is_master { State::Silent } else { State::Up };
    Some(Reading { peer: instance.parse().ok()?, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_take_over_is_to_call_the_master_silent() {
        let read = |node, rest: &str| {
            let line = format!("Wed Nov 25 12:00:00 2026: (V3) Entering {rest}");
            instance(node, &line).map(|reading| (reading.peer, reading.state))
        };
        assert_eq!(read(1, "MASTER STATE"), Some((3, State::Silent)));
        assert_eq!(read(1, "BACKUP STATE (init)"), Some((3, State::Up)));
        assert_eq!(read(3, "MASTER STATE"), Some((1, State::Up)));
        assert_eq!(read(3, "BACKUP STATE"), None);
        assert_eq!(read(1, "FAULT STATE"), None);
    }
}
