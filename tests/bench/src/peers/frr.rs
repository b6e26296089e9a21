//! bfdd of FRR, without zebra.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result};

use super::adapter::{Adapter, Care, Door, INTERVAL_MS, MULTIPLIER, Place, Reading, State, address, node_of};

pub(super) struct Frr;

impl Adapter for Frr {
    fn name(&self) -> &'static str {
        "FRR bfdd"
    }

    fn program(&self) -> &'static str {
        "/usr/lib/frr/bfdd"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["frr"]
    }

    fn budget_ms(&self) -> f64 {
        f64::from(INTERVAL_MS * MULTIPLIER)
    }

    fn door(&self) -> Door {
        Door::Port(3784)
    }

    fn configure(&self, place: &Place) -> Result<Vec<String>> {
        let mut text = "log timestamp precision 6\nlog stdout debugging\ndebug bfd peer\nbfd\n".to_owned();
        for peer in place.watched() {
            let (peer, own) = (address(peer), address(place.node));
            write!(
                text,
                " peer {peer} local-address {own}\n  detect-multiplier {MULTIPLIER}\n  receive-interval {INTERVAL_MS}\n  \
                 transmit-interval {INTERVAL_MS}\n  no shutdown\n exit\n"
            )?;
        }
        text.push_str("exit\n");
        let configuration = place.file("bfdd.conf");
        fs::write(&configuration, text).with_context(|| format!("cannot write {configuration}"))?;
        // bfdd gives root up and makes its sockets as the user of its package, who needs the way there and the folder.
        for folder in place.folder.ancestors().take(2) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).context("bfdd's folder stays closed")?;
        }
        let arguments = [
            ("-f", configuration),
            ("-i", place.file("pid")),
            ("-z", place.file("zserv")),
            ("--vty_socket", place.file("")),
            ("--bfdctl", place.file("bfdctl")),
            ("-u", "frr".to_owned()),
            ("-g", "frr".to_owned()),
            ("-P", "0".to_owned()),
            ("--log", "stdout".to_owned()),
            ("--log-level", "debug".to_owned()),
        ];
        Ok(arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect())
    }

    fn care(&self) -> Care {
        Care::Chrt
    }

    fn read(&self, _node: u16, line: &str) -> Vec<Reading> {
        session(line).into_iter().collect()
    }
}

/// What becomes of a session.
fn session(line: &str) -> Option<Reading> {
    let change = line.split_once("state-change: [")?.1;
    let (session, change) = change.split_once("] ")?;
    let peer = session.split_once("peer:")?.1.split([' ', ',']).next()?;
    let peer = node_of(peer)?;
    let (from, rest) = change.split_once(" -> ")?;
    let state = match (from, rest.split_whitespace().next()?) {
        (_, "up") => State::Up,
        ("up", _) if rest.contains("neighbor") => State::Told,
        ("up", _) => State::Silent,
        _ => return None,
    };
    Some(Reading { peer, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_a_session_are_read() {
        let head = "2026/11/23 02:20:04.123456 BFD: [SEY1D-NT8EQ] state-change: [mhop:no peer:10.77.1.2 \
                    local:10.77.1.1 vrf:default]";
        let read = |rest: &str| session(&format!("{head} {rest}")).map(|reading| (reading.peer, reading.state));
        assert_eq!(read("init -> up"), Some((2, State::Up)));
        assert_eq!(read("up -> down reason:control-expired"), Some((2, State::Silent)));
        assert_eq!(read("up -> down reason:neighbor-down"), Some((2, State::Told)));
        assert_eq!(read("down -> init"), None);
        assert_eq!(Frr.read(1, "2026/11/23 02:20:04 BFD: [X] started"), []);
    }
}
