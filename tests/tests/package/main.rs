//! The Debian package, on machines with systemd: what an operator installs, starts, upgrades and removes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod deb;
mod machine;
mod quickstart;
mod service;
