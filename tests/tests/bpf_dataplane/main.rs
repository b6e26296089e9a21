//! The XDP program and its judge in the running kernel, through BPF_PROG_TEST_RUN: no traffic, no namespaces.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod agreement;
mod books;
mod contention;
mod control;
mod judge;
mod loading;
mod metronome;
mod notices;
mod peers;
mod random;
mod replacement;
mod rig;
mod ring;
mod standstill;
mod stutter;
