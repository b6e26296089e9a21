//! The node: data plane, sender, reactor, control socket.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod doctor;
mod ethtool;
pub mod event;
pub mod history;
pub mod incarnation;
mod interface_request;
pub mod keys;
pub mod metrics;
pub mod metronome;
pub mod reactor;
pub mod realtime;
pub mod record;
pub mod reload;
pub mod sender;
pub mod service;
pub mod socket;
pub mod status;
pub mod top;
pub mod why;
pub mod witness;
