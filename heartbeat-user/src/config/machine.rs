//! What this machine must have before its node can run: interfaces that carry the addresses, and a BPF file system.
//!
//! Apart from parsing, because a file can be checked on any machine, and because this has to be repeated at each start.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::error::{ConfigError, Problem};
use super::model::{Config, Dataplane, Network};

/// Linux lists the VLAN devices of the thread's network namespace here; absent where the kernel has no VLANs.
const VLAN_TABLE: &str = "/proc/thread-self/net/vlan/config";

/// What of this machine the node uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// One per network on which the local node has an address, ascending by network id.
    pub interfaces: Vec<LocalInterface>,
}

/// The local node's attachment to one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalInterface {
    /// Id of the network.
    pub network: u8,
    /// Address of the local node on it.
    pub address: IpAddr,
    /// The interface that has the address: what sockets are bound to.
    pub carrier: Interface,
    /// The interface where frames arrive: what the XDP program is attached to. Differs from `carrier` for a VLAN, and
    /// for an address on a bridge of which `[local] interfaces` names a port.
    pub attach: Interface,
}

/// A network interface of this namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
}

/// Finds what the node needs on this machine, in the network and mount namespace of the caller.
///
/// # Errors
///
/// Everything that is missing: a `bpf_dir` that is not on a BPF file system (not looked at with the socket dataplane),
/// an interface that does not exist, an address that no interface carries. Nothing has been changed.
pub fn check_machine(config: &Config) -> Result<Machine, ConfigError> {
    let mut problems = Vec::new();
    match config.local.dataplane {
        Dataplane::Socket => {}
        Dataplane::Auto | Dataplane::Native | Dataplane::Generic => {
            problems.extend(bpf_directory_problem(config));
        }
    }
    let interfaces = match Inventory::of_this_namespace() {
        Ok(inventory) => resolve(config, &inventory, &mut problems),
        Err(message) => {
            problems.push(Problem { line: None, key: "[local] interfaces".to_owned(), message, allowed: None });
            Vec::new()
        }
    };
    if problems.is_empty() { Ok(Machine { interfaces }) } else { Err(ConfigError::new(&config.file, problems)) }
}

/// The interfaces of a network namespace.
#[derive(Debug, Default)]
struct Inventory {
    /// Index per name.
    indexes: BTreeMap<String, u32>,
    /// Carrier per address.
    addresses: BTreeMap<IpAddr, String>,
    /// Tag and parent per VLAN device.
    vlans: BTreeMap<String, (u16, String)>,
}

impl Inventory {
    fn of_this_namespace() -> Result<Self, String> {
        let mut inventory = Self::default();
        let entries = getifaddrs().map_err(|error| format!("the interfaces cannot be listed: {error}"))?;
        for entry in entries {
            // An IPv4 address can have a label, such as `eth0:web`, that is not the name of an interface.
            let name = entry.interface_name.split(':').next().unwrap_or_default().to_owned();
            let address = entry.address.as_ref().and_then(|address| {
                let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
            });
            if let Some(address) = address {
                inventory.addresses.entry(address).or_insert_with(|| name.clone());
            }
            // Interfaces come and go while they are listed; one that is gone again has no index.
            if let Ok(index) = if_nametoindex(name.as_str()) {
                inventory.indexes.insert(name, index);
            }
        }
        if let Ok(table) = std::fs::read_to_string(VLAN_TABLE) {
            inventory.vlans = vlan_table(&table);
        }
        Ok(inventory)
    }

    fn interface(&self, name: &str) -> Option<Interface> {
        self.indexes.get(name).map(|index| Interface { name: name.to_owned(), index: *index })
    }

