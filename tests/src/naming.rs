//! Names of what is made outside of this process, chosen so that its maker can be told from the name.

use std::{
    fmt,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// Where `ip netns` keeps named namespaces.
pub const NAMESPACES: &str = "/run/netns";

/// Where nodes pin their programs and maps.
pub const BPF_FILE_SYSTEM: &str = "/sys/fs/bpf";

/// All names begin with this.
const START: &str = "hb-";

/// Where a node would have its name, the folder with the files of all of them.
const FILES: &str = "files";

const NODE_NAMES: [&str; 26] = [
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima",
    "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey", "xray",
    "yankee", "zulu",
];

const NETWORK_NAMES: [&str; 8] = ["private", "public", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];

/// The beginning of the names of one topology's namespaces, pin folders and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

/// Who made something, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// The demo: plain names, which people type.
    Demo,
    /// The process with this id.
    Process(i32),
}

impl Prefix {
    /// `hb-`: namespaces `hb-alpha`, `hb-net-private` and so on. At most one such topology at a time.
    pub fn demo() -> Self {
        Self(START.to_owned())
    }

    /// A prefix with this process's id that no other topology has.
    pub fn of_this_process() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{START}{}-{count}-", std::process::id()))
    }

    /// Name of a node's namespace.
    pub fn node(&self, node: &str) -> String {
        format!("{}{node}", self.0)
    }

    /// Name of the namespace that holds a network's bridge.
    pub fn network(&self, network: &str) -> String {
        format!("{}net-{network}", self.0)
    }

    /// The node's `bpf_dir`.
    pub fn bpf_directory(&self, node: &str) -> PathBuf {
        PathBuf::from(BPF_FILE_SYSTEM).join(self.node(node))
    }

    /// The folder for the nodes' configurations, sockets and state.
    pub fn directory(&self) -> PathBuf {
        std::env::temp_dir().join(self.node(FILES))
    }

    /// Whether `name` was made for this topology.
    pub(crate) fn covers(&self, name: &str) -> bool {
        match maker(name) {
            Some(Maker::Demo) => *self == Self::demo(),
            Some(Maker::Process(_)) => *self != Self::demo() && name.starts_with(&self.0),
            None => false,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Who made what bears this name; `None` where it was not made here.
pub(crate) fn maker(name: &str) -> Option<Maker> {
    let rest = name.strip_prefix(START)?;
    if is_demo_name(rest) {
        return Some(Maker::Demo);
    }
    let (process, rest) = rest.split_once('-')?;
    let (count, _) = rest.split_once('-')?;
    count.parse::<u32>().ok()?;
    process.parse().ok().map(Maker::Process)
}

/// Only the names that a demo can have, so that it never removes what somebody else named `hb-...`.
fn is_demo_name(rest: &str) -> bool {
    let (is_network, name) = rest.strip_prefix("net-").map_or((false, rest), |name| (true, name));
    if is_network {
        return NETWORK_NAMES.contains(&name);
    }
    let is_number = |rest: &str| rest.parse::<u16>().is_ok();
    name == FILES || NODE_NAMES.contains(&name) || name.strip_prefix("node").is_some_and(is_number)
}

/// Name of the node with this id: `alpha` for 1.
pub fn node_name(id: u16) -> String {
    let named = usize::from(id).checked_sub(1).and_then(|index| NODE_NAMES.get(index));
    named.map_or_else(|| format!("node{id}"), |name| (*name).to_owned())
}

/// Name of the network with this id, which is also that of each node's interface to it: `private` for 1.
pub fn network_name(id: u8) -> String {
    let named = usize::from(id).checked_sub(1).and_then(|index| NETWORK_NAMES.get(index));
    named.map_or_else(|| format!("network{id}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_maker() {
        let own = Prefix::of_this_process();
        let this = Maker::Process(std::process::id().cast_signed());
        assert_eq!(maker(&own.node("alpha")), Some(this));
        assert_eq!(maker(&own.network("private")), Some(this));
        assert_eq!(maker("hb-alpha"), Some(Maker::Demo));
        assert_eq!(maker("hb-net-private"), Some(Maker::Demo));
        assert_eq!(maker("docker0"), None);
        assert_eq!(maker("hb-node27"), Some(Maker::Demo));
        assert_eq!(maker("hb-somebodys-own"), None);
        assert_eq!(maker("hb-12"), None, "neither a demo node nor complete");
    }

    #[test]
    fn a_prefix_covers_its_own_names_only() {
        let (one, other) = (Prefix::of_this_process(), Prefix::of_this_process());
        assert!(one.covers(&one.node("alpha")));
        assert!(!one.covers(&other.node("alpha")));
        assert!(!one.covers("hb-alpha"));
        assert!(Prefix::demo().covers("hb-alpha"));
        assert!(!Prefix::demo().covers(&one.node("alpha")), "the demo's prefix begins every name");
    }
}
