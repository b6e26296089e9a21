//! The cluster of `cargo xtask run` while it runs.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use heartbeat_tests::{
    cluster::Cluster, config::ClusterSpec, interrupt::Interrupt, naming::Prefix, process::Node, topology::TopologySpec,
};
use nix::fcntl::{Flock, FlockArg};
use serde_json::{Value, json};

use super::{
    Arguments,
    table::{self, Around, Row, Size},
};

/// Held while a demo runs: its names are fixed, so there can be one only.
const LOCK: &str = "/run/heartbeat-demo.lock";

/// Between two looks at the nodes.
const TICK: Duration = Duration::from_secs(1);

/// Events are passed on at least this often.
const EVENT_TICK: Duration = Duration::from_millis(100);

/// Between two tables where they are not drawn over each other.
const TABLE_PAUSE: Duration = Duration::from_secs(10);

/// A node that hangs may not hold the table up.
const ANSWER: Duration = Duration::from_millis(200);

/// Events below the live table.
const NEWEST_EVENTS: usize = 8;

const LINES_ON_FAILURE: usize = 20;

pub(super) fn run(arguments: &Arguments, program: &Path) -> Result<()> {
    let _lock = lock()?;
    let interrupt = Interrupt::install()?;
    let topology = TopologySpec { prefix: Prefix::demo(), ..TopologySpec::new(arguments.nodes, arguments.networks) };
    let cluster = ClusterSpec {
        sender: arguments.sender.clone(),
        dataplane: arguments.dataplane.clone(),
        ..ClusterSpec::new(&arguments.interval)
    };
    let mut cluster = Cluster::prepare(topology, &cluster, program)?;
    let node_arguments: &[&str] = if arguments.trace { &["--trace"] } else { &[] };
    for id in cluster.topology().node_ids() {
        cluster.start_node(id, node_arguments)?;
    }
    let hints = hints(&cluster, program);
    let mut screen = Screen::new(arguments, hints);
    let verdict = watch(&mut cluster, arguments, interrupt, &mut screen);
    // Also after a failure: a node that is told to leave removes what it has put into the kernel.
    let left = cluster.leave();
    verdict.and(left)
}

/// Shows the cluster until the time is up, a signal comes, or a node ends.
fn watch(cluster: &mut Cluster, arguments: &Arguments, interrupt: &Interrupt, screen: &mut Screen) -> Result<()> {
    let begin = Instant::now();
    let end = arguments.duration.map(|duration| begin + duration);
    let mut up_after = None;
    loop {
        for id in cluster.topology().node_ids() {
            let node = cluster.node_mut(id);
            if let Some(status) = node.ended()? {
                bail!("node {id} ended by itself: {status}\n{}", node.log_tail(LINES_ON_FAILURE));
            }
        }
        if up_after.is_none() && cluster.links_not_restored().is_empty() {
            up_after = Some(begin.elapsed());
            let seconds = begin.elapsed().as_secs_f64();
            screen.announce(&format!("every link is up after {seconds:.1} s; {}", engines(cluster)));
        }
        screen.show(cluster)?;
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            screen.finish(cluster)?;
            return verdict(cluster);
        }
        if interrupt.wait(Some(left.unwrap_or(EVENT_TICK).min(EVENT_TICK))) {
            screen.finish(cluster)?;
            return Ok(());
        }
    }
}

/// How the nodes receive, judge and send: what most of them do, with how many where they differ.
fn engines(cluster: &Cluster) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for node in cluster.nodes() {
        let engines = match node.request_within(&json!({"request": "status"}), ANSWER) {
            Ok(status) => {
                let word = |pointer| status.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned();
                let [mode, judge] = ["/dataplane/mode", "/dataplane/judge"].map(word);
                format!("{mode} dataplane, {judge}, {} sender", word("/sender/engine"))
            }
            Err(error) => format!("{error:#}"),
        };
        *counts.entry(engines).or_default() += 1;
    }
    let all = cluster.nodes().len();
    let parts =
        counts.iter().map(
            |(engines, count)| {
                if *count == all { engines.clone() } else { format!("{count} of {all} nodes: {engines}") }
            },
        );
    parts.collect::<Vec<_>>().join("; ")
}

fn verdict(cluster: &Cluster) -> Result<()> {
    let missing = cluster.links_not_restored();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("no 1122 (link_restored) for {}", missing.join(", "))
}

