//! BFD of keepalived, one instance per peer.

use std::fmt::Write as _;

use anyhow::Result;

use super::super::adapter::{Adapter, Care, Door, INTERVAL_MS, MULTIPLIER, Place, Reading, State, address};

pub(in super::super) struct Bfd;

impl Adapter for Bfd {
    fn name(&self) -> &'static str {
        "keepalived BFD"
    }

    fn program(&self) -> &'static str {
        super::PROGRAM
    }

    fn packages(&self) -> &'static [&'static str] {
        super::PACKAGES
    }

    fn budget_ms(&self) -> f64 {
        f64::from(INTERVAL_MS * MULTIPLIER)
    }

    fn door(&self) -> Door {
        Door::Port(3784)
    }

    fn configure(&self, place: &Place) -> Result<Vec<String>> {
        let (node, own) = (place.node, address(place.node));
        let mut text = format!("global_defs {{\n router_id n{node}\n{}}}\n", super::careful(place, "bfd"));
        for peer in place.watched() {
            write!(
                text,
                "bfd_instance s{peer} {{\n neighbor_ip {}\n source_ip {own}\n min_rx {INTERVAL_MS}\n min_tx {INTERVAL_MS}\n \
                 idle_tx 1000\n multiplier {MULTIPLIER}\n}}\n",
                address(peer)
            )?;
        }
        super::arguments(place, &text)
    }

    fn care(&self) -> Care {
        Care::Options
    }

    fn read(&self, _node: u16, line: &str) -> Vec<Reading> {
        session(line).into_iter().collect()
    }
}

/// What becomes of a session.
fn session(line: &str) -> Option<Reading> {
    let (peer, rest) = line.split_once("(s")?.1.split_once(") Entering ")?;
    let state = match rest.split_whitespace().next()? {
        "Up" => State::Up,
        "Down" | "AdminDown" if rest.contains("Local diagnostic - Control Detection") => State::Silent,
        "Down" | "AdminDown" => State::Told,
        _ => return None,
    };
    Some(Reading { peer: peer.parse().ok()?, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_expires_is_told_from_one_that_the_peer_ends() {
        let read = |rest: &str| {
            let line = format!("Wed Nov 25 14:47:28 2026: (s2) Entering {rest}");
            session(&line).map(|reading| (reading.peer, reading.state))
        };
        let expired =
            "Down state (Local diagnostic - Control Detection Time Expired, Remote diagnostic - No Diagnostic)";
        let told = "Down state (Local diagnostic - Neighbor Signaled Session Down, Remote diagnostic - No Diagnostic)";
        assert_eq!(read("Up state"), Some((2, State::Up)));
        assert_eq!(read(expired), Some((2, State::Silent)));
        assert_eq!(read(told), Some((2, State::Told)));
        assert_eq!(read("Init state"), None);
        assert_eq!(Bfd.read(1, "Wed Nov 25 14:47:28 2026: (s2) Expired after 30 ms (39 usec overdue)"), []);
    }
}
