//! The control socket: one JSON request a line in, JSON lines out. docs/api.md describes it for other programs.

mod client;
mod operation;
mod protocol;
mod server;
mod session;
mod socket;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use client::{Client, ClientError};
pub use operation::{Caller, Done, NodeName, Operation};
pub use protocol::{Failure, Request, Response, Streamed, VERSION};
pub use server::{Counters, Source, serve};
pub use socket::{BindError, Listener};

/// Name of the socket inside `run_dir`.
pub const SOCKET_NAME: &str = "heartbeat.sock";

/// Where the socket of a node with this `run_dir` is.
#[must_use]
pub fn socket_path(run_dir: &Path) -> PathBuf {
    run_dir.join(SOCKET_NAME)
}
