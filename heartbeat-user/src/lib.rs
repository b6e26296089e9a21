//! The node: data plane, sender, reactor, control socket.

pub mod api;
pub mod config;
pub mod event;
pub mod keys;
