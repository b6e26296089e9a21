//! The nodes' configuration files, and the folders and keys that they name.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    naming::{network_name, node_name},
    topology::Topology,
};

/// What all nodes of a cluster have in common. Durations are written as in the file: `"100ms"`.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Name of the cluster.
    pub name: String,
    /// Time between two heartbeats.
    pub interval: String,
    /// Intervals without a heartbeat until a link is late; the program's default if `None`.
    pub late_after: Option<u32>,
    /// Intervals without a heartbeat until a peer is silent; the program's default if `None`.
    pub lost_after: Option<u32>,
    /// How long a controller may hang; the program's default if `None`.
    pub hang_timeout: Option<String>,
    /// `[local] sender`; the program's default if `None`. From [`ClusterSpec::new`] the thread: with it, a node whose process
    /// is stopped or killed falls silent, which is what most tests are about.
    pub sender: Option<String>,
    /// `[local] dataplane`; the program's default if `None`.
    pub dataplane: Option<String>,
    /// `[quorum] tie_breaker`; the program's default if `None`.
    pub tie_breaker: Option<u16>,
    /// A witness in a directory beside those of the nodes.
    pub witness: bool,
    /// Use the topology's IPv6 addresses.
    pub ipv6: bool,
}

impl ClusterSpec {
    /// Defaults of the program at this interval, but for the sender.
    pub fn new(interval: &str) -> Self {
        Self {
            name: "demo".to_owned(),
            interval: interval.to_owned(),
            late_after: None,
            lost_after: None,
            hang_timeout: None,
            sender: Some("realtime".to_owned()),
            dataplane: None,
            tie_breaker: None,
            witness: false,
            ipv6: false,
        }
    }
}

/// The folder of one node.
#[derive(Clone, Debug)]
pub struct NodeFiles {
    /// Everything of this node is below it.
    pub directory: PathBuf,
    /// The node's `bpf_dir`.
    pub bpf_directory: PathBuf,
}

impl NodeFiles {
    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.directory.join("heartbeat.toml")
    }

    /// The node's `run_dir`.
    pub fn run_directory(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// The node's `state_dir`.
    pub fn state_directory(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run_directory().join("heartbeat.sock")
    }

    /// What the node wrote to its standard output and error, over all its runs.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }
}

/// Writes the secret and every node's configuration, below the folder of the topology's prefix.
///
/// # Errors
///
/// When a folder or file cannot be made, such as where the prefix's folder is there already.
pub fn write(topology: &Topology, cluster: &ClusterSpec) -> Result<Vec<NodeFiles>> {
    let directory = topology.prefix().directory();
    make_directory(&directory)?;
    let key = directory.join("secret.key");
    write_secret(&key)?;
    if cluster.witness {
        let witness = witness_directory(topology);
        make_directory(&witness)?;
        let marker = witness.join("heartbeat-witness");
        fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))?;
    }
    topology
        .node_ids()
        .map(|node| {
            let name = node_name(node);
            let files =
                NodeFiles { directory: directory.join(&name), bpf_directory: topology.prefix().bpf_directory(&name) };
            for directory in [files.directory.clone(), files.run_directory(), files.state_directory()] {
                make_directory(&directory)?;
            }
            let text = text(topology, cluster, node, &files, &key);
            fs::write(files.config(), text).with_context(|| format!("cannot write {}", files.config().display()))?;
            Ok(files)
        })
        .collect()
}

fn text(topology: &Topology, cluster: &ClusterSpec, node: u16, files: &NodeFiles, key: &Path) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail, so what `writeln` returns says nothing.
    let mut line = |content: String| {
        let _ = writeln!(text, "{content}");
    };
    line(format!("[cluster]\nname = \"{}\"\nsend_key = 1\n", cluster.name));
    line(format!("[[cluster.key]]\nid = 1\nfile = \"{}\"\n", key.display()));

    line(format!("[timing]\ninterval = \"{}\"", cluster.interval));
    for (name, number) in [("late_after", cluster.late_after), ("lost_after", cluster.lost_after)] {
        if let Some(number) = number {
            line(format!("{name} = {number}"));
        }
    }
    if let Some(hang_timeout) = &cluster.hang_timeout {
        line(format!("hang_timeout = \"{hang_timeout}\""));
    }

    for network in topology.network_ids() {
        // As operators of such clusters do: the first network for the cluster alone, the others shared with clients.
        let role = if network == 1 { "internal" } else { "mixed" };
        line(format!("\n[[network]]\nid = {network}\nname = \"{}\"\nrole = \"{role}\"", network_name(network)));
    }
    for member in topology.node_ids() {
        let address = |network: u8| {
            if cluster.ipv6 {
                topology.address_v6(member, network).to_string()
            } else {
                topology.address(member, network).to_string()
            }
        };
        let addresses: Vec<String> =
            topology.network_ids().map(|id| format!("{} = \"{}\"", network_name(id), address(id))).collect();
        let name = node_name(member);
        line(format!("\n[[node]]\nid = {member}\nname = \"{name}\"\naddresses = {{ {} }}", addresses.join(", ")));
    }
    line("\n[quorum]".to_owned());
    if topology.node_ids().count() == 2 {
        line("two_node = \"tie-breaker\"".to_owned());
    }
    if let Some(node) = cluster.tie_breaker {
        line(format!("tie_breaker = \"{}\"", node_name(node)));
    }

    if cluster.witness {
        line(format!("witness = \"{}\"", witness_directory(topology).display()));
    }

    line(format!("\n[local]\nnode = \"{}\"", node_name(node)));
    for (name, word) in [("sender", &cluster.sender), ("dataplane", &cluster.dataplane)] {
        if let Some(word) = word {
            line(format!("{name} = \"{word}\""));
        }
    }
    for (name, directory) in [
        ("run_dir", files.run_directory()),
        ("state_dir", files.state_directory()),
        ("bpf_dir", files.bpf_directory.clone()),
    ] {
        line(format!("{name} = \"{}\"", directory.display()));
    }
    text
}

/// Where the witness of a topology's cluster is.
pub fn witness_directory(topology: &Topology) -> PathBuf {
    topology.prefix().directory().join("witness")
}

fn make_directory(path: &Path) -> Result<()> {
    // Others may not look in, and may not have made it: it must not be there yet.
    DirBuilder::new().mode(0o700).create(path).with_context(|| format!("cannot make the folder {}", path.display()))
}

/// A fresh key, as `heartbeat keygen` makes it.
fn write_secret(path: &Path) -> Result<()> {
    let mut bytes = [0_u8; 32];
    let mut random = fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    std::io::Read::read_exact(&mut random, &mut bytes).context("cannot read /dev/urandom")?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    writeln!(file, "{hex}").with_context(|| format!("cannot write {}", path.display()))
}
