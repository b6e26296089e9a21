//! VRRP of keepalived: node 1 is the backup of one instance per peer, whose master the peer is. What it calls silent it
//! takes over from.

use std::fs;

use anyhow::{Context as _, Result};

use super::adapter::{Adapter, Door, INTERFACE, INTERVAL_MS, Place, Reading, SURVIVOR, State};

/// Of the backup: it waits for the priority's share of an interval longer (RFC 5798, 6.1).
const PRIORITY: u32 = 100;

pub(super) struct Keepalived;

impl Adapter for Keepalived {
    fn name(&self) -> &'static str {
        "keepalived VRRP"
    }

    fn program(&self) -> &'static str {
        "/usr/sbin/keepalived"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["keepalived"]
    }

    fn budget_ms(&self) -> f64 {
        f64::from(INTERVAL_MS) * (3.0 + f64::from(256 - PRIORITY) / 256.0)
    }

    fn door(&self) -> Door {
        Door::Vrrp
    }

    fn configure(&self, place: &Place) -> Result<Vec<String>> {
        let node = place.node;
        // Real-time priority and pinned memory are options of its own.
        let careful = if place.careful { " vrrp_rt_priority 60\n vrrp_no_swap\n" } else { "" };
        let mut text = format!("global_defs {{\n router_id n{node}\n vrrp_version 3\n{careful}}}\n");
        let instances = if node == SURVIVOR { place.watched() } else { vec![node] };
        for peer in instances {
            let priority = if node == SURVIVOR { PRIORITY } else { 150 };
            text.push_str(&format!(
                "vrrp_instance V{peer} {{\n state BACKUP\n interface {INTERFACE}\n virtual_router_id {peer}\n priority \
                 {priority}\n advert_int {:.3}\n virtual_ipaddress {{\n  10.77.1.{}/24\n }}\n}}\n",
                f64::from(INTERVAL_MS) / 1000.0,
                100 + peer
            ));
        }
        let configuration = place.file("keepalived.conf");
        fs::write(&configuration, text).with_context(|| format!("cannot write {configuration}"))?;
        let files = [("-f", configuration), ("-p", place.file("pid")), ("-r", place.file("vrrp-pid"))];
        let files = files.into_iter().chain([("-c", place.file("check-pid")), ("-b", place.file("bfd-pid"))]);
        let options = ["-n", "-l", "-D"].map(str::to_owned).into_iter();
        Ok(options.chain(files.flat_map(|(name, value)| [name.to_owned(), value])).collect())
    }

    fn takes_chrt(&self) -> bool {
        false
    }

    fn read(&self, node: u16, line: &str) -> Option<Reading> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_take_over_is_to_call_the_master_silent() {
        let read = |node, rest: &str| {
            let line = format!("Wed Nov 25 12:00:00 2026: (V3) Entering {rest}");
            Keepalived.read(node, &line).map(|reading| (reading.peer, reading.state))
        };
        assert_eq!(read(1, "MASTER STATE"), Some((3, State::Silent)));
        assert_eq!(read(1, "BACKUP STATE (init)"), Some((3, State::Up)));
        assert_eq!(read(3, "MASTER STATE"), Some((1, State::Up)));
        assert_eq!(read(3, "BACKUP STATE"), None);
        assert_eq!(read(1, "FAULT STATE"), None);
    }
}