fn lock() -> Result<Flock<File>> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).read(true).write(true).open(LOCK);
    let file = file.with_context(|| format!("cannot open {LOCK}"))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!("another `cargo xtask run` is running: end it first"),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {LOCK}")),
    }
}

/// How to look inside from another terminal.
fn hints(cluster: &Cluster, program: &Path) -> Vec<String> {
    let Some(first) = cluster.nodes().first() else { return Vec::new() };
    let namespace = cluster.topology().node(first.id());
    let inside = format!("ip netns exec {}", namespace.name());
    let pins = first.files().bpf_directory.display();
    vec![
        "look inside, as root from another terminal:".to_owned(),
        // Its socket is a file: not from inside the namespace, whose processes end with it.
        format!("  {} --socket {} top", program.display(), first.files().socket().display()),
        format!("  bpftool map dump pinned {pins}/v*/LINKS"),
        format!("  {inside} ping 10.77.1.2"),
        format!("  tail -F {}", first.files().log().display()),
    ]
}

/// Where the cluster is shown, and how.
struct Screen {
    hints: Vec<String>,
    style: Style,
    /// How many events have been printed.
    printed: usize,
    last_table: Option<Instant>,
    headline: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// One JSON object per event.
    Json,
    /// A table that is drawn over itself.
    Live,
    /// Events as they come, and a table now and then: into a file or a pipe.
    Lines,
}

impl Screen {
    fn new(arguments: &Arguments, hints: Vec<String>) -> Self {
        let style = match (arguments.json, std::io::stdout().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Live,
            (false, false) => Style::Lines,
        };
        if style != Style::Live {
            // Beside the lines that a program may be reading.
            for hint in &hints {
                eprintln!("{hint}");
            }
        }
        let last_table = match style {
            Style::Live => None,
            // Before the nodes have come up there is nothing to see.
            Style::Json | Style::Lines => Some(Instant::now()),
        };
        Self { hints, style, printed: 0, last_table, headline: "the nodes come up".to_owned() }
    }

    /// Something to know about the whole cluster.
    fn announce(&mut self, news: &str) {
        match self.style {
            Style::Live => self.headline = news.to_owned(),
            Style::Json | Style::Lines => {
                eprintln!("{news}");
                self.last_table = None;
            }
        }
    }

    fn show(&mut self, cluster: &Cluster) -> Result<()> {
        let pause = match self.style {
            Style::Json | Style::Lines => {
                self.print_events(cluster)?;
                TABLE_PAUSE
            }
            Style::Live => TICK,
        };
        let is_due = self.last_table.is_none_or(|last| last.elapsed() >= pause);
        if self.style != Style::Json && is_due {
            // From the start of the work, so that the time between two tables does not drift.
            self.last_table = Some(Instant::now());
            self.print_table(cluster)?;
        }
        Ok(())
    }

    /// The last state, to stay on the screen.
    fn finish(&mut self, cluster: &Cluster) -> Result<()> {
        if self.style == Style::Json {
            return self.print_events(cluster);
        }
        self.print_table(cluster)
    }

    fn print_events(&mut self, cluster: &Cluster) -> Result<()> {
        let events = cluster.events().since(self.printed);
        self.printed += events.len();
        let lines = events.iter().map(|event| match self.style {
            Style::Json => event.value().to_string(),
            Style::Live | Style::Lines => table::event_line(event),
        });
        print(&lines.map(|line| line + "\n").collect::<String>())
    }

    fn print_table(&self, cluster: &Cluster) -> Result<()> {
        let rows: Vec<Row> = cluster.nodes().iter().flat_map(rows_of).collect();
        let text = match self.style {
            Style::Live => {
                let events = cluster.events().newest(NEWEST_EVENTS);
                let around = Around { headline: &self.headline, events, hints: &self.hints };
                format!("\x1b[H\x1b[J{}", table::render(&rows, &around, Size::of_terminal()))
            }
            Style::Json | Style::Lines => table::render(&rows, &Around::default(), Size::unlimited()),
        };
        print(&text)
    }
}

fn rows_of(node: &Node) -> Vec<Row> {
    match node.request_within(&json!({"request": "links"}), ANSWER) {
        Ok(links) => Row::from_links(node.id(), &links),
        Err(error) => vec![Row::without_answer(node.id(), &error)],
    }
}

fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("cannot write to standard output")
}
