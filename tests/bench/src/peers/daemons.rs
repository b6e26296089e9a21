//! Somebody else's system, one process group per node.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use heartbeat_tests::topology::{Topology, TopologySpec};
use heartbeat_user::clock;
use nix::sys::signal::Signal;

use super::{
    adapter::{Adapter, Care, Door, Place, SURVIVOR, State},
    subject::{self, PAUSE, Said, Subject},
};
use crate::cpu::{self, Priority, THIS_THREAD};

/// The thread that stamps lines runs above what prints them, so that the stamp is that of the line.
const READER: Priority = Priority::Fifo(61);
/// Lines that are kept to show why a system does not come up.
const TAIL: usize = 12;

/// Lines as they came.
#[derive(Default)]
struct Book {
    said: Vec<Said>,
    /// What a node said last of a peer.
    last: BTreeMap<(u16, u16), State>,
    tail: Vec<String>,
}

impl Book {
    /// Enters it, unless it is a loss of somebody who was not there.
    fn enter(&mut self, said: Said) {
        let pair = (said.node, said.reading.peer);
        let was_up = self.last.get(&pair) == Some(&State::Up);
        if was_up || said.reading.state == State::Up {
            self.last.insert(pair, said.reading.state);
            self.said.push(said);
        }
    }

    /// What a node said is void, because it starts anew.
    fn forget(&mut self, node: u16) {
        self.said.retain(|said| said.node != node);
        self.last.retain(|(who, _), _| *who != node);
    }
}

pub(super) struct Daemons {
    adapter: Arc<dyn Adapter + Send + Sync>,
    careful: bool,
    nodes: u16,
    children: BTreeMap<u16, Child>,
    book: Arc<Mutex<Book>>,
    /// Dropped last: it kills what still runs in its namespaces.
    topology: Topology,
}

impl Daemons {
    /// A survivor and so many peers.
    pub(super) fn start(adapter: Arc<dyn Adapter + Send + Sync>, careful: bool, peers: u16) -> Result<Self> {
        let program = adapter.program();
        ensure!(Path::new(program).is_file(), "there is no {program}: install {}", adapter.packages().join(" "));
        let nodes = peers + 1;
        let topology = Topology::build(TopologySpec::new(nodes, 1))?;
        let book = Arc::default();
        let mut daemons = Self { adapter, careful, nodes, children: BTreeMap::new(), book, topology };
        for node in daemons.topology.node_ids() {
            daemons.spawn(node)?;
        }
        Ok(daemons)
    }

    fn spawn(&mut self, node: u16) -> Result<()> {
        let folder = self.topology.prefix().directory().join(node.to_string());
        // The process files of a node that was killed would keep it from starting.
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let place = Place { node, nodes: self.nodes, folder, careful: self.careful };
        let arguments = self.adapter.configure(&place)?;
        let namespace = self.topology.node(node);
        let mut words = self.adapter.before(&place);
        if self.careful && self.adapter.care() == Care::Chrt {
            words.extend(["chrt", "-f", "60"].map(str::to_owned));
        }
        words.push(self.adapter.program().to_owned());
        let mut command = namespace.command(&words[0])?;
        command.args(&words[1..]).args(arguments).current_dir(&place.folder).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.adapter.program()))?;
        if let Some(output) = child.stdout.take() {
            self.listen(node, output);
        }
        if let Some(output) = child.stderr.take() {
            self.listen(node, output);
        }
        self.children.insert(node, child);
        Ok(())
    }

    /// Ends with the pipe, which is with the last process that holds it.
    fn listen(&self, node: u16, output: impl Read + Send + 'static) {
        let (book, adapter) = (Arc::clone(&self.book), Arc::clone(&self.adapter));
        thread::spawn(move || {
            if let Err(error) = cpu::schedule(THIS_THREAD, READER) {
                eprintln!("lines of node {node} are stamped late: {error:#}");
            }
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let at_ns = clock::monotonic_ns();
                let line = String::from_utf8_lossy(&line);
                let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
                if book.tail.len() == TAIL {
                    book.tail.remove(0);
                }
                book.tail.push(format!("node {node}: {line}"));
                for reading in adapter.read(node, &line) {
                    book.enter(Said { node, reading, at_ns });
                }
            }
        });
    }

    /// Whether the survivor and each peer hold each other for up, by what they said last.
    fn is_up(&self) -> bool {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let up = |node, peer| book.last.get(&(node, peer)) == Some(&State::Up);
        (2..=self.nodes).all(|peer| up(SURVIVOR, peer) && up(peer, SURVIVOR))
    }
}

impl Subject for Daemons {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn door(&self) -> Door {
        self.adapter.door()
    }

    fn said(&self) -> Vec<Said> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).said.clone()
    }

    fn wait_until_up(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.is_up() {
            for (node, child) in &mut self.children {
                let status = child.try_wait().context("cannot ask after a process")?;
                if let Some(status) = status {
                    let tail = self.book.lock().unwrap_or_else(PoisonError::into_inner).tail.join("\n");
                    bail!("node {node} ended with {status}; the last lines:\n{tail}");
                }
            }
            if Instant::now() > deadline {
                let tail = self.book.lock().unwrap_or_else(PoisonError::into_inner).tail.join("\n");
                bail!("not up within {limit:?}; the last lines:\n{tail}");
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn restart(&mut self, node: u16) -> Result<()> {
        if let Some(mut child) = self.children.remove(&node) {
            // It is reaped here; that it was killed already is what is wanted.
            let _killed = child.kill();
            child.wait().context("cannot wait for a process")?;
        }
        // What it said of the others is void; nothing else tells that it went.
        self.book.lock().unwrap_or_else(PoisonError::into_inner).forget(node);
        self.spawn(node)
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        for node in self.topology.node_ids() {
            // A node that does not run has nothing to end.
            let _ended = subject::signal(self, node, Signal::SIGKILL);
        }
        for child in self.children.values_mut() {
            let _status = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::adapter::Reading, *};

    #[test]
    fn only_who_was_there_can_be_lost_and_once() {
        let mut book = Book::default();
        let mut say = |node, state| book.enter(Said { node, reading: Reading { peer: 2, state }, at_ns: 0 });
        for state in [State::Silent, State::Up, State::Silent, State::Told, State::Up] {
            say(1, state);
        }
        say(3, State::Up);
        let states: Vec<State> =
            book.said.iter().filter(|said| said.node == 1).map(|said| said.reading.state).collect();
        assert_eq!(states, [State::Up, State::Silent, State::Up]);
        book.forget(1);
        assert_eq!(book.last, BTreeMap::from([((3, 2), State::Up)]));
        assert_eq!(book.said.len(), 1);
    }
}
