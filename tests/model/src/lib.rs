//! Model checker: the protocol core that runs in production, through every sequence of a bounded number of faults.
//!
//! A state is a whole cluster: real cores ([`heartbeat_membership::Node`]), what their kernels and disks hold, what is on
//! its way. Time goes in steps of one heartbeat interval. Without faults everything is determined; each fault costs one
//! unit of a budget and may strike between any two steps, during a regroup also between any two messages. All states that
//! can be reached are visited, each once: states that differ only in how late it is, or in how high the numbers are that
//! they count with, are one state ([`fingerprint`]). docs/testing.md says what that leaves out.

#![forbid(unsafe_code)]

pub mod check;
pub mod cluster;
mod driver;
pub mod faults;
pub mod fingerprint;
pub mod kernel;
pub mod machine;
pub mod model;
pub mod search;

pub use cluster::Cluster;
pub use faults::Step;
pub use model::{Broken, Scope};
