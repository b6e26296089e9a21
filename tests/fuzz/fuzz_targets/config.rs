//! A configuration file: see `heartbeat_fuzz::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: heartbeat_fuzz::seeds::write("config"), |data: &[u8]| heartbeat_fuzz::config::check(data));
