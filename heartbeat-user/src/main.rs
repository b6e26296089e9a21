//! The `heartbeat` program.
fn main() {}
