//! corosync with knet: node 1 calls those gone that a new membership has left out.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};

use super::adapter::{Adapter, Care, Door, Place, Reading, State, address};

/// The shortest token time that corosync 3.1.7 takes, with one retransmit: its retransmit timer may not be below 30 ms.
const TOKEN_MS: u32 = 36;
/// Time for consensus about who is left: 1.2 tokens, as by default.
const CONSENSUS_MS: u32 = 44;
/// Of knet. Its links are looked after in steps of 200 ms, so that shorter times call idle links dead.
const PING_MS: (u32, u32) = (200, 2000);
/// knet's, by default.
const PORT: u16 = 5405;
/// Sockets, process file and ring id have fixed places, and what libqb maps would outlive a killed process: each node
/// has its own in a mount namespace, which is gone with the process.
const PLACES: &str = "mount --bind \"$1/run\" /run && mount --bind \"$1/lib\" /var/lib/corosync && mount -t tmpfs corosync \
                      /dev/shm && shift && exec \"$@\"";

pub(super) struct Corosync;

impl Adapter for Corosync {
    fn name(&self) -> &'static str {
        "corosync knet"
    }

    fn program(&self) -> &'static str {
        "/usr/sbin/corosync"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["corosync"]
    }

    fn budget_ms(&self) -> f64 {
        f64::from(TOKEN_MS + CONSENSUS_MS)
    }

    fn door(&self) -> Door {
        Door::Port(PORT)
    }

    fn configure(&self, place: &Place) -> Result<Vec<String>> {
        let (ping_ms, pong_ms) = PING_MS;
        let mut text = format!(
            "totem {{\n version: 2\n cluster_name: peers\n transport: knet\n crypto_cipher: none\n crypto_hash: none\n \
             token: {TOKEN_MS}\n token_coefficient: 0\n token_retransmits_before_loss_const: 1\n consensus: \
             {CONSENSUS_MS}\n join: 30\n interface {{\n  linknumber: 0\n  knet_ping_interval: {ping_ms}\n  \
             knet_ping_timeout: {pong_ms}\n }}\n}}\nquorum {{\n provider: corosync_votequorum\n}}\nlogging {{\n to_stderr: \
             yes\n to_syslog: no\n to_logfile: no\n timestamp: hires\n}}\nnodelist {{\n"
        );
        for node in 1..=place.nodes {
            writeln!(text, " node {{\n  ring0_addr: {}\n  nodeid: {node}\n  name: n{node}\n }}", address(node))?;
        }
        text.push_str("}\n");
        let configuration = place.file("corosync.conf");
        fs::write(&configuration, text).with_context(|| format!("cannot write {configuration}"))?;
        for folder in ["run/lock", "lib"] {
            fs::create_dir_all(place.folder.join(folder)).with_context(|| format!("cannot make {folder}"))?;
        }
        Ok(["-f", "-c", &configuration].map(str::to_owned).to_vec())
    }

    fn care(&self) -> Care {
        Care::Packaged
    }

    fn before(&self, place: &Place) -> Vec<String> {
        let enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", PLACES, "sh"].map(str::to_owned);
        enter.into_iter().chain([place.folder.display().to_string()]).collect()
    }

    fn read(&self, node: u16, line: &str) -> Vec<Reading> {
        let Some((_, members)) = line.split_once("was formed. Members") else { return Vec::new() };
        let (joined, left) = members.split_once(" left:").unwrap_or((members, ""));
        let of = |text: &str, state| {
            let peers = text.split_whitespace().filter_map(|word| word.parse().ok()).filter(|peer| *peer != node);
            peers.map(|peer| Reading { peer, state }).collect::<Vec<_>>()
        };
        // One that is in both was gone before it came back.
        [of(left, State::Silent), of(joined, State::Up)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_membership_is_read_as_who_left_and_who_joined() {
        let read = |members: &str| {
            let line =
                format!("Nov 25 14:46:28.692 notice  [TOTEM ] A new membership (1.d) was formed. Members{members}");
            Corosync.read(1, &line).into_iter().map(|reading| (reading.peer, reading.state)).collect::<Vec<_>>()
        };
        assert_eq!(read(" joined: 1"), []);
        assert_eq!(read(" joined: 2 3"), [(2, State::Up), (3, State::Up)]);
        assert_eq!(read(" left: 2"), [(2, State::Silent)]);
        assert_eq!(read(" joined: 2 left: 2 3"), [(2, State::Silent), (3, State::Silent), (2, State::Up)]);
        assert_eq!(read(""), []);
        assert_eq!(Corosync.read(1, "Nov 25 14:46:28.640 notice  [TOTEM ] Token has not been received in 27 ms"), []);
    }
}
