//! BFD of BIRD 2.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};

use super::adapter::{
    Adapter, Care, Door, INTERFACE, INTERVAL_MS, MULTIPLIER, Place, Reading, State, address, node_of,
};

pub(super) struct Bird;

impl Adapter for Bird {
    fn name(&self) -> &'static str {
        "BIRD 2 BFD"
    }

    fn program(&self) -> &'static str {
        "/usr/sbin/bird"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["bird2"]
    }

    fn budget_ms(&self) -> f64 {
        f64::from(INTERVAL_MS * MULTIPLIER)
    }

    fn door(&self) -> Door {
        Door::Port(3784)
    }

    fn configure(&self, place: &Place) -> Result<Vec<String>> {
        let own = address(place.node);
        let mut text = format!(
            "log stderr all;\ntimeformat log iso long us;\nrouter id {own};\nprotocol device {{}}\nprotocol bfd b {{\n \
             debug {{ states, events }};\n interface \"{INTERFACE}\" {{ min rx interval {INTERVAL_MS} ms; min tx interval \
             {INTERVAL_MS} ms; idle tx interval 1000 ms; multiplier {MULTIPLIER}; }};\n"
        );
        for peer in place.watched() {
            writeln!(text, " neighbor {} dev \"{INTERFACE}\" local {own};", address(peer))?;
        }
        text.push_str("}\n");
        let configuration = place.file("bird.conf");
        fs::write(&configuration, text).with_context(|| format!("cannot write {configuration}"))?;
        let arguments = ["-f", "-c", &configuration, "-s", &place.file("ctl"), "-P", &place.file("pid")];
        Ok(arguments.map(str::to_owned).to_vec())
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
    let (peer, rest) = line.split_once("Session to ")?.1.split_once(' ')?;
    let peer = node_of(peer)?;
    // BIRD says that a session expired just before the state changes; a change without it is the peer's word.
    let state = match rest.trim() {
        "expired" => State::Silent,
        rest if rest.starts_with("changed state from") => match rest.rsplit(' ').next()? {
            "Up" => State::Up,
            _ if rest.contains("from Up ") => State::Told,
            _ => return None,
        },
        _ => return None,
    };
    Some(Reading { peer, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_does_is_read() {
        let read = |rest: &str| {
            let line = format!("2026-11-23 02:20:04.123456 <TRACE> b: Session to 10.77.1.3 {rest}");
            session(&line).map(|reading| (reading.peer, reading.state))
        };
        assert_eq!(read("changed state from Init to Up"), Some((3, State::Up)));
        assert_eq!(read("expired"), Some((3, State::Silent)));
        assert_eq!(read("changed state from Up to Down"), Some((3, State::Told)));
        assert_eq!(read("changed state from Down to Init"), None);
        assert_eq!(Bird.read(1, "2026-11-23 <INFO> Started"), []);
    }
}
