//! Clusters of real nodes in network namespaces of this machine: for integration tests, for `cargo xtask run` and for
//! benchmarks.
//!
//! [`topology`] makes the namespaces and networks and cuts them, [`cluster`] runs nodes in them, [`events`] follows what
//! the nodes report. Everything that is made here is named `hb-...` and goes away on drop, on Ctrl-C, and at the next
//! start after a crash ([`leftovers`]).

pub mod api;
pub mod clock;
pub mod cluster;
pub mod config;
mod cut;
pub mod events;
pub mod interrupt;
pub mod leftovers;
mod loss;
pub mod namespace;
pub mod naming;
mod netlink;
mod nft;
pub mod process;
pub mod topology;
