//! A frame from the network: see `heartbeat_fuzz::decode`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: heartbeat_fuzz::seeds::write("decode"), |data: &[u8]| heartbeat_fuzz::decode::check(data));
