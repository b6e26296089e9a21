//! The control socket.

/// Name of the socket inside `run_dir`.
pub const SOCKET_NAME: &str = "heartbeat.sock";
