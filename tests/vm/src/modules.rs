//! Which modules of a kernel go into a machine.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

/// What nodes need: interfaces, bridges between them, and rules that cut a bridge; in the order in which they are loaded.
/// `crc32c_generic` is what nf_tables sums with and does not name as a dependency.
pub const WANTED: [&str; 7] =
    ["veth", "bridge", "crc32c_generic", "nf_tables", "nft_meta_bridge", "virtio_pci", "virtio_net"];

/// A kernel's modules, as depmod lists them.
#[derive(Debug)]
pub struct Modules {
    /// By name: the file, and the files that it needs, all of them.
    files: BTreeMap<String, Vec<String>>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Reads `modules.dep` and `modules.builtin`.
    #[must_use]
    pub fn parse(dependencies: &str, builtin: &str) -> Self {
        let files = dependencies.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let mut files = vec![file.to_owned()];
            files.extend(needs.split_whitespace().map(str::to_owned));
            Some((name(file), files))
        });
        Self { files: files.collect(), builtin: builtin.lines().map(name).collect() }
    }

    /// The files of these modules and of all that they need, relative to `lib/modules/RELEASE`.
    ///
    /// # Errors
    ///
    /// When the kernel has one of them neither as a module nor built in.
    pub fn files_of(&self, wanted: &[&str]) -> Result<BTreeSet<String>> {
        let mut files = BTreeSet::new();
        for module in wanted {
            match self.files.get(*module) {
                Some(needed) => files.extend(needed.iter().cloned()),
                None if self.builtin.contains(*module) => {}
                None => bail!("this kernel has no module {module}"),
            }
        }
        Ok(files)
    }
}

/// `virtio_net` for `kernel/drivers/net/virtio-net.ko.xz`: the kernel takes both dashes and underscores.
fn name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_with_it_and_what_is_built_in_needs_no_file() {
        let dependencies = "kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz\n\
                            kernel/drivers/net/virtio-net.ko:\n";
        let modules = Modules::parse(dependencies, "kernel/drivers/net/veth.ko\n");
        let files = modules.files_of(&["bridge", "veth", "virtio_net"]).unwrap();
        let expected = [
            "kernel/drivers/net/virtio-net.ko",
            "kernel/net/802/stp.ko.xz",
            "kernel/net/bridge/bridge.ko.xz",
            "kernel/net/llc/llc.ko.xz",
        ];
        assert_eq!(files.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert!(modules.files_of(&["nf_tables"]).is_err());
    }
}
