//! Three machines on one network, and everything that their nodes report.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use heartbeat_tests::{events::Event, interrupt::Interrupt, naming::node_name};
use serde_json::{Value, json};

use crate::{
    guest::{self, member},
    image::Image,
    kernel::Kernel,
    machine::{Arrival, Machine, MachineSpec},
    packages::{self, Unpacked},
    qmp::Qmp,
    report::Report,
    workplace::Workplace,
};

/// The nodes, each in its machine.
pub const NODES: [u16; 3] = [1, 2, 3];
/// The program's default: long enough for emulation.
pub const INTERVAL: Duration = Duration::from_millis(1200);
/// Intervals until a peer is silent, the program's default.
pub const LOST_AFTER: u32 = 6;
/// Interface of every machine.
pub const INTERFACE: &str = "eth0";
/// The network's name.
pub const NETWORK: &str = "private";

const MEMORY_MIB: u32 = 512;
/// Reports of three machines between two looks: a status twice a second each, and bursts of events.
const ARRIVALS: usize = 4096;
/// While waiting, look this often whether somebody wants it to end.
const LOOK_UP: Duration = Duration::from_millis(200);
const CONSOLE_LINES_ON_FAILURE: usize = 30;
/// Group that the machines' frames go to; they never leave this machine's loopback interface.
const GROUP: &str = "239.192.77.77";

/// A node's address.
#[must_use]
pub fn address(node: u16) -> String {
    format!("10.78.0.{node}")
}

/// Where a machine has its node's configuration, without the first `/`.
#[must_use]
pub fn config_path(name: &str) -> String {
    format!("etc/heartbeat/{name}.toml")
}

/// The control socket inside a machine.
#[must_use]
pub fn socket_path() -> &'static str {
    "/run/heartbeat/heartbeat.sock"
}

/// An event, and when the host had it: the machines' own clocks tell different times.
#[derive(Clone, Debug)]
pub struct Told {
    /// Host time.
    pub at: Instant,
    /// The event.
    pub event: Event,
}

/// All machines and what they told.
#[derive(Debug)]
pub struct Machines<'a> {
    kernel: Unpacked,
    image: PathBuf,
    port: u16,
    workplace: &'a Workplace,
    interrupt: &'a Interrupt,
    sender: SyncSender<Arrival>,
    arrivals: Receiver<Arrival>,
    running: BTreeMap<u16, Running>,
    boots: u16,
    events: Vec<Told>,
    statuses: BTreeMap<u16, (Instant, Value)>,
    complaints: Vec<String>,
}

#[derive(Debug)]
struct Running {
    machine: Machine,
    control: Qmp,
    boot: u16,
}

impl<'a> Machines<'a> {
    /// Writes the image that all of them boot; none runs yet.
    ///
    /// # Errors
    ///
    /// As [`packages::prepare`] and [`Image::new`].
    pub fn prepare(kernel: Kernel, workplace: &'a Workplace, anew: bool, interrupt: &'a Interrupt) -> Result<Self> {
        let kernel = packages::prepare(kernel, workplace, anew)?;
        let image = workplace.of_machine("faults")?.join("initramfs");
        let mut content = Image::new(&kernel, workplace)?;
        content.add_secret("etc/heartbeat/key", key()?.into_bytes());
        for node in NODES {
            content.add_secret(&config_path(&node_name(node)), config(node).into_bytes());
        }
        content.write(&image)?;
        let (sender, arrivals) = sync_channel(ARRIVALS);
        Ok(Self {
            kernel,
            image,
            port: free_port()?,
            workplace,
            interrupt,
            sender,
            arrivals,
            running: BTreeMap::new(),
            boots: 0,
            events: Vec::new(),
            statuses: BTreeMap::new(),
            complaints: Vec::new(),
        })
    }

    /// Starts a node's machine.
    ///
    /// # Errors
    ///
    /// As [`Machine::start`].
    pub fn boot(&mut self, node: u16) -> Result<()> {
        self.boots += 1;
        let port = self.port;
        let spec = MachineSpec {
            kernel: &self.kernel,
            image: &self.image,
            variables: vec![
                (guest::ROLE_VARIABLE, guest::ROLE_MEMBER.to_owned()),
                (member::NODE_VARIABLE, node.to_string()),
            ],
            interfaces: vec![
                "-netdev".to_owned(),
                format!("socket,id=net,mcast={GROUP}:{port},localaddr=127.0.0.1"),
                "-device".to_owned(),
                format!("virtio-net-pci,netdev=net,romfile=,mac=52:54:00:77:00:{node:02x}"),
            ],
            cpus: 1,
            memory_mib: MEMORY_MIB,
            directory: self.workplace.of_machine(&node_name(node))?,
        };
        let machine = Machine::start(&spec, self.boots, self.sender.clone())?;
        let control = machine.control()?;
        self.running.insert(node, Running { machine, control, boot: self.boots });
        Ok(())
    }

