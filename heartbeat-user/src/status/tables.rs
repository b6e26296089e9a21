//! The status as tables.

use std::fmt::Write as _;

use super::table::{Colour, Table, painted};
use super::{Link, Status};

fn plain(text: impl ToString) -> (String, Colour) {
    (text.to_string(), Colour::Plain)
}

impl Status {
    /// Everything at a glance.
    #[must_use]
    pub fn overview(&self, coloured: bool) -> String {
        let paint = |text: &str, colour| painted(text, if coloured { colour } else { Colour::Plain });
        let view = if self.view.number == 0 {
            "none".to_owned()
        } else {
            let members: Vec<&str> = self.view.members.iter().map(|member| self.node_name(*member)).collect();
            format!("{} ({})", self.view.number, members.join(", "))
        };
        let quorate = if self.view.quorate {
            paint("quorate", Colour::Good) + &format!(", lease for {} ms", self.view.lease_left_ms)
        } else if self.view.suspended {
            paint("suspended: its lease has ended", Colour::Bad)
        } else {
            paint("not quorate", Colour::Bad)
        };
        let stage = self.regroup.stage;
        let interfaces: Vec<String> = self
            .dataplane
            .interfaces
            .iter()
            .map(|interface| format!("{} on {}", interface.network, interface.name))
            .collect();
        let rt = if self.sender.rt_granted {
            format!("priority {}", self.sender.rt_priority)
        } else {
            paint("real-time priority refused", Colour::Bad)
        };
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "cluster    {}\nnode       {} (id {}, incarnation {}{})\nview       {view}, {quorate}\nregroup    {}, sequence {}\n\
             dataplane  {}, judged by {}: {}\nsender     {}, {rt}, longest gap {}\n",
            self.cluster,
            self.node.name,
            self.node.id,
            self.node.incarnation,
            if self.node.adopted { ", adopted" } else { "" },
            paint(stage.as_str(), stage.colour()),
            self.regroup.sequence,
            paint(self.dataplane.mode.as_str(), self.dataplane.mode.colour()),
            self.dataplane.judge.as_str(),
            interfaces.join(", "),
            self.sender.engine.as_str(),
            milliseconds(self.sender.longest_gap_ns),
        );
        // The rest is advice, and as good as everywhere: it stands in JSON.
        for limit in self.sender.limits.iter().filter(|limit| limit.harmful) {
            let _ =
                writeln!(text, "           {}", paint(&format!("{}; {}", limit.text, limit.remedy), Colour::Notable));
        }
        self.write_membership(&mut text, &paint);
        if let Some(reason) = &self.dataplane.degraded {
            let _ = writeln!(text, "           {}", paint(reason, Colour::Notable));
        }
        if let Some(error) = &self.event_log.last_error {
            let lost = self.event_log.failed + self.event_log.dropped;
            let _ = writeln!(text, "event log  {}", paint(&format!("{lost} events not on disk: {error}"), Colour::Bad));
        }
        if let Some(error) = &self.recording.last_error {
            let _ = writeln!(text, "recording  {}", paint(&format!("the core is not recorded: {error}"), Colour::Bad));
        }
        let rejects: Vec<String> = self
            .rejects
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let rejects = if rejects.is_empty() { "none".to_owned() } else { rejects.join(", ") };
        let _ = writeln!(text, "refused    {rejects}");
        for (heading, table) in [
            ("nodes", self.nodes_table()),
            ("networks", self.networks_table()),
            ("interfaces", self.interfaces_table()),
            ("links", self.links_table()),
        ] {
            let _ = write!(text, "\n{heading}\n{}", table.render(coloured));
        }
        text
    }

    /// What is not always so: who leads, removals that are not safe yet, the witness, a configuration that waits.
    fn write_membership(&self, text: &mut String, paint: &dyn Fn(&str, Colour) -> String) {
        // Writing to a String cannot fail.
        if let Some(leader) = self.view.leader {
            let forced = if self.view.forced {
                paint("; formed by force, without a majority", Colour::Notable)
            } else {
                String::new()
            };
            let _ = writeln!(text, "           led by {}{forced}", self.node_name(leader));
        }
        for removal in &self.removals {
            let (seconds, tenths) = (removal.safe_in_ms / 1_000, removal.safe_in_ms / 100 % 10);
            let line = format!("{}: its work may be taken over in {seconds}.{tenths} s", self.node_name(removal.node));
            let _ = writeln!(text, "removed    {}", paint(&line, Colour::Notable));
        }
        if let Some(witness) = &self.witness {
            let epoch = witness.epoch.map_or_else(|| "not seen yet".to_owned(), |epoch| format!("epoch {epoch}"));
            let holder = witness.holder.map_or("nobody that is known", |holder| self.node_name(holder));
            let counts = if witness.counts { "its vote counts here" } else { "its vote does not count here" };
            let error = witness.last_error.as_ref().map(|error| paint(&format!("; {error}"), Colour::Bad));
            let _ = writeln!(text, "witness    {epoch}, held by {holder}; {counts}{}", error.unwrap_or_default());
        }
        if let Some(staged) = &self.staged {
            let ready: Vec<&str> = staged.ready.iter().map(|node| self.node_name(*node)).collect();
            let digest = staged.digest.get(..16).unwrap_or(&staged.digest);
            let waits =
                if staged.waits_for.is_empty() { String::new() } else { format!("; waits: {}", staged.waits_for) };
            let line = format!("{digest}, on {}{waits}", ready.join(", "));
            let _ = writeln!(text, "staged     {}", paint(&line, Colour::Notable));
        }
    }

    /// All nodes.
    #[must_use]
    pub fn nodes_table(&self) -> Table {
        let mut table = Table::new(&[">ID", "NAME", "STATE", ">VOTES", ">INCARNATION", "NOTE"]);
        for node in &self.nodes {
            let incarnation = if node.incarnation == 0 { "-".to_owned() } else { node.incarnation.to_string() };
            let note = match (node.quarantine_left_s, node.config_differs) {
                _ if node.id == self.node.id => plain("this node"),
                (Some(seconds), _) => (format!("for {} min", seconds.div_ceil(60)), Colour::Bad),
                (None, true) => ("other configuration".to_owned(), Colour::Bad),
                (None, false) => plain(""),
            };
            table.row([
                plain(node.id),
                plain(&node.name),
                (node.state.as_str().to_owned(), node.state.colour()),
                plain(node.votes),
                plain(incarnation),
                note,
            ]);
        }
        table
    }

    /// All networks.
    #[must_use]
    pub fn networks_table(&self) -> Table {
        let mut table = Table::new(&[">ID", "NAME", "STATE", "ROLE", "HERE"]);
        for network in &self.networks {
            let here = self.dataplane.interfaces.iter().find(|interface| interface.network == network.name);
            let here = here.map(|interface| format!("{} ({})", interface.name, interface.mode.as_str()));
            table.row([
                plain(network.id),
                plain(&network.name),
                (network.state.as_str().to_owned(), network.state.colour()),
                plain(&network.role),
                plain(here.unwrap_or_else(|| "-".to_owned())),
            ]);
        }
        table
    }

    /// All attachments of nodes to networks.
    #[must_use]
    pub fn interfaces_table(&self) -> Table {
        let mut table = Table::new(&["NODE", "NETWORK", "STATE", "ADDRESS"]);
        for interface in &self.interfaces {
            table.row([
                plain(self.node_name(interface.node)),
                plain(&interface.network),
                (interface.state.as_str().to_owned(), interface.state.colour()),
                plain(&interface.address),
            ]);
        }
        table
    }

    /// All links.
    #[must_use]
    pub fn links_table(&self) -> Table {
        links_table(&self.links, |peer| self.node_name(peer).to_owned())
    }

    /// The name of a node, or `?`.
    #[must_use]
    pub fn node_name(&self, id: u16) -> &str {
        self.nodes.iter().find(|node| node.id == id).map_or("?", |node| node.name.as_str())
    }
}

