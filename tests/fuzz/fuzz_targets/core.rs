//! Any sequence of inputs for the protocol core: see `heartbeat_fuzz::core`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: heartbeat_fuzz::seeds::write("core"), |data: &[u8]| heartbeat_fuzz::core::check(data));
