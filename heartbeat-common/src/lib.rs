//! The contract between the XDP program, its maps and userspace.
//!
//! Everything that crosses a border lives here and only here: bytes on the wire ([`wire`]), the decoder and its
//! checks ([`frame`], [`decode`], [`verify`]), authentication ([`auth`]), the sequence window ([`window`]), what an
//! accepted heartbeat does to a link record ([`account`]), when a link is late and a peer silent ([`judge`]), and the
//! records in the maps and the ring ([`records`], [`notice`]).
//!
//! The crate is compiled into the XDP program and into the host: the code that judges a heartbeat in the kernel is
//! the code that the tests, the fuzzers and the socket data plane run.

#![cfg_attr(target_arch = "bpf", no_std)]
#![deny(unsafe_code)]

pub mod account;
pub mod auth;
pub mod decode;
pub mod frame;
pub mod ids;
pub mod judge;
pub mod metronome;
pub mod notice;
pub mod records;
pub mod reject;
#[cfg(any(test, feature = "specimen"))]
pub mod specimen;
pub mod verify;
pub mod window;
pub mod wire;

/// Version of everything in the maps: layouts, meanings, who writes what.
///
/// Pins live under a directory named after it, and it is stored in the NODE record: a controller never adopts maps of
/// another version. Raise it with every change to [`records`], [`notice`] or to the meaning of a field.
pub const ABI_VERSION: u32 = 1;
