//! Scripts: what happens to a cluster, and what its nodes must say and do, line by line, for people who read no Rust.
//!
//! The scripts are in `tests/scripts`; docs/testing.md has the language. [`parse()`] reads one, [`play()`] plays it on a
//! [`Backend`]: the simulator ([`Simulated`]) or real processes in network namespaces ([`Real`]). [`table`] makes one
//! test of every script.

pub mod backend;
pub mod language;
mod moved;
pub mod parse;
pub mod play;
mod real;
pub mod recordings;
mod simulated;
pub mod table;

pub use backend::Backend;
pub use language::Script;
pub use parse::{ParseError, parse};
pub use play::play;
pub use real::Real;
pub use simulated::Simulated;