fn links_table(links: &[Link], name: impl Fn(u16) -> String) -> Table {
    let mut table =
        Table::new(&["PEER", "NETWORK", "STATE", ">RECV", ">LOST", ">DUP", ">REORD", ">HEARD", ">JITTER", ">RTT"]);
    for link in links {
        let noticed = |count: u64| (short_count(count), if count > 0 { Colour::Notable } else { Colour::Plain });
        table.row([
            plain(name(link.peer)),
            plain(&link.network),
            (link.state.as_str().to_owned(), link.state.colour()),
            plain(short_count(link.received)),
            noticed(link.lost),
            noticed(link.duplicates),
            noticed(link.reordered),
            plain(link.last_heard_ms.map_or_else(|| "-".to_owned(), heard)),
            plain(link.jitter_us.map_or_else(|| "-".to_owned(), |jitter| milliseconds(jitter.saturating_mul(1_000)))),
            plain(link.rtt_us.map_or_else(|| "-".to_owned(), |rtt| milliseconds(rtt.saturating_mul(1_000)))),
        ]);
    }
    table
}

/// Short enough for a column: three digits matter.
pub(crate) fn milliseconds(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000_000 => format!("{}us", nanoseconds / 1_000),
        1_000_000..100_000_000 => format!("{}.{}ms", nanoseconds / 1_000_000, nanoseconds / 100_000 % 10),
        100_000_000..10_000_000_000 => format!("{}ms", nanoseconds / 1_000_000),
        10_000_000_000.. => format!("{}s", nanoseconds / 1_000_000_000),
    }
}

pub(crate) fn heard(milliseconds: f64) -> String {
    if milliseconds < 1_000.0 {
        format!("{milliseconds:.1}ms")
    } else if milliseconds < 100_000.0 {
        format!("{:.1}s", milliseconds / 1_000.0)
    } else {
        format!("{:.0}s", milliseconds / 1_000.0)
    }
}

/// Up to five digits in full: a table is for a glance, exact counts are in the JSON.
pub(crate) fn short_count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..1_000_000 => format!("{}k", count / 1_000),
        1_000_000..100_000_000 => format!("{}.{}M", count / 1_000_000, count / 100_000 % 10),
        100_000_000..1_000_000_000 => format!("{}M", count / 1_000_000),
        1_000_000_000.. => format!("{}G", count / 1_000_000_000),
    }
}
