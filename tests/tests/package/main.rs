//! The Debian package, on machines with systemd: what an operator installs, starts, upgrades and removes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod contents;
mod deb;
mod machine;
mod monitoring;
mod quickstart;
mod service;
