//! `struct ifreq`, by which ioctls name an interface.

use std::io;

/// A request about `device`, everything but its name zero.
///
/// # Errors
/// When the name is longer than interface names are.
pub(crate) fn about(device: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name of the device is too long"));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(request)
}