    fn names(&self) -> String {
        self.indexes.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// Rows of `device | tag | parent` behind two lines of headings.
fn vlan_table(text: &str) -> BTreeMap<String, (u16, String)> {
    text.lines()
        .filter_map(|line| {
            let mut columns = line.split('|').map(str::trim);
            let (device, tag, parent) = (columns.next()?, columns.next()?, columns.next()?);
            Some((device.to_owned(), (tag.parse().ok()?, parent.to_owned())))
        })
        .collect()
}

fn resolve(config: &Config, inventory: &Inventory, problems: &mut Vec<Problem>) -> Vec<LocalInterface> {
    let node = config.local_node();
    let mut interfaces = Vec::new();
    for network in &config.networks {
        let Some(address) = node.addresses.get(&network.id) else { continue };
        match resolve_one(config, inventory, network, *address) {
            Ok(interface) => interfaces.push(interface),
            Err(problem) => problems.push(problem),
        }
    }
    interfaces
}

fn resolve_one(
    config: &Config,
    inventory: &Inventory,
    network: &Network,
    address: IpAddr,
) -> Result<LocalInterface, Problem> {
    let place = format!("local.interfaces.{}", network.name);
    let problem = |message: String, allowed: String| Problem {
        line: config.places.line(&place).or_else(|| config.places.line(&format!("network.{}", network.name))),
        key: format!("[local] interfaces.{}", network.name),
        message,
        allowed: Some(allowed),
    };
    let wanted = config.local.interfaces.get(&network.id);
    if let Some(name) = wanted
        && inventory.interface(name).is_none()
    {
        return Err(problem(
            format!("there is no interface `{name}` here"),
            format!("allowed: the name of an interface in this network namespace: {}", inventory.names()),
        ));
    }
    let carrier = inventory.addresses.get(&address).and_then(|name| inventory.interface(name));
    let Some(carrier) = carrier else {
        let node = &config.local_node().name;
        return Err(Problem {
            line: config.places.line(&format!("node.{node}.addresses.{}", network.name)),
            key: format!("[[node]] `{node}` addresses.{}", network.name),
            message: format!("no interface here has the address {address}"),
            allowed: Some(format!(
                "add it with `ip address add`, or correct the file; interfaces: {}",
                inventory.names()
            )),
        });
    };
    let named = wanted.and_then(|name| inventory.interface(name)).unwrap_or_else(|| carrier.clone());
    let attach = match network.vlan {
        None => named,
        Some(tag) => match inventory.vlans.get(&named.name) {
            Some((found, parent)) if *found == tag => inventory.interface(parent).ok_or_else(|| {
                problem(
                    format!("`{}` is a VLAN device on `{parent}`, which is in another namespace", named.name),
                    "name an interface where frames with the tag arrive".to_owned(),
                )
            })?,
            Some((found, _)) => {
                return Err(problem(
                    format!("`{}` has VLAN tag {found}, but the network has vlan = {tag}", named.name),
                    "correct one of them".to_owned(),
                ));
            }
            None if wanted.is_some() => named,
            None => {
                return Err(problem(
                    format!("the network has vlan = {tag}, but {address} is on `{}`, not a VLAN device", named.name),
                    "name the interface where frames with the tag arrive".to_owned(),
                ));
            }
        },
    };
    Ok(LocalInterface { network: network.id, address, carrier, attach })
}

fn bpf_directory_problem(config: &Config) -> Option<Problem> {
    let directory = &config.local.bpf_dir;
    let problem = |message: String| {
        Some(Problem {
            line: config.places.line("local.bpf_dir"),
            key: "[local] bpf_dir".to_owned(),
            message,
            allowed: Some(
                "mount one with `mount -t bpf bpf /sys/fs/bpf`; inside `ip netns exec` it is hidden: enter the namespace \
                 with `nsenter --net=/run/netns/NAME` instead"
                    .to_owned(),
            ),
        })
    };
    let existing = nearest_existing(directory);
    match statfs(&existing) {
        Ok(info) if info.filesystem_type() == BPF_FS_MAGIC => None,
        Ok(_) => problem(format!("{} is not on a BPF file system", directory.display())),
        Err(error) => problem(format!("{} cannot be looked at: {error}", existing.display())),
    }
}

/// The directory itself, or the closest one above it that is there; it is created at the start of the data plane.
fn nearest_existing(directory: &Path) -> PathBuf {
    directory.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests;
