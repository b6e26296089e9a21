//! A datagram for the control socket, and bodies whose HMAC is right: see `heartbeat_fuzz::control`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: heartbeat_fuzz::seeds::write("control"), |data: &[u8]| heartbeat_fuzz::control::check(data));
