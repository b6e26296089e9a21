//! The node: data plane, sender, reactor, control socket.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod event;
pub mod incarnation;
pub mod keys;
pub mod realtime;
pub mod sender;
pub mod socket;
pub mod status;
pub mod reactor;
pub mod daemon;
