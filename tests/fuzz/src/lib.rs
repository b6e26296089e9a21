//! What each fuzz target does with its input, and what must be true of any input.
//!
//! A target is a function from bytes to nothing that panics when a rule is broken. libFuzzer calls it by way of
//! `fuzz_targets/`; `tests/seeds.rs` calls it with every seed, with mutations of them, and with what once crashed it.

#![forbid(unsafe_code)]

pub mod bytes;
pub mod config;
pub mod control;
pub mod core;
pub mod decode;
pub mod seeds;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of the program, of the folder of its seeds, and of the argument of `cargo xtask fuzz`.
    pub name: &'static str,
    /// What it checks.
    pub check: fn(&[u8]),
    /// Inputs to begin with: name and bytes.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// Every target.
pub const TARGETS: [Target; 4] = [
    Target { name: "decode", check: decode::check, seeds: seeds::decode },
    Target { name: "control", check: control::check, seeds: seeds::control },
    Target { name: "core", check: core::check, seeds: seeds::core },
    Target { name: "config", check: config::check, seeds: seeds::config },
];