    /// Stops a machine and all its clocks.
    ///
    /// # Errors
    ///
    /// As [`Qmp::stop`].
    pub fn stop(&mut self, node: u16) -> Result<()> {
        self.running(node)?.control.stop()
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// As [`Qmp::go_on`].
    pub fn go_on(&mut self, node: u16) -> Result<()> {
        self.running(node)?.control.go_on()
    }

    /// Ends a machine at once.
    ///
    /// # Errors
    ///
    /// As [`Machine::cut_power`].
    pub fn cut_power(&mut self, node: u16) -> Result<()> {
        self.running(node)?.machine.cut_power()?;
        if let Some(ended) = self.running.remove(&node) {
            self.complaints.extend(ended.machine.console().complaints());
        }
        self.statuses.remove(&node);
        Ok(())
    }

    /// A place in what was told, from which a later look can go on.
    #[must_use]
    pub fn place(&self) -> usize {
        self.events.len()
    }

    /// What was told at or after a place.
    #[must_use]
    pub fn since(&self, place: usize) -> &[Told] {
        self.events.get(place..).unwrap_or_default()
    }

    /// The last status of a node.
    #[must_use]
    pub fn status(&self, node: u16) -> Option<&Value> {
        self.statuses.get(&node).map(|(_, status)| status)
    }

    /// Lines in which a kernel complained of itself.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let now = self.running.values().flat_map(|running| running.machine.console().complaints());
        self.complaints.iter().cloned().chain(now).collect()
    }

    /// Takes what comes for so long.
    ///
    /// # Errors
    ///
    /// As [`Machines::wait_until`], without the limit.
    pub fn listen(&mut self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.take(end)?;
        }
        Ok(())
    }

    /// Takes what comes until a condition holds.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`, a machine or node ends meanwhile, or the run is interrupted.
    pub fn wait_until(&mut self, limit: Duration, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !holds(self) {
            if Instant::now() > deadline {
                let newest = &self.events[self.events.len().saturating_sub(20)..];
                let lines: Vec<String> = newest.iter().map(|told| told.event.value().to_string()).collect();
                let views: Vec<String> = self.statuses.values().map(|(_, status)| status["view"].to_string()).collect();
                bail!("not within {limit:?}: {what}. Views: {}. Newest events:\n{}", views.join(" "), lines.join("\n"));
            }
            self.take(deadline)?;
        }
        Ok(())
    }

    /// Waits until all nodes say, from now on, that they are in one view of all, may act, and receive in the driver.
    ///
    /// # Errors
    ///
    /// As [`Machines::wait_until`].
    pub fn wait_until_whole(&mut self, limit: Duration) -> Result<()> {
        let since = Instant::now();
        self.wait_until(limit, "one view of all nodes", |machines| machines.is_whole(since))
    }

    fn is_whole(&self, since: Instant) -> bool {
        let mut numbers = NODES.iter().map(|node| {
            let (at, status) = self.statuses.get(node)?;
            let view = &status["view"];
            let whole =
                view["members"] == json!(NODES) && view["quorate"] == true && status["dataplane"]["mode"] == "native";
            (*at > since && whole).then(|| view["number"].as_u64())?
        });
        let Some(Some(first)) = numbers.next() else { return false };
        numbers.all(|number| number == Some(first))
    }

    fn running(&mut self, node: u16) -> Result<&mut Running> {
        self.running.get_mut(&node).with_context(|| format!("the machine of node {node} does not run"))
    }

    /// Takes one arrival, if one comes before `end`.
    fn take(&mut self, end: Instant) -> Result<()> {
        if self.interrupt.requested() {
            bail!("interrupted");
        }
        let left = end.saturating_duration_since(Instant::now()).min(LOOK_UP);
        let arrival = match self.arrivals.recv_timeout(left) {
            Ok(arrival) => arrival,
            // The sender is kept here for later boots: the channel is never closed.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
        };
        // What a machine said that has lost its power since is of no interest.
        let Some((&node, running)) = self.running.iter().find(|(_, running)| running.boot == arrival.machine) else {
            return Ok(());
        };
        match arrival.report {
            Some(Report::Event { event }) => {
                let event = Event::from_value(event)?;
                eprintln!("    node {node}: {} {}", event.id(), event.text());
                self.events.push(Told { at: arrival.at, event });
            }
            Some(Report::Status { status }) => {
                self.statuses.insert(node, (arrival.at, status));
            }
            Some(Report::Booted(booted)) => eprintln!("    node {node}: {} {}", booted.release, booted.version),
            Some(Report::Failed { error }) => {
                bail!("node {node}: {error}\n{}", running.machine.console().tail(CONSOLE_LINES_ON_FAILURE))
            }
            Some(report @ (Report::Check(_) | Report::Finished(_))) => {
                bail!("node {node}: unexpected: {}", report.line())
            }
            None => {
                bail!("the machine of node {node} ended\n{}", running.machine.console().tail(CONSOLE_LINES_ON_FAILURE))
            }
        }
        Ok(())
    }
}

fn config(local: u16) -> String {
    let mut text = format!(
        "[cluster]\nname = \"machines\"\nsend_key = 1\n\n[[cluster.key]]\nid = 1\nfile = \"key\"\n\n\
         [timing]\ninterval = \"{}ms\"\nlost_after = {LOST_AFTER}\n\n\
         [[network]]\nid = 1\nname = \"{NETWORK}\"\nrole = \"internal\"\n",
        INTERVAL.as_millis()
    );
    for node in NODES {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[[node]]\nid = {node}\nname = \"{}\"\naddresses = {{ {NETWORK} = \"{}\" }}\n",
            node_name(node),
            address(node)
        );
    }
    let _ = write!(
        text,
        "\n[local]\nnode = \"{}\"\nsender = \"realtime\"\nstate_dir = \"/run/heartbeat-state\"\n",
        node_name(local)
    );
    text
}

/// A fresh key, as `heartbeat keygen` makes it.
fn key() -> Result<String> {
    let mut bytes = [0_u8; 32];
    let mut random = std::fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    std::io::Read::read_exact(&mut random, &mut bytes).context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A port of UDP that nobody has now, so that two runs do not hear each other.
fn free_port() -> Result<u16> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(socket.local_addr().context("cannot find a free port")?.port())
}
