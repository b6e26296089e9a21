//! Real nodes in network namespaces, met by what networks, operators, crashes and strangers do to them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod agreement;
mod buffers;
mod bystanders;
mod carrier;
mod clients;
mod clones;
mod cuts;
mod dataplanes;
mod differing;
mod disk;
mod doctor;
mod flood;
mod frames;
mod fuzz;
mod interfaces;
mod journal;
mod judge;
mod liars;
mod metrics;
mod metronome;
mod nodes;
mod orders;
mod packets;
mod pinned;
mod refused_starts;
mod rejects;
mod reload;
mod replays;
mod restarts;
mod stalls;
mod strangers;
mod witness;
