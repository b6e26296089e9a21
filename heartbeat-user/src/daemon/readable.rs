//! Waiting on descriptors that tokio has no type for.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// Lets the runtime wait until an owned descriptor is readable.
///
/// # Errors
/// When the runtime's poll does not take it.
pub(super) fn descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open until it is dropped, and the `AsyncFd` owns it until then.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// As [`descriptor`], for a logger of an eBPF object.
///
/// # Errors
/// When the runtime's poll does not take it.
pub(super) fn logger<T: AsRawFd>(logger: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: aya's logger owns the map whose descriptor it shows, until it is dropped; the `AsyncFd` owns the logger.
    unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }.map_err(io::Error::from)
}
